"""`breakglass`: two people of different roles let somebody in for a while, end that, and have it reviewed."""

import re

from etb_appservice.domain.approvals import Approval
from etb_appservice.domain.breakglass import BreakGlass, GlassReview, Verdict, other_roles
from etb_appservice.domain.clearance import OurRole, Right
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import BreakGlassEnds, BreakGlassGiven
from etb_appservice.domain.ids import UserId, WarRoomId
from etb_appservice.domain.partners import PartnerAdmitted
from etb_appservice.domain.text import code, lasting, moment, plain
from etb_appservice.flows.breakglass import record_review
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, DIRECT, INCIDENT, Answer, command
from etb_appservice.flows.grammar import Rest, UsageError, person
from etb_appservice.flows.numbers import room_numbered
from etb_appservice.flows.permitted import permission
from etb_appservice.flows.surroundings import number_of
from etb_appservice.ports import Room

_WHO = "who"
_MOST_REASON = 500
_MOST_ID = 255
_USER_ID = re.compile(r"@[A-Za-z0-9._=/+-]+:[A-Za-z0-9.:\[\]-]+")
"""Nothing that would be shown as another id to whoever approves."""
_REVIEWERS: frozenset[OurRole] = frozenset({"compliance", "auditor", "admin"})
_VERDICTS: dict[str, Verdict] = {"ok": "ok", "not-ok": "not-ok", "notok": "not-ok"}
_OFF = "Break-glass is not set up here. An operator does that under `break_glass` in the configuration."
_NO_ROOM = "I know no room of an incident with the number {}."
_DOUBTS = {
    "clearance": ", whom ETB does not clear for its level,",
    "inactive": ", whose ETB account is locked or not active,",
}


@command(
    needs=Right.WITNESS,
    where=INCIDENT | CONTROL | DIRECT,
    asks_approval=True,
    grammar="[incident] <user> <hours> <reason> | end [incident] <user> | "
    "review [incident] <user> <ok|not-ok> [note] | list",
    example="breakglass @carol:example.org 4 Only she knows the old mail server",
)
async def breakglass(call: Call, what: Rest) -> Answer:
    """Let somebody in for some hours who otherwise may not be here, together with a second person of another role.

    Asked by a holder of one break-glass role and approved by a holder of the other, each on a verified device,
    also while ETB is away. Outside an incident's room its number comes first. Both rooms are told, it ends by
    itself or by `end`, and somebody else reviews it: an operator, or whoever holds the role compliance, auditor or
    admin.
    """
    word, _, rest = what.strip().partition(" ")
    match word.casefold():
        case "list" if not rest.strip():
            return await _list(call)
        case "end":
            return await _end(call, rest)
        case "review":
            return await _review(call, rest)
        case _:
            return await _let_in(call, what)


async def _let_in(call: Call, text: str) -> Answer:
    if refusal := _refusal(call):
        return Answer(refusal, "REFUSED")
    room, rest = await _room(call, text)
    words = rest.split(maxsplit=2)
    if len(words) < 3:  # noqa: PLR2004 - the three things it says
        raise UsageError("Who is to be let in, for how many hours, and why?")
    user_id, hours, reason = (
        _person(call, words[0]),
        _hours(words[1], call.policy.break_glass.most_hours),
        words[2],
    )
    if len(reason) > _MOST_REASON:
        raise UsageError(f"The reason is too long: at most {_MOST_REASON} characters.")
    if obstacle := await _why_not(call, room, user_id):
        return Answer(obstacle, "FAILED")
    if not call.is_approved:
        return await _ask(call, room, user_id, hours, reason)
    approval = await _approval(call)
    if approval is None or call.learned.get(_WHO) != user_id or room.incident_id is None:
        return Answer("What was approved has changed meanwhile. Nothing was done: ask again.", "FAILED")
    until_ms = call.turn.now_ms + round(hours * 3600 * 1000)
    await call.turn.follow(
        BreakGlassGiven(
            war_room=room.war_room,
            grant=call.run_id,
            user_id=user_id,
            by=(call.held.caller, *(one.user_id for one in approval.by)),
            reason=reason,
            until_ms=until_ms,
        ),
        ("glass", call.run_id),
        lane=room.incident_id,
    )
    return Answer(
        f"{code(user_id)} is let into **{plain(await number_of(call.work, room))}** until {moment(until_ms)}."
    )


