"""Pages: somebody is called to an incident, loudly and by name, until it is acknowledged.

    page ─► Say with mentions in the room, a direct chat with each target, an escalation in ETB
       ├─► acknowledged: in ETB or here, said once
       └─► nobody did in time: escalated in ETB once more, said once; it can still be acknowledged

A direct chat is needed, since push rules can't see a mention inside an encrypted message: a room that is set to
"mentions only" stays silent. Nobody is paged who isn't cleared for the incident.
A page in a drill stays in its room.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from etb_appservice.domain.drills import is_drill
from etb_appservice.domain.effects import Invite, MoveEscalation, Say, TriggerEscalation
from etb_appservice.domain.facts import ReactionReceived
from etb_appservice.domain.ids import EventId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.letters import Letter
from etb_appservice.domain.pages import Page
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.roles import Admitted
from etb_appservice.domain.rooms import INSIDE
from etb_appservice.domain.text import code, lasting, mention, plain
from etb_appservice.flows.history import history_up_to
from etb_appservice.flows.letters import write_to
from etb_appservice.flows.surroundings import Surroundings, level_here, level_of, obstacle
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import SERVICE, Turn
from etb_appservice.flows.watch import look_by
from etb_appservice.ports import Room, Work

_MINUTE_MS = 60_000
PAGE = "page/"
"""What the keys of effects of pages begin with, then the war room and the page."""
_WHY_NOT = {
    "unmapped": "has no Matrix account here",
    "clearance": "is not cleared for this incident",
    "inactive": "has an ETB account that is locked or not active",
    "unknown": "is not known to ETB, or could not be looked up",
}


@dataclass(frozen=True, slots=True)
class Callees:
    """Who can be paged, as (username, Matrix id), and who can't and why, as Markdown."""

    people: tuple[tuple[Username, UserId], ...]
    left_out: tuple[str, ...]


async def callees(
    work: Work, room: Room, incident: Incident, policy: Policy, names: Sequence[Username], around: Surroundings
) -> Callees:
    """Of these people, who may be called to this incident: known here, active, cleared."""
    level = level_here(room, incident, policy)
    people: list[tuple[Username, UserId]] = []
    left_out: list[str] = []
    for name in dict.fromkeys(names):
        user_id = policy.people.user_id(name)
        why = await obstacle(work, name, level, policy, around)
        if why or user_id is None:
            left_out.append(f"{code(name)} {_WHY_NOT[why]}.")
        else:
            people.append((name, user_id))
    return Callees(tuple(people), tuple(left_out))


async def was_just_paged(turn: Turn, room: Room, name: Username) -> bool:
    """Whether somebody was paged here within the last minute: most likely one call too many."""
    pages = await turn.work.cases.of(room.war_room, Page)
    return any(name in one.targets and abs(turn.now_ms - one.at_ms) < _MINUTE_MS for one in pages)


