"""Break-glass: what follows when two people have let somebody into an incident's room for a while.

    BreakGlassGiven ─► entry, record, both rooms told, invited ─► BreakGlassEnds (timer, or `breakglass end`)
                                                                     └─► out, unless they belong by then; both told
    BreakGlassReviewDue, once a day: the control room is reminded until somebody else has reviewed it

Nothing here asks ETB, so that it works and ends while ETB is away. All of it is decided in the incident's lane,
once: a timer that names an earlier time of the same person does nothing. That the timer may be late gives nobody a
key: who is given one is asked of flows/permitted.py, which looks at the clock. Must never let anybody stay beyond
the time for want of an answer from outside.
"""

from dataclasses import replace
from typing import assert_never

from etb_appservice.domain.breakglass import BreakGlass, GlassReview, Verdict
from etb_appservice.domain.clearance import Actor
from etb_appservice.domain.effects import Invite, Say
from etb_appservice.domain.facts import BreakGlassEnds, BreakGlassGiven, BreakGlassReviewDue
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import INSIDE
from etb_appservice.domain.text import code, moment, plain
from etb_appservice.flows.permitted import permission
from etb_appservice.flows.removals import remove
from etb_appservice.flows.surroundings import number_of
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import SERVICE, Turn
from etb_appservice.ports import FactCodec, Room, Store

_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS
_OVER = "The time for which you were let into this room is over."

GlassFact = BreakGlassGiven | BreakGlassEnds | BreakGlassReviewDue