async def _ask(call: Call, room: Room, user_id: UserId, hours: float, reason: str) -> Answer:
    """The other role has to agree; wherever its holders may look, they find the code."""
    found = await permission(call.work, room, user_id, call.policy)
    what = (
        f"let {code(user_id)}{_DOUBTS.get(found.why, '')} into **{plain(await number_of(call.work, room))}** for "
        f"{lasting(hours * 3600)}, by break-glass: {plain(reason, _MOST_REASON)}"
    )
    answer = await call.hold(what, {_WHO: user_id}, glass=other_roles(call.actor.glass))
    approval = await _approval(call)
    assert approval is not None  # noqa: S101 - just asked for
    told = (
        f"{code(call.actor.user_id)} asks to {what}\n\nWhoever holds the role {approval.role} can approve it "
        f"here or to me alone, until {moment(approval.expires_ms)}: "
        f"`{call.policy.commands.prefixes[0]}approve {approval.code}`"
    )
    if call.room.kind != "control":
        await call.turn.trouble(("glass asked", call.run_id), told)
    if call.room.war_room != room.war_room and room.room_id is not None:
        await call.turn.emit("asked", Say(room_id=room.room_id, content=told, purpose="notice"))
    return answer


async def _end(call: Call, text: str) -> Answer:
    if refusal := _refusal(call):
        return Answer(refusal, "REFUSED")
    room, rest = await _room(call, text)
    user_id = _person(call, rest)
    grant = await call.work.cases.get(room.war_room, BreakGlass, user_id)
    if grant is None or not grant.is_open or room.incident_id is None:
        return Answer(f"{code(user_id)} is not let in by break-glass there.", "FAILED")
    await call.turn.follow(
        BreakGlassEnds(war_room=room.war_room, grant=grant.grant, user_id=user_id, by=call.actor.user_id),
        ("glass ends", grant.grant, call.run_id),
        lane=room.incident_id,
    )
    return Answer(f"Break-glass for {code(user_id)} ends now.")


async def _review(call: Call, text: str) -> Answer:
    actor = call.actor
    by_role = actor.is_active and not actor.roles.isdisjoint(_REVIEWERS)
    if not (by_role or actor.is_operator):
        return Answer("Reviewing this needs the role compliance, auditor, admin or operator.", "REFUSED")
    if not actor.is_cross_signed:
        return Answer("A review counts only from a device that you have verified.", "REFUSED")
    room, rest = await _room(call, text)
    if not _may_know(call, room):
        raise UsageError(_NO_ROOM.format(code(text.split(maxsplit=1)[0], 40)))
    words = rest.split(maxsplit=2)
    verdict = _VERDICTS.get(words[1].casefold()) if len(words) > 1 else None
    if verdict is None:
        raise UsageError("Say whom you mean, and `ok` or `not-ok`; a note may follow.")
    user_id, note = _person(call, words[0]), words[2] if len(words) > 2 else ""  # noqa: PLR2004 - the note
    reviews = await call.work.cases.of(room.war_room, GlassReview, only_open=True)
    mine = [one for one in reviews if one.user_id == user_id]
    if not mine:
        return Answer(f"There is no break-glass of {code(user_id)} that waits for a review there.", "FAILED")
    due_after_ms = call.policy.break_glass.review_after_hours * 3600 * 1000
    ripe = [one for one in mine if one.ended_ms is not None or call.turn.now_ms >= one.from_ms + due_after_ms]
    if not ripe:
        return Answer(f"It lasts until {moment(mine[0].until_ms)}, and is reviewed once it has ended.", "FAILED")
    review = ripe[0]
    if any(_is(call, one) for one in (*review.by, review.user_id)):
        return Answer("Somebody else has to review it: you took part in it.", "REFUSED")
    await record_review(call.turn, room, review, actor, verdict, note[:_MOST_REASON], call.policy)
    return Answer(f"Recorded: **{verdict}**, reviewed by {code(actor.user_id)}.")


async def _list(call: Call) -> Answer:
    """Those that last, and those that nobody has reviewed."""
    is_trusted = bool(call.actor.glass or call.actor.roles & _REVIEWERS or call.room.kind != "direct")
    if not is_trusted:
        return Answer("This needs a break-glass role, or the role compliance, auditor or admin.", "REFUSED")
    lines = []
    for war_room, review in await _open(call):
        if call.room.kind == "incident" and war_room != call.room.war_room:
            continue
        room = await call.work.rooms.by_war_room(war_room)
        if room is None or not _may_know(call, room):
            continue
        if review.ended_ms is None:
            state = f"lasts until {moment(review.until_ms)}"
        else:
            state = f"ended {moment(review.ended_ms)}"
        reviewed = "" if not review.is_open else ", **not reviewed**"
        number = plain(await number_of(call.work, room))
        lines.append(
            f"- **{number}** {code(review.user_id)}: from {moment(review.from_ms)}, "
            f"{state}{reviewed}; by {' and '.join(code(one) for one in review.by)}: {plain(review.reason)}"
        )
    return Answer("\n".join(lines) or "Nobody is let in by break-glass, and nothing waits for a review.")