async def send_page(
    turn: Turn,
    room: Room,
    incident: Incident,
    policy: Policy,
    *,
    page_id: str,
    by: str,
    whom: Callees,
    text: str,
) -> TriggerEscalation:
    """Call people: in the room, alone, and on record. The escalation in ETB is left to the caller to ask for.

    In a drill nobody is called but in the room: the caller must not ask for the escalation either.
    """
    assert room.room_id is not None  # noqa: S101 - pages are for rooms that are open
    page = Page(
        id=page_id,
        targets=tuple(name for name, _ in whom.people),
        users=tuple(user_id for _, user_id in whom.people),
        by=by,
        at_ms=turn.now_ms,
        text=text,
        left_out=whom.left_out,
    )
    await turn.work.cases.put(room.war_room, page)
    for name, user_id in whom.people:
        if await turn.work.rooms.membership(room.room_id, user_id) not in INSIDE:
            await turn.work.rooms.set_member(room.room_id, user_id, "invite")
            up_to = await history_up_to(turn, room, user_id, policy)
            invite = Invite(room_id=room.room_id, user_id=user_id, history_up_to=up_to)
            await turn.emit(f"invite/{user_id}", invite)
            await turn.note("person.invited", subject=room.war_room, details={"user": user_id, "roles": "paged"})
        let_in = await turn.work.cases.get(room.war_room, Admitted, name)
        if let_in is None or not let_in.is_open:
            # Whom ETB doesn't name for the incident must be able to answer the call all the same.
            entry = Admitted(id=name, username=name, by=by or SERVICE, at_ms=turn.now_ms, why="paged")
            await turn.work.cases.put(room.war_room, entry)
        if is_drill(incident, policy):
            continue
        await write_to(
            turn,
            user_id,
            _letter(page, room, incident, policy),
            "page",
            page.id,
            notify=True,
            about=f"{PAGE}{room.war_room}/{page.id}",
            incident_id=incident.id,
        )
    await turn.emit_as(
        f"{PAGE}{room.war_room}/{page.id}",
        Say(
            room_id=room.room_id,
            content=_call(page, room, incident, policy),
            notify=True,
            mentions=page.users,
            purpose="notice",
        ),
    )
    names = ", ".join(page.targets)
    await turn.note(
        "person.paged",
        actor=by or SERVICE,
        subject=page.id,
        details={"room": room.war_room, "people": len(page.targets)},
        contents={"targets": names, "text": text},
    )
    await write_down(
        turn, room, "ESCALATED", f"{names} paged", server=policy.server_name, by=by, description=text, to_etb=False
    )
    if policy.duty.page_ack_minutes:
        await look_by(turn, room, turn.now_ms + policy.duty.page_ack_minutes * _MINUTE_MS)
    why = f": {text}" if text else ""
    return TriggerEscalation(
        incident_id=incident.id, reason=f"{by or 'The chat service'} pages {names}{why}", ref=page.id
    )


async def acknowledged(
    turn: Turn,
    room: Room,
    by: str,
    *,
    only: Collection[str] | None = None,
    known_to_etb: Collection[str] = (),
    say: bool = True,
) -> tuple[Page, ...]:
    """Mark open pages of a room as acknowledged, say so once, and tell ETB. Repeating changes nothing.

    `by` is an ETB username, or empty where ETB names nobody; `only` limits it to pages with these ids;
    `known_to_etb` are escalations that stand as acknowledged there. Answers the pages that were open.
    """
    pages = [
        one
        for one in await turn.work.cases.of(room.war_room, Page, only_open=True)
        if only is None or one.id in only
    ]
    for page in pages:
        await turn.work.cases.put(
            room.war_room, replace(page, acknowledged_by=by, acknowledged_ms=turn.now_ms, is_open=False)
        )
        for escalation_id in page.escalation_ids:
            if escalation_id not in known_to_etb and room.incident_id is not None:
                await _tell_etb(turn, room, page, escalation_id)
        await turn.note("page.acknowledged", actor=by or SERVICE, subject=page.id, details={"room": room.war_room})
        if say and room.room_id is not None:
            who = f" by {code(by)}" if by else ""
            await turn.emit(
                f"acknowledged/{page.id}",
                Say(
                    room_id=room.room_id,
                    content=f"The page for {_names(page)} was acknowledged{who}.",
                    reply_to=page.event_id,
                    purpose="notice",
                ),
            )
    return tuple(pages)


async def page_at(work: Work, room: Room, event_id: EventId) -> tuple[Room, Page] | None:
    """The page that a message is about, in an incident's room or in a direct chat, with the incident's room."""
    if room.kind == "direct":
        letters = await work.cases.of(room.war_room, Letter)
        about = next((one.about for one in letters if one.event_id == event_id), "")
        if not about.startswith(PAGE):
            return None
        war_room, _, page_id = about.removeprefix(PAGE).partition("/")
        there = await work.rooms.by_war_room(WarRoomId(war_room))
        page = await work.cases.get(WarRoomId(war_room), Page, page_id)
        return (there, page) if there is not None and page is not None else None
    pages = await work.cases.of(room.war_room, Page)
    return next(((room, one) for one in pages if one.event_id == event_id), None)


async def by_reaction(turn: Turn, room: Room, fact: ReactionReceived, who: Username) -> str:
    """A reaction acknowledges the page that a message is; answers the page's id, or nothing when it is none.

    In a direct chat only whoever was called may; in an incident's room the caller has checked who may.
    """
    found = await page_at(turn.work, room, fact.relates_to)
    if found is None:
        return ""
    there, page = found
    if room.kind == "direct" and who not in page.targets:
        return ""
    await acknowledged(turn, there, who, only={page.id})
    return page.id


