"""The duty of an open incident: what its room is told of deadlines and escalations, and who is called.

    DutyDue ─► look: SLAs, escalations, maintenance (ETB, within a limit)
           └─► due: say what is new ─► pages nobody acknowledged ─► a room nobody joined ─► plan the next look

A look that ETB doesn't answer says nothing new and comes again soon. During maintenance that mutes notifications,
thresholds are passed over for good; breaches and met targets are said together once it is over. Maintenance that
mutes escalations keeps escalation notices from the room, and puts off what the service would escalate by itself.
Closed incidents are told nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from etb_appservice.domain.drills import is_drill
from etb_appservice.domain.duty import Escalation, Maintenance, Sla
from etb_appservice.domain.effects import MoveEscalation, Say, TriggerEscalation
from etb_appservice.domain.facts import Done, DutyDue, EffectAnswered, OnCallSeen, PeopleDue
from etb_appservice.domain.ids import new_id
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.pages import WATCH, EscalationSeen, Page, Shift, Watch
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.domain.text import code, lasting, plain
from etb_appservice.flows import notices, pages
from etb_appservice.flows.commands import RUN
from etb_appservice.flows.pages import acknowledged
from etb_appservice.flows.surroundings import Surroundings, answer_within
from etb_appservice.flows.tellings import of_escalation
from etb_appservice.flows.turn import Turn
from etb_appservice.flows.watch import FIRST_LOOK_MS, begin, put_plan
from etb_appservice.ports import EtbReads, Room, Store

__all__ = ["Duty", "DutyFact", "Standing", "acknowledged"]

DutyFact = DutyDue | OnCallSeen
_SOON_MS = 60_000
"""How often ETB is asked while an escalation or a page is open."""
_MINUTE_MS = 60_000
_MOST_KEPT_BACK = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """What ETB answered just now; None where it didn't."""

    slas: tuple[Sla, ...] | None = None
    escalations: tuple[Escalation, ...] | None = None
    maintenance: tuple[Maintenance, ...] | None = None