async def _open(call: Call) -> list[tuple[WarRoomId, GlassReview]]:
    """Every record that is not done with: not reviewed, or its time lasts still."""
    found = {review.id: (war_room, review) for war_room, review in await call.work.cases.all_open(GlassReview)}
    for war_room, grant in await call.work.cases.all_open(BreakGlass):
        review = await call.work.cases.get(war_room, GlassReview, grant.grant)
        if review is not None:
            found.setdefault(review.id, (war_room, review))
    return list(found.values())


# --- who, where, how long ---------------------------------------------------------------------------------


def _refusal(call: Call) -> str:
    """Why the asker may not let anybody in, or end it; empty when they may."""
    if not call.policy.break_glass.is_on:
        return _OFF
    decision = call.may(Right.BREAK_GLASS)
    return "" if decision.allowed else decision.reason


async def _room(call: Call, text: str) -> tuple[Room, str]:
    """The incident's room that is meant, and what follows its number."""
    word, _, rest = text.strip().partition(" ")
    if call.room.kind == "incident":
        known = await call.work.incidents.get(call.incident_id)
        is_own = known is not None and known.incident.is_called(word)
        return call.room, rest.strip() if is_own else text.strip()
    if not word:
        raise UsageError("Which incident is meant? Its number comes first here.")
    found = await room_numbered(call.work, word, instead="Send it in the room you mean.")
    if found is None:
        raise UsageError(_NO_ROOM.format(code(word, 40)))
    return found[0], rest.strip()


def _person(call: Call, word: str) -> UserId:
    """The Matrix id of whoever is meant: somebody ETB need not know, or one of its users."""
    word = word.strip()
    if word.startswith("@") and ":" in word:
        if len(word) > _MOST_ID or not _USER_ID.fullmatch(word):
            raise UsageError(f"{code(word, 80)} is no Matrix id.")
        return UserId(word)
    if len(word.split()) != 1:
        raise UsageError("Who is meant? Name one person, by Matrix id or ETB username.")
    user_id = call.policy.people.user_id(person(call.policy, word))
    if user_id is None:
        raise UsageError(
            f"I know no Matrix account of {code(word, 80)}. Give the Matrix id, such as `@carol:x.org`."
        )
    return user_id


def _hours(word: str, most: int) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,2})?h?", word):
        raise UsageError("For how many hours? A number comes after the person, such as `4` or `0.5`.")
    hours = float(word.removesuffix("h"))
    if not 0 < hours <= most:
        raise UsageError(f"It may last for {most} hours at most, and some time at least.")
    return hours


async def _why_not(call: Call, room: Room, user_id: UserId) -> str:
    """What keeps somebody from being let in by this, with the fix; nothing when they can be."""
    who, server = code(user_id), user_id.partition(":")[2]
    if room.room_id is None:
        return "The room of the incident is being opened. Try again in a moment."
    found = await permission(call.work, room, user_id, call.policy)
    membership = await call.work.rooms.membership(room.room_id, user_id)
    if found.allowed and found.why != "break-glass":
        is_there = "is in that room already" if membership == "join" else "can come in by `invite` or `join`"
        return f"{who} may be there without break-glass, and {is_there}."
    if membership == "ban":
        return f"{who} was banned from that room. Whoever banned them lifts that first."
    if server == call.policy.server_name:
        return ""
    if not room.federates:
        return f"{who} is of another homeserver, and that room was made for people of this one only."
    names = {one.id for one in await call.work.cases.of(room.war_room, PartnerAdmitted, only_open=True)}
    if not any(partner.name in names and server in partner.servers for partner in call.policy.partners):
        return f"{who} is of a homeserver that was not let into that room: its partner has to be admitted first."
    return ""


async def _approval(call: Call) -> Approval | None:
    """The request of this command."""
    asked = await call.work.cases.of(call.room.war_room, Approval)
    return next((one for one in asked if one.held.run_id == call.run_id), None)


def _may_know(call: Call, room: Room) -> bool:
    """The configuration trusts operators and holders of a break-glass role; everybody else as far as cleared."""
    actor = call.actor
    if room.war_room == call.room.war_room or call.room.kind == "control" or actor.glass:
        return True
    return actor.clearance is not None and actor.clearance >= room.classification


def _is(call: Call, user_id: UserId) -> bool:
    """Whether somebody is the person who asks, whichever Matrix id they use."""
    return call.actor.is_person(call.policy.people.username(user_id), user_id)
