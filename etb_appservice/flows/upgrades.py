"""Follows a room that was replaced: by a person, such as with the break-glass account, or by us for a partner.

    TombstoneSeen ─────┬► FollowUpgrade ─► joined, a true successor, with power ─► the next generation: current, in
    OpenRoom answered ─┘           │                                              the Space, card sent anew, people
    (our own, generation 2…)       │                                              and approvals moved
                                   └─► not so ─► operators are told; the room before stays the incident's room

What we replace ourselves is made by `OpenRoom`, then taken over in the same way, and closed last of all: whatever
step is cut off, people have a room to talk in.

Whether the sender of a tombstone had the power to send it was decided by the homeserver; in room version 12 only
creators have it. What else it says is a stranger's word until the successor was looked at.
"""

from dataclasses import replace

from etb_appservice.domain.closing import Closing
from etb_appservice.domain.effects import FollowUpgrade, OpenRoom, PutState, Say, SetVoice
from etb_appservice.domain.facts import Done, NotDone, TombstoneSeen
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.questions import Question
from etb_appservice.domain.rooms import SPACE
from etb_appservice.domain.text import code, plain
from etb_appservice.domain.upgrades import Upgrade
from etb_appservice.flows import approvals, holds
from etb_appservice.flows.admission import bring_in
from etb_appservice.flows.breakglass import bring_along
from etb_appservice.flows.closings import set_voice
from etb_appservice.flows.federation import partner_servers, partners_in
from etb_appservice.flows.ghosts import dismiss_ghosts
from etb_appservice.flows.incidents import Incidents, room_spec
from etb_appservice.flows.invitations import forget_invitations
from etb_appservice.flows.partners import invite_theirs
from etb_appservice.flows.permitted import permission
from etb_appservice.flows.questions import typed
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
        await self._follow(turn, room, fact.room_id, fact.replacement, known.incident, by=fact.sender)

    async def opened(self, turn: Turn, asked: OpenRoom, done: Done) -> bool:
        """The room by which we replace one of ours is there; False for a room that replaces none."""
        if asked.spec.generation == 1:
            return False
        room = await turn.work.rooms.by_war_room(asked.war_room)
        known = await turn.work.incidents.get(room.incident_id) if room and room.incident_id else None
        if room is None or room.room_id is None or known is None or done.room_id is None:
            return True
        if room.generation >= asked.spec.generation:
            return True  # followed by another way meanwhile
        bot = self._policy.rooms.bot
        await turn.work.cases.put(
            room.war_room, Upgrade(id=done.room_id, before=room.room_id, by=bot, at_ms=turn.now_ms)
        )
        await self._follow(turn, room, room.room_id, done.room_id, known.incident, by=bot)
        return True

    async def _follow(
        self, turn: Turn, room: Room, room_id: RoomId, replacement: RoomId, incident: Incident, *, by: UserId
    ) -> None:
        level = level_of(incident, self._policy)
        servers = await partner_servers(turn.work, room.war_room, level, self._policy)
        spec = room_spec(
            incident,
            level,
            self._policy,
            servers=servers,
            is_for_partners=bool(servers) or self._policy.is_ours(by),
        )
        await turn.emit_as(
            f"follow/{room_id}/{replacement}",
            FollowUpgrade(
                room_id=room_id,
                replacement=replacement,
                by=by,
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
            hosts=effect.spec.hosts,
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
        is_own = self._policy.is_ours(effect.by)
        text = f"This goes on from [the room before]({self._link(effect.room_id)})."
        if is_own:
            let_in = await partners_in(turn.work, after.war_room, after.classification, self._policy)
            text += f" Let in here: {', '.join(f'**{plain(one.name)}**' for one, _ in let_in) or 'no partner'}."
        await turn.emit("moved", Say(room_id=room_id, content=text))
        title = "Chat room replaced by one that is open to partners" if is_own else "Chat room upgraded"
        await write_down(
            turn, after, "OTHER", title, server=self._policy.server_name, by="" if is_own else effect.by
        )
        await self._move_what_waits(turn, after, room_id)
        await bring_along(turn, after)
        closing = await turn.work.cases.get(after.war_room, Closing, "closing")
        if closing is not None and closing.is_open and closing.is_read_only:
            await set_voice(turn, after, room_id, is_read_only=True)
        await holds.follow(turn, before.incident_id)
        known = await turn.work.incidents.get(before.incident_id)
        if known is not None:
            await forget_invitations(turn, after)
            await self._incidents.settle(turn, after, known.incident, Surroundings())
        if is_own:
            await self._move_people(turn, effect.room_id, after, room_id)
            await self._close(turn, effect.room_id, room_id)

    async def _move_people(self, turn: Turn, before: RoomId, after: Room, room_id: RoomId) -> None:
        """Whoever is in the room before and may stay, and those whom partners name."""
        bot = self._policy.rooms.bot
        for user_id in await turn.work.rooms.members(before, "join", "invite"):
            if self._policy.is_ours(user_id):
                continue
            if (await permission(turn.work, after, user_id, self._policy)).allowed:
                await bring_in(turn, after, room_id, user_id, by=bot)
        await invite_theirs(turn, after, room_id, self._policy, by=bot)

    async def _close(self, turn: Turn, before: RoomId, after: RoomId) -> None:
        """The room before says where it goes on, and nobody talks past the others there any more."""
        text = f"**This goes on in [another room]({self._link(after)})**, to which you are invited."
        await turn.emit("left", Say(room_id=before, content=text, purpose="notice"))
        tombstone = {"body": "This goes on in another room.", "replacement_room": after}
        await turn.emit(
            "tombstone",
            PutState(room_id=before, event_type="m.room.tombstone", state_key="", content=tombstone),
        )
        await turn.emit("silence", SetVoice(room_id=before, is_read_only=True))
        await dismiss_ghosts(turn, before, self._policy)

    async def _move_what_waits(self, turn: Turn, after: Room, room_id: RoomId) -> None:
        """Requests for approval stand in the new room; a question is asked anew with its command."""
        await approvals.move(turn, after, room_id, self._policy)
        for question in await turn.work.cases.of(after.war_room, Question, only_open=True):
            await turn.work.cases.put(after.war_room, replace(question, is_open=False))
            run_id = question.held.run_id
            await turn.finish_run(after.war_room, run_id, status="CANCELLED", result="the room moved")
            asked = f"{code(question.held.caller)}: the room has moved, so {typed(question.held)} was not run. "
            await turn.emit(f"asks/{question.number}", Say(room_id=room_id, content=f"{asked}Send it here again."))

    def _link(self, room_id: RoomId) -> str:
        return f"https://matrix.to/#/{room_id}?via={self._policy.server_name}"

    async def _leave_space(self, turn: Turn, room_id: RoomId) -> None:
        space = await turn.work.rooms.by_war_room(SPACE)
        if space is not None and space.room_id is not None:
            await turn.emit(
                "unlink",
                PutState(room_id=space.room_id, event_type="m.space.child", state_key=room_id, content={}),
            )
