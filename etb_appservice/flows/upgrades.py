"""Follows a room that a person has upgraded, such as with the break-glass account.

    TombstoneSeen ─► FollowUpgrade ─► joined, a true successor, with power ─► the next generation: current, in the
                                 │                                            Space, card sent anew, people invited
                                 └──► not so ─► operators are told; the room before stays the incident's room

Whether the sender of a tombstone had the power to send it was decided by the homeserver; in room version 12 only
creators have it. What else it says is a stranger's word until the successor was looked at.
"""

from dataclasses import replace

from etb_appservice.domain.closing import Closing
from etb_appservice.domain.effects import FollowUpgrade, PutState, Say, SetVoice
from etb_appservice.domain.facts import Done, NotDone, TombstoneSeen
from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import SPACE
from etb_appservice.domain.text import code, plain
from etb_appservice.domain.upgrades import Upgrade
from etb_appservice.flows.incidents import Incidents
from etb_appservice.flows.invitations import forget_invitations
from etb_appservice.flows.removals import put_out_whom_it_must
from etb_appservice.flows.surroundings import Surroundings, level_of
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work


async def is_awaited(work: Work, room_id: RoomId) -> bool:
    """Whether a room is the successor of one of ours: the bot stays invited there."""
    return any(upgrade.id == room_id for _, upgrade in await work.cases.all_open(Upgrade))


class Upgrades:
    """Decides about rooms that were replaced."""

    def __init__(self, policy: Policy, incidents: Incidents) -> None:
        """`incidents` settles the successor."""
        self._policy = policy
        self._incidents = incidents

    async def replaced(self, turn: Turn, fact: TombstoneSeen) -> None:
        """A room was closed for good, and names the one that follows it."""
        room = await turn.work.rooms.by_id(fact.room_id)
        if room is None or self._policy.is_ours(fact.sender):
            return
        await turn.note(
            "room.replaced",
            actor=fact.sender,
            subject=room.war_room,
            details={"room": fact.room_id, "by": fact.replacement, "event": fact.event_id},
        )
        if not room.is_current or fact.replacement == fact.room_id:
            return
        known = await turn.work.incidents.get(room.incident_id) if room.incident_id else None
        if known is None:
            await turn.trouble(
                ("replaced", turn.ref),
                f"{code(fact.sender)} has upgraded **{plain(room.name) or room.kind}**. Only rooms of incidents "
                "are followed: this service goes on in the old one.",
            )
            return
        await turn.work.cases.put(
            room.war_room,
            Upgrade(id=fact.replacement, before=fact.room_id, by=fact.sender, at_ms=turn.now_ms),
        )
        spec = self._incidents.spec(known.incident, level_of(known.incident, self._policy))
        await turn.emit_as(
            f"follow/{fact.room_id}/{fact.replacement}",
            FollowUpgrade(
                room_id=fact.room_id,
                replacement=fact.replacement,
                by=fact.sender,
                spec=replace(spec, generation=room.generation + 1),
            ),
        )

    async def answered(self, turn: Turn, effect: FollowUpgrade, answer: Done | NotDone) -> None:
        """The successor was looked at. What is wrong with one, operators are told like of any other effect."""
        before = await turn.work.rooms.by_id(effect.room_id)
        if before is None:
            return
        upgrade = await turn.work.cases.get(before.war_room, Upgrade, effect.replacement)
        if isinstance(answer, NotDone):
            if upgrade is not None and answer.state == "refused":
                await turn.work.cases.put(before.war_room, replace(upgrade, state="refused", is_open=False))
            return
        if upgrade is not None:
            await turn.work.cases.put(before.war_room, replace(upgrade, state="followed", is_open=False))
        if before.is_current and answer.room_id is not None:
            await self._move(turn, before, answer.room_id, effect, answer)

    async def _move(self, turn: Turn, before: Room, room_id: RoomId, effect: FollowUpgrade, done: Done) -> None:
        after = replace(
            before,
            generation=before.generation + 1,
            room_id=room_id,
            name=effect.spec.name,
            visibility=effect.spec.visibility,
            keys_to_invited=effect.spec.keys_to_invited,
            federates=effect.spec.federates,
            card=None,
            card_event=None,
            card_holders=(),
        )
        await turn.work.rooms.put(replace(before, is_current=False))
        await turn.work.rooms.put(after)
        for user_id, membership in done.members:
            await turn.work.rooms.set_member(room_id, user_id, membership)
        await turn.work.rooms.set_member(room_id, self._policy.rooms.bot, "join")
        await turn.note(
            "room.followed",
            actor=effect.by,
            subject=after.war_room,
            details={"room": room_id, "before": effect.room_id, "generation": after.generation},
        )
        if before.incident_id is None:
            return
        await turn.work.inbox.move_lane(room_id, before.incident_id)
        turn.lanes.append(before.incident_id)
        await self._leave_space(turn, effect.room_id)
        await put_out_whom_it_must(turn, after, self._policy)
        link = f"https://matrix.to/#/{effect.room_id}?via={self._policy.server_name}"
        await turn.emit("moved", Say(room_id=room_id, content=f"This goes on from [the room before]({link})."))
        await write_down(turn, after, "OTHER", "Chat room upgraded", server=self._policy.server_name, by=effect.by)
        closing = await turn.work.cases.get(after.war_room, Closing, "closing")
        if closing is not None and closing.is_open and closing.is_read_only:
            await turn.emit("voice", SetVoice(room_id=room_id, is_read_only=True))
        known = await turn.work.incidents.get(before.incident_id)
        if known is not None:
            await forget_invitations(turn, after)
            await self._incidents.settle(turn, after, known.incident, Surroundings())

    async def _leave_space(self, turn: Turn, room_id: RoomId) -> None:
        space = await turn.work.rooms.by_war_room(SPACE)
        if space is not None and space.room_id is not None:
            await turn.emit(
                "unlink",
                PutState(room_id=space.room_id, event_type="m.space.child", state_key=room_id, content={}),
            )