class BreakGlasses:
    """Decides about those who were let in."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def due(self, turn: Turn, fact: GlassFact) -> None:
        """Decide one of its facts."""
        match fact:
            case BreakGlassGiven():
                await self._given(turn, fact)
            case BreakGlassEnds():
                await self._ends(turn, fact)
            case BreakGlassReviewDue():
                await self._review_due(turn, fact)
            case _:
                assert_never(fact)

    async def end_overdue(self, store: Store, codec: FactCodec) -> None:
        """At a start, before any lane runs: what should have ended meanwhile does, ahead of all that waits."""
        async with store.work() as work:
            for war_room, grant in await work.cases.all_open(BreakGlass):
                room = await work.rooms.by_war_room(war_room)
                if work.now_ms() < grant.until_ms or room is None or room.incident_id is None:
                    continue
                turn = Turn(work=work, ref=f"glass overdue/{grant.grant}", lane=room.incident_id, codec=codec)
                fact = BreakGlassEnds(war_room=war_room, grant=grant.grant, user_id=grant.id)
                await self._ends(turn, fact)

    async def _given(self, turn: Turn, fact: BreakGlassGiven) -> None:
        room = await turn.work.rooms.by_war_room(fact.war_room)
        if room is None or room.room_id is None:
            return
        who, name = code(fact.user_id), await number_of(turn.work, room)
        if turn.now_ms >= fact.until_ms:
            await turn.trouble(
                ("glass", fact.grant),
                f"**{plain(name)}**: {who} was not let in: the time they were given is over already.",
            )
            return
        before = await turn.work.cases.get(room.war_room, BreakGlass, fact.user_id)
        if before is not None and before.is_open:
            await self._record_end(turn, room, before, by=fact.by[0])
        until, by = moment(fact.until_ms), " and ".join(code(one) for one in fact.by)
        await turn.work.cases.put(
            room.war_room,
            BreakGlass(
                id=fact.user_id,
                by=fact.by,
                reason=fact.reason,
                from_ms=turn.now_ms,
                until_ms=fact.until_ms,
                grant=fact.grant,
            ),
        )
        await turn.work.cases.put(
            room.war_room,
            GlassReview(
                id=fact.grant,
                user_id=fact.user_id,
                by=fact.by,
                reason=fact.reason,
                from_ms=turn.now_ms,
                until_ms=fact.until_ms,
            ),
        )
        await turn.note(
            "breakglass.granted",
            actor=fact.by[0],
            subject=room.war_room,
            details={
                "grant": fact.grant,
                "user": fact.user_id,
                "by": ",".join(fact.by),
                "from_ms": turn.now_ms,
                "until_ms": fact.until_ms,
            },
            contents={"reason": fact.reason},
        )
        text = (
            f"**Break-glass**: {who} is let in until **{until}**, as {by} have decided: {plain(fact.reason, 500)}"
        )
        await turn.emit("glass", Say(room_id=room.room_id, content=text, notify=True, purpose="notice"))
        await turn.trouble(("glass", fact.grant), f"**{plain(name)}**: {text}")
        await _invite(turn, room, room.room_id, fact.user_id, fact.until_ms)
        await write_down(
            turn,
            room,
            "OTHER",
            f"Break-glass: {fact.user_id} let in until {until}",
            server=self._policy.server_name,
            description=f"Decided by {' and '.join(fact.by)}: {fact.reason}",
            by=fact.by[0],
        )
        await turn.follow(
            BreakGlassEnds(war_room=room.war_room, grant=fact.grant, user_id=fact.user_id),
            ("glass ends", fact.grant),
            due_ms=fact.until_ms,
        )
        await turn.follow(
            BreakGlassReviewDue(war_room=room.war_room, grant=fact.grant, look=1, is_over=False),
            ("glass review", fact.grant, "lasts", "1"),
            due_ms=turn.now_ms + self._policy.break_glass.review_after_hours * _HOUR_MS,
        )

    async def _ends(self, turn: Turn, fact: BreakGlassEnds) -> None:
        grant = await turn.work.cases.get(fact.war_room, BreakGlass, fact.user_id)
        room = await turn.work.rooms.by_war_room(fact.war_room)
        if room is None or grant is None or not grant.is_open or grant.grant != fact.grant:
            return
        if fact.by is None and turn.now_ms < grant.until_ms:
            # The clock was set back since the timer fell due.
            await turn.follow(fact, ("glass ends", fact.grant, turn.ref), due_ms=grant.until_ms)
            return
        await self._record_end(turn, room, grant, by=fact.by)
        found = await permission(turn.work, room, fact.user_id, self._policy)
        if not found.allowed:
            await _put_out(turn, room, fact.user_id, self._policy)
        who, name = code(fact.user_id), await number_of(turn.work, room)
        how = f"{code(fact.by)} has ended it" if fact.by else "its time is over"
        rest = "They stay, since they belong here by now." if found.allowed else "They are out."
        text = f"**Break-glass** for {who}: {how}. {rest}"
        if room.room_id is not None:
            await turn.emit("glass over", Say(room_id=room.room_id, content=text, purpose="notice"))
        review = f"Somebody else has to review it: {self._how_to_review(name, fact.user_id)}"
        await turn.trouble(("glass over", fact.grant), f"**{plain(name)}**: {text}\n\n{review}")
        await write_down(
            turn,
            room,
            "OTHER",
            f"Break-glass for {fact.user_id} ended",
            server=self._policy.server_name,
            by=fact.by or "",
        )

    async def _record_end(self, turn: Turn, room: Room, grant: BreakGlass, *, by: UserId | None) -> None:
        """It holds no longer; from now on the control room is reminded of its review once a day."""
        await turn.work.cases.put(room.war_room, replace(grant, is_open=False))
        review = await turn.work.cases.get(room.war_room, GlassReview, grant.grant)
        if review is not None:
            await turn.work.cases.put(room.war_room, replace(review, ended_ms=turn.now_ms, ended_by=by))
        await turn.note(
            "breakglass.ended",
            actor=by or SERVICE,
            subject=room.war_room,
            details={"grant": grant.grant, "user": grant.id, "until_ms": grant.until_ms},
        )
        await turn.follow(
            BreakGlassReviewDue(war_room=room.war_room, grant=grant.grant, look=1, is_over=True),
            ("glass review", grant.grant, "over", "1"),
            due_ms=turn.now_ms + _DAY_MS,
        )

    async def _review_due(self, turn: Turn, fact: BreakGlassReviewDue) -> None:
        review = await turn.work.cases.get(fact.war_room, GlassReview, fact.grant)
        room = await turn.work.rooms.by_war_room(fact.war_room)
        if review is None or room is None or not review.is_open:
            return
        if review.ended_ms is not None and not fact.is_over:
            return  # it has ended since: that has a reminder of its own
        when = "over" if fact.is_over else "lasts"
        name = await number_of(turn.work, room)
        lasted = (
            f"until {moment(review.ended_ms)}" if review.ended_ms else f"and lasts until {moment(review.until_ms)}"
        )
        await turn.trouble(
            ("glass review", fact.grant, when, str(fact.look)),
            f"**{plain(name)}**: break-glass has not been reviewed: {code(review.user_id)} was let in at "
            f"{moment(review.from_ms)} {lasted}, by {' and '.join(code(one) for one in review.by)}: "
            f"{plain(review.reason, 500)}\n\n{self._how_to_review(name, review.user_id)}",
        )
        await turn.note(
            "breakglass.reminded",
            subject=room.war_room,
            details={"grant": fact.grant, "user": review.user_id, "look": fact.look},
        )
        await turn.follow(
            replace(fact, look=fact.look + 1),
            ("glass review", fact.grant, when, str(fact.look + 1)),
            due_ms=turn.now_ms + _DAY_MS,
        )

    def _how_to_review(self, number: str, user_id: UserId) -> str:
        prefix = self._policy.commands.prefixes[0]
        return (
            f"{code(f'{prefix}breakglass review {number} {user_id} ok')} or `not-ok`, with a note. That is for an "
            "operator who was not one of the two, or for the role compliance, auditor or admin, in the incident's "
            "room or to me alone."
        )


async def bring_along(turn: Turn, room: Room) -> None:
    """The war room has moved to another room: whoever is let in for now is invited there."""
    for grant in await turn.work.cases.of(room.war_room, BreakGlass, only_open=True):
        if room.room_id is not None and grant.holds(turn.now_ms):
            await _invite(turn, room, room.room_id, grant.id, grant.until_ms)


async def record_review(
    turn: Turn, room: Room, review: GlassReview, actor: Actor, verdict: Verdict, note: str, policy: Policy
) -> None:
    """Somebody else has looked at it; whether they may was decided before."""
    done = replace(
        review,
        verdict=verdict,
        reviewed_by=actor.user_id,
        reviewed_ms=turn.now_ms,
        note=note,
        is_open=False,
    )
    await turn.work.cases.put(room.war_room, done)
    grant = await turn.work.cases.get(room.war_room, BreakGlass, review.user_id)
    if grant is not None and grant.grant == review.id:
        await turn.work.cases.put(room.war_room, replace(grant, reviewed_by=actor.user_id))
    await turn.note(
        "breakglass.reviewed",
        actor=actor.user_id,
        subject=room.war_room,
        details={"grant": review.id, "user": review.user_id, "verdict": verdict},
        contents={"note": note},
    )
    name, said = await number_of(turn.work, room), f": {plain(note, 500)}" if note else "."
    await turn.trouble(
        ("glass reviewed", review.id),
        f"**{plain(name)}**: break-glass for {code(review.user_id)} was reviewed by {code(actor.user_id)}: "
        f"**{verdict}**{said}",
    )
    await write_down(
        turn,
        room,
        "OTHER",
        f"Break-glass for {review.user_id} reviewed: {verdict}",
        server=policy.server_name,
        description=note,
        by=actor.user_id,
    )


async def _invite(turn: Turn, room: Room, room_id: RoomId, user_id: UserId, until_ms: int) -> None:
    """The reason is read by homeservers: it holds none of the words of those who decided."""
    if await turn.work.rooms.membership(room_id, user_id) in INSIDE:
        return
    await turn.work.rooms.set_member(room_id, user_id, "invite")
    reason = f"You are let in by break-glass until {moment(until_ms)}."
    await turn.emit(f"invite/{user_id}", Invite(room_id=room_id, user_id=user_id, reason=reason))
    await turn.note("person.invited", subject=room.war_room, details={"user": user_id, "roles": "break-glass"})


async def _put_out(turn: Turn, room: Room, user_id: UserId, policy: Policy) -> None:
    """Out of every room that this war room has been, before anything else is said there."""
    for room_id in await turn.work.rooms.shared_with(user_id):
        one = await turn.work.rooms.by_id(room_id)
        if one is None or one.war_room != room.war_room:
            continue
        await remove(turn, room_id, user_id, _OVER, policy)
        await turn.note("person.removed", subject=room.war_room, details={"user": user_id, "why": "break-glass"})