class Duty:
    """Decides what an incident's room is told, and who is called."""

    def __init__(self, etb: EtbReads, policy: Policy) -> None:
        """`etb` is read in `look` only, before the unit of work."""
        self._etb = etb
        self._policy = policy

    async def look(self, store: Store, fact: DutyDue) -> Standing | None:
        """Ask ETB for all of it at once; None when this look is void."""
        async with store.view() as view:
            room = await view.rooms.of_incident(fact.incident_id)
            known = await view.incidents.get(fact.incident_id)
            watch = await view.cases.get(room.war_room, Watch, WATCH) if room else None
        if watch is None or watch.plan != fact.plan or known is None or not known.incident.is_open:
            return None
        limit_s = self._policy.commands.etb_wait_s
        slas, escalations, maintenance = await asyncio.gather(
            answer_within(self._etb.slas(fact.incident_id), limit_s),
            answer_within(self._etb.escalations(fact.incident_id), limit_s),
            answer_within(self._etb.maintenance(), limit_s),
        )
        return Standing(
            slas.value if slas else None,
            escalations.value if escalations else None,
            maintenance.value if maintenance else None,
        )

    async def decide(self, turn: Turn, fact: DutyFact, standing: Standing) -> None:
        """Whichever of the two it is."""
        match fact:
            case DutyDue():
                await self.due(turn, fact, standing)
            case OnCallSeen():
                await self.on_call_seen(turn, fact)

    async def due(self, turn: Turn, fact: DutyDue, standing: Standing) -> None:
        """Look at one incident, and plan the next look."""
        room = await turn.work.rooms.of_incident(fact.incident_id)
        known = await turn.work.incidents.get(fact.incident_id)
        if room is None or known is None:
            return
        watch = await turn.work.cases.get(room.war_room, Watch, WATCH)
        if watch is None or not watch.is_open or watch.plan != fact.plan:
            return
        if not known.incident.is_open:
            await self._close(turn, room, watch)
            return
        incident = known.incident
        windows = [one for one in standing.maintenance or () if _covers(one, incident)]
        quiet = any(one.mutes_escalations for one in windows)
        watch, due_ms = await self._levels(
            turn, room, watch, standing.slas, windows, is_unknown=standing.maintenance is None
        )
        if standing.escalations is not None:
            await self._escalations(turn, room, standing.escalations, is_quiet=quiet)
        for page in await turn.work.cases.of(room.war_room, Page, only_open=True):
            at_ms = None if quiet else await pages.overdue(turn, room, incident, self._policy, page)
            due_ms += [at_ms] if at_ms is not None else []
        if not watch.is_attended and not quiet:
            watch, at_ms = await self._attendance(turn, room, incident, watch)
            due_ms += [at_ms] if at_ms is not None else []
        due_ms.append(turn.now_ms + await self._pause_ms(turn, room, standing))
        # A page that was sent just now has planned a look of its own.
        latest = await turn.work.cases.get(room.war_room, Watch, WATCH) or watch
        await put_plan(turn, room.war_room, incident.id, replace(watch, plan=latest.plan), min(due_ms))

    async def answered(self, turn: Turn, fact: EffectAnswered) -> None:
        """ETB did what we asked: it isn't announced when it is seen. An acknowledgement settles its page."""
        if not isinstance(fact.answer, Done) or not isinstance(fact.effect, TriggerEscalation | MoveEscalation):
            return
        room = await turn.work.rooms.of_incident(fact.effect.incident_id)
        if room is None:
            return
        found = fact.answer.found
        level = int(found["level"]) if found.get("level", "").isdecimal() else None
        match fact.effect:
            case TriggerEscalation() as effect if found.get("id"):
                if await turn.work.cases.get(room.war_room, EscalationSeen, found["id"]) is None:
                    await notices.mark(turn, room, found["id"], "TRIGGERED", level)
                await pages.triggered(turn, room, effect, found["id"])
            case MoveEscalation(escalation_id=escalation_id, to=to):
                await notices.mark(turn, room, escalation_id, to, level)
                if to == "ACKNOWLEDGED":
                    by = await self._asker(turn, fact.key)
                    await self._settle_page(turn, room, {escalation_id: by}, say=False)
            case _:
                pass

    async def service_started(self, turn: Turn) -> None:
        """Open incidents that nobody watches, from before there was a watch, are watched from now on.

        So are those whose next look lies beyond the usual pause: the clock was set back, or the pause was changed.
        """
        watches = dict(await turn.work.cases.all_open(Watch))
        still_open = set(await turn.work.incidents.open_ids())
        for room in await turn.work.rooms.all_current():
            incident_id = room.incident_id
            if room.room_id is None or incident_id is None or incident_id not in still_open:
                continue
            watch = watches.get(room.war_room)
            if watch is None:
                await begin(turn, room)
            elif watch.due_ms > turn.now_ms + self._policy.duty.look_every_s * 1000:
                await put_plan(turn, room.war_room, incident_id, watch, turn.now_ms + FIRST_LOOK_MS)

    async def on_call_seen(self, turn: Turn, fact: OnCallSeen) -> None:
        """Other people are on call: every open incident hears who, and looks again at its people."""
        news = await self._handed_over(turn, fact)
        await turn.note("oncall.changed", subject="oncall", details={"people": len(fact.usernames)})
        for incident_id in await turn.work.incidents.open_ids():
            await turn.follow(
                PeopleDue(incident_id=incident_id, news=news), ("people", turn.ref, incident_id), lane=incident_id
            )

    async def _handed_over(self, turn: Turn, fact: OnCallSeen) -> str:
        """What changed, by rotation. The first that is ever seen is no change."""
        if not fact.on_call:
            return ""
        before = {one.id: one.usernames for one in await turn.work.cases.of(CONTROL_ROOM, Shift, only_open=True)}
        now = {one.rotation: tuple(sorted({row.username for row in fact.on_call if row.rotation == one.rotation}))
               for one in fact.on_call}  # fmt: skip
        lines: list[str] = []
        for rotation in sorted(before.keys() | now.keys()):
            was, names = before.get(rotation, ()), now.get(rotation, ())
            if was == names:
                continue
            await turn.work.cases.put(
                CONTROL_ROOM, Shift(id=rotation, usernames=names or was, is_open=bool(names))
            )
            lines.append(
                f"On call for **{plain(rotation) or 'all'}** is now {_people(names)}, was {_people(was)}."
            )
        return "\n".join(lines) if before else ""

    async def _levels(
        self,
        turn: Turn,
        room: Room,
        watch: Watch,
        slas: Sequence[Sla] | None,
        windows: Sequence[Maintenance],
        *,
        is_unknown: bool,
    ) -> tuple[Watch, list[int]]:
        """Say what is new of the SLAs; answers when their next thresholds pass."""
        # What is kept back isn't let out on a window of which ETB says nothing just now.
        is_muted = any(one.mutes_notifications for one in windows) or (is_unknown and bool(watch.unsaid))
        told = notices.Told()
        if slas is not None:
            told = await notices.of_slas(turn, room, slas, self._policy.duty.thresholds, self._policy.server_name)
        if is_muted:
            return replace(watch, unsaid=(*watch.unsaid, *told.ends)[-_MOST_KEPT_BACK:]), told.due_ms
        lines = [*told.ends, *told.passing]
        if watch.unsaid:
            lines = [f"During maintenance: {' '.join(watch.unsaid)}", *lines]
        turn.tell(*told.news)
        await self._say(turn, room, "levels", lines)
        return replace(watch, unsaid=()), told.due_ms

    async def _escalations(self, turn: Turn, room: Room, rows: Sequence[Escalation], *, is_quiet: bool) -> None:
        lines, moved = await notices.of_escalations(turn, room, rows)
        settled = await self._settle_page(turn, room, moved, say=not is_quiet)
        if not is_quiet:
            # A page that was acknowledged has said so itself.
            turn.tell(*(of_escalation(room, row) for _, row in lines))
            await self._say(
                turn, room, "escalations", [line for line, row in lines if line and row.id not in settled]
            )

    async def _settle_page(self, turn: Turn, room: Room, moved: dict[str, str], *, say: bool) -> set[str]:
        """Escalations were acknowledged in ETB, by whom: so are their pages. Answers those that had one open."""
        settled: set[str] = set()
        for page in await turn.work.cases.of(room.war_room, Page, only_open=True):
            here = [one for one in page.escalation_ids if one in moved]
            if here:
                await acknowledged(turn, room, moved[here[0]], only={page.id}, known_to_etb=moved, say=say)
                settled.update(here)
        return settled

    async def _attendance(
        self, turn: Turn, room: Room, incident: Incident, watch: Watch
    ) -> tuple[Watch, int | None]:
        """A room that nobody joins: the people on call are paged, else the operators hear of it. Once."""
        minutes = self._policy.duty.join_minutes
        if not minutes or room.room_id is None:
            return watch, None
        joined = await turn.work.rooms.members(room.room_id, "join")
        if any(not self._policy.is_ours(one) for one in joined):
            return replace(watch, is_attended=True), None
        due_ms = watch.opened_ms + minutes * _MINUTE_MS
        if turn.now_ms < due_ms:
            return watch, due_ms
        remembered = await turn.work.incidents.on_call()
        names = [row.username for row in remembered[0]] if remembered else []
        whom = await pages.callees(turn.work, room, incident, self._policy, names, Surroundings())
        waited = lasting(minutes * 60)
        if whom.people:
            page_id = new_id(turn.now_ms)
            text = f"Nobody has joined the room of this incident within {waited}."
            effect = await pages.send_page(
                turn, room, incident, self._policy, page_id=page_id, by="", whom=whom, text=text
            )
            if not is_drill(incident, self._policy):
                await turn.emit(f"trigger/{page_id}", effect)
        else:
            why = " ".join(whom.left_out) or "Nobody is on call."
            await turn.trouble(
                ("unattended", incident.id),
                f"**{plain(incident.number)}**: nobody has joined the room within {waited}, and nobody could be "
                f"paged. {why} Find somebody who takes it.",
            )
        return replace(watch, is_attended=True), None

    async def _pause_ms(self, turn: Turn, room: Room, standing: Standing) -> int:
        """How long until the next look when nothing is due sooner."""
        usual = round(self._policy.duty.look_every_s * 1000)
        running = any(one.is_running for one in standing.escalations or ())
        if running or None in {standing.slas, standing.escalations}:
            return min(usual, _SOON_MS)
        is_open = bool(await turn.work.cases.of(room.war_room, Page, only_open=True))
        return min(usual, _SOON_MS) if is_open else usual

    async def _close(self, turn: Turn, room: Room, watch: Watch) -> None:
        """The incident is closed: nothing is due any more, whatever is still open."""
        await turn.work.cases.put(room.war_room, replace(watch, is_open=False, is_attended=True, unsaid=()))
        for page in await turn.work.cases.of(room.war_room, Page, only_open=True):
            await turn.work.cases.put(room.war_room, replace(page, is_open=False))

    async def _asker(self, turn: Turn, key: str) -> str:
        """Who sent the command that an effect is of, as ETB knows them."""
        if not key.startswith(RUN):
            return ""
        run = await turn.work.commands.get(key.removeprefix(RUN).split("/", 1)[0])
        return (self._policy.people.username(run.caller) or "") if run else ""

    async def _say(self, turn: Turn, room: Room, name: str, lines: Sequence[str]) -> None:
        if lines and room.room_id is not None:
            await turn.emit(name, Say(room_id=room.room_id, content="\n".join(lines), purpose="notice"))


def _covers(window: Maintenance, incident: Incident) -> bool:
    """Whether a window is about this incident: it names no service, or one that suffers."""
    named = {one.casefold() for one in window.services}
    return not named or any(one.casefold() in named for one in incident.services)


def _people(names: Sequence[str]) -> str:
    return ", ".join(code(name) for name in names) or "nobody"