async def overdue(turn: Turn, room: Room, incident: Incident, policy: Policy, page: Page) -> int | None:
    """Escalate a page that nobody acknowledged in time; answers when it is due, None when nothing is to come."""
    minutes = policy.duty.page_ack_minutes
    if not minutes or page.escalated or room.room_id is None or is_drill(incident, policy):
        return None
    due_ms = page.at_ms + minutes * _MINUTE_MS
    if turn.now_ms < due_ms:
        return due_ms
    await turn.work.cases.put(room.war_room, replace(page, escalated=True))
    waited = lasting(minutes * 60)
    await turn.emit_as(
        f"{PAGE}{room.war_room}/{page.id}/escalate",
        TriggerEscalation(
            incident_id=incident.id,
            reason=f"Nobody acknowledged the page for {', '.join(page.targets)} within {waited}",
            ref=f"{page.id}/again",
        ),
    )
    await turn.emit(
        f"overdue/{page.id}",
        Say(
            room_id=room.room_id,
            content=f"Nobody has acknowledged the page for {_names(page)} within {waited}. "
            "It is escalated in ETB now.",
            notify=True,
            mentions=page.users,
            reply_to=page.event_id,
            purpose="notice",
        ),
    )
    await turn.note("page.overdue", subject=page.id, details={"room": room.war_room})
    return None


async def said(turn: Turn, room: Room, key: str, event_id: EventId) -> None:
    """A message of ours stands: remember which one the page is."""
    if not key.startswith(PAGE):
        return
    page = await turn.work.cases.get(room.war_room, Page, key.removeprefix(f"{PAGE}{room.war_room}/"))
    if page is not None:
        await turn.work.cases.put(room.war_room, replace(page, event_id=event_id))


async def triggered(turn: Turn, room: Room, effect: TriggerEscalation, escalation_id: str) -> None:
    """ETB has started an escalation: which page it belongs to. One that was acknowledged meanwhile is moved on."""
    page = await turn.work.cases.get(room.war_room, Page, effect.ref.partition("/")[0])
    if page is None or escalation_id in page.escalation_ids:
        return
    await turn.work.cases.put(room.war_room, replace(page, escalation_ids=(*page.escalation_ids, escalation_id)))
    if page.acknowledged_ms is not None:
        await _tell_etb(turn, room, page, escalation_id)


async def _tell_etb(turn: Turn, room: Room, page: Page, escalation_id: str) -> None:
    assert room.incident_id is not None  # noqa: S101 - pages are for incidents
    await turn.emit_as(
        f"{PAGE}{room.war_room}/{page.id}/acknowledge/{escalation_id}",
        MoveEscalation(incident_id=room.incident_id, escalation_id=escalation_id, to="ACKNOWLEDGED"),
    )


def _names(page: Page) -> str:
    return ", ".join(code(name) for name in page.targets)


def _who_calls(page: Page) -> str:
    text = f": {plain(page.text, 1000)}" if page.text else "."
    return f"{code(page.by)} pages you{text}" if page.by else plain(page.text, 1000)


def _call(page: Page, room: Room, incident: Incident, policy: Policy) -> str:
    """In the room, where everybody may read the title, unless the incident's level was raised above the room's."""
    prefix = policy.commands.prefixes[0]
    title = f": {plain(incident.title)}" if level_of(incident, policy) <= room.classification else ""
    return (
        f"**Page** for {', '.join(mention(one) for one in page.users)}\n\n"
        f"**{plain(incident.number)}** ({plain(incident.severity)}){title}\n\n"
        f"{_who_calls(page)}\n\n"
        f"Acknowledge with `{prefix}ack` here, or with ✅ on this message."
    )


def _letter(page: Page, room: Room, incident: Incident, policy: Policy) -> str:
    """In a direct chat, whose classification is the lowest: no title."""
    prefix = policy.commands.prefixes[0]
    return (
        f"**Page: {plain(incident.number)}** ({plain(incident.severity)})\n\n"
        f"{_who_calls(page)}\n\n"
        f"Room: https://matrix.to/#/{room.room_id}?via={policy.server_name}\n\n"
        f"Acknowledge with `{prefix}ack` there, or with ✅ on this message."
    )
