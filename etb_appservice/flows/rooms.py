"""What follows when a room was opened, and when people come and go.

The control room and the Space are opened at the first start and settled at every start. Only the bot invites;
who comes otherwise is a stranger's guest and is recorded as such.
"""

from dataclasses import replace

from etb_appservice.domain.effects import AddTimelineEntry, Invite, LeaveRoom, OpenRoom, Pin, Say
from etb_appservice.domain.facts import (
    AclsDue,
    CardDue,
    CatchUpDue,
    Done,
    MembershipChanged,
    PeopleDue,
    ServiceStarted,
)
from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.news import MessagePinned
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import INSIDE, announcement_room, control_room, incidents_space
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.announcements import say_kept
from etb_appservice.flows.catchup import is_late
from etb_appservice.flows.comings import tell_of_move
from etb_appservice.flows.declared import room_is_open
from etb_appservice.flows.federation import acls_due, look_at_acls
from etb_appservice.flows.history import history_up_to
from etb_appservice.flows.incidents import Incidents, card_edit, link
from etb_appservice.flows.invitations import look_where_kept_out, refused
from etb_appservice.flows.letters import Letters, write_to
from etb_appservice.flows.links import is_offered
from etb_appservice.flows.marks import pins_of
from etb_appservice.flows.opening import ask_for
from etb_appservice.flows.pinners import let_members_pin
from etb_appservice.flows.record import person_of
from etb_appservice.flows.removals import came, put_out_whom_it_must, sweep_rooms
from etb_appservice.flows.standing import is_let_in
from etb_appservice.flows.surroundings import Surroundings
from etb_appservice.flows.turn import Turn
from etb_appservice.flows.upgrades import is_awaited
from etb_appservice.flows.watch import begin
from etb_appservice.ports import Room

_LOOK_AGAIN_MS = 30_000
_CARD_WAIT_MS = 1_500
_LETTER_EVERY_MS = 60_000
"""How long joins are gathered before the card is sent anew for all of them."""


class Rooms:
    """Decides about rooms once they exist."""

    def __init__(self, policy: Policy, incidents: Incidents, letters: Letters) -> None:
        """`incidents` settles an incident's room once it is there, `letters` a direct chat."""
        self._policy = policy
        self._incidents = incidents
        self._letters = letters

    async def service_started(self, turn: Turn, _fact: ServiceStarted) -> None:
        """The control room and the Space must exist, and hold whom the configuration names."""
        for spec in (control_room(self._policy.rooms), incidents_space(self._policy.rooms)):
            room = await turn.work.rooms.by_war_room(spec.war_room)
            if room is None:
                await ask_for(turn, spec, {"classification": spec.classification.name})
            elif room.room_id is not None:
                await self._invite_operators(turn, room, room.room_id)
        await look_where_kept_out(turn)
        await sweep_rooms(turn)
        await self._settle_announcements(turn)

    async def look_at_acls(self, turn: Turn) -> None:
        """Which homeservers may take part is looked at in every room."""
        await look_at_acls(turn, self._policy)
        await let_members_pin(turn)

    async def acls_due(self, turn: Turn, fact: AclsDue) -> None:
        """The same, later."""
        await acls_due(turn, fact, self._policy)

    async def opened(self, turn: Turn, asked: OpenRoom, done: Done) -> None:
        """A room of ours is there: take it into use. The fact of an incident's room comes in its lane."""
        room = await turn.work.rooms.by_war_room(asked.war_room)
        if room is None or done.room_id is None or room.room_id == done.room_id:
            return
        room = replace(room, room_id=done.room_id)
        await turn.work.rooms.put(room)
        await turn.work.rooms.set_member(done.room_id, self._policy.rooms.bot, "join")
        for user_id, membership in done.members:
            # A room that was there before our tables: who is in it must be known, to be removed or given keys.
            if user_id != self._policy.rooms.bot:
                await turn.work.rooms.set_member(done.room_id, user_id, membership)
        if room.incident_id is not None:
            await turn.work.inbox.move_lane(done.room_id, room.incident_id)
        turn.lanes.append(room.incident_id or done.room_id)
        await turn.note("room.opened", subject=room.war_room, details={"room": done.room_id, "how": done.detail})
        if room.kind in {"control", "announce"}:
            await put_out_whom_it_must(turn, room, self._policy)
        match room.kind:
            case "control":
                await self._invite_operators(turn, room, done.room_id)
            case "space":
                await self._invite_operators(turn, room, done.room_id)
                await self._link_all(turn, done.room_id)
            case "incident":
                await self._incident_opened(turn, room, done.room_id)
            case "announce":
                await self._settle_announcements(turn)
                await say_kept(turn, room, done.room_id)
            case "direct":
                await self._letters.deliver(turn, room, done.room_id)

    async def membership(self, turn: Turn, room: Room | None, fact: MembershipChanged) -> None:
        """Somebody came or went, or the bot was invited somewhere."""
        if room is None or room.room_id is None:
            # Its own join is left alone: a room of ours whose opening still has no answer looks like a stranger's.
            is_invited = fact.user_id == self._policy.rooms.bot and fact.membership == "invite"
            if is_invited and not await is_awaited(turn.work, fact.room_id):
                await turn.emit("leave", LeaveRoom(room_id=fact.room_id))
                await turn.note(
                    "stranger.invited", actor=fact.sender, subject=fact.room_id, details={"declined": True}
                )
                await self._write_instead(turn, fact)
            return
        before = await turn.work.rooms.set_member(room.room_id, fact.user_id, fact.membership)
        if before == fact.membership:
            return
        turn.moved.append((room.room_id, fact.user_id))
        await tell_of_move(turn, room, fact.user_id, before, fact.membership, self._policy)
        await turn.note(
            "member.changed",
            actor=fact.sender,
            subject=room.war_room,
            details={"user": fact.user_id, "membership": fact.membership, "before": before},
        )
        is_ghost = self._policy.ghosts.username(fact.user_id) is not None
        if fact.membership not in INSIDE or (self._policy.is_ours(fact.user_id) and not is_ghost):
            return
        if is_ghost:
            await came(turn, room, fact, self._policy)
            return
        if await came(turn, room, fact, self._policy) and fact.membership == "join" and room.kind == "incident":
            await self._greet(turn, room, fact)

    async def _write_instead(self, turn: Turn, fact: MembershipChanged) -> None:
        """Whoever wants a chat with the bot gets one that the bot made: encrypted, and with nobody else in it."""
        is_known = self._policy.people.username(fact.sender) is not None
        is_named = bool(self._policy.break_glass.held(fact.sender, ()))
        wants_to_link = self._policy.is_at_home(fact.sender) and await is_offered(turn.work)
        if is_known or is_named or wants_to_link or await is_let_in(turn.work, fact.sender, self._policy):
            text = "You invited me to a chat. I talk with you here: send `!help` for what I can do."
            await write_to(turn, fact.sender, text, "invited me", str(turn.now_ms // _LETTER_EVERY_MS))

    async def card_sent(self, turn: Turn, room: Room, say: Say, event_id: EventId, done: Done) -> None:
        """The card stands in the room: pin it instead of the one before, and show what changed meanwhile.

        Who had no device yet doesn't hold its key, and gets it anew on joining.
        """
        assert room.room_id is not None  # noqa: S101 - a card was sent to it
        holders = tuple(user for user in room.card_holders if user not in done.unread_by)
        await turn.work.rooms.put(replace(room, card_event=event_id, card_holders=holders))
        if room.card_event is not None:
            await self._unpinned(turn, room, room.card_event)
        await turn.emit("pin", Pin(room_id=room.room_id, event_id=event_id, instead_of=room.card_event))
        if room.card is not None and room.card != say.content:
            await turn.emit("card", card_edit(room.room_id, room.card, event_id))
        await turn.note("card.sent", subject=room.war_room, details={"event": event_id})

    async def _unpinned(self, turn: Turn, room: Room, card: EventId) -> None:
        """A card gives way to the next one, whoever was seen to pin it, as one of a list of theirs."""
        pins = await pins_of(turn.work, room.war_room)
        await turn.work.cases.put(room.war_room, pins.without(card, turn.now_ms))
        if pins.of(card) is not None:
            by = person_of(self._policy.rooms.bot, self._policy)
            turn.tell(
                *(
                    MessagePinned(war_room=room.war_room, message_id=message_id, is_pinned=False, by=by)
                    for message_id in (await turn.work.messages.ids_of([card])).values()
                )
            )

    async def invite_refused(self, turn: Turn, room: Room, invite: Invite, reason: str) -> None:
        """The person isn't in the room after all; the operators learn why."""
        is_news = True
        if await turn.work.rooms.membership(invite.room_id, invite.user_id) == "invite":
            await turn.work.rooms.set_member(invite.room_id, invite.user_id, "leave")
            is_news = await refused(turn, room, invite.user_id)
        # Whether the card that is under way reached them nobody knows: invited after all, they get it on joining.
        holders = tuple(user for user in room.card_holders if user != invite.user_id)
        await turn.work.rooms.put(replace(room, card_holders=holders))
        if is_news:
            again = " or restart: it is tried again then" if room.kind in {"incident", "control"} else ""
            await turn.trouble(
                ("invite", invite.room_id, invite.user_id, turn.ref),
                f"{code(invite.user_id)} could not be invited to **{plain(room.name)}**: {plain(reason)} "
                f"Correct the person's Matrix id under `people`, or ask them to check their account; "
                f"then see `queue`{again}.",
            )

    async def _incident_opened(self, turn: Turn, room: Room, room_id: RoomId) -> None:
        assert room.incident_id is not None  # noqa: S101 - of kind incident
        known = await turn.work.incidents.get(room.incident_id)
        if known is None:
            return
        await self._incidents.settle(turn, room, known.incident, Surroundings())
        await begin(turn, room)
        await room_is_open(turn, room, self._policy)
        # ETB may attach SLA targets and assignments a moment after it shows an incident.
        await turn.follow(
            PeopleDue(incident_id=room.incident_id),
            ("people", turn.ref, "soon"),
            due_ms=turn.now_ms + _LOOK_AGAIN_MS,
        )
        await turn.emit(
            "timeline",
            AddTimelineEntry(
                incident_id=room.incident_id,
                event_type="OTHER",
                title="Chat room opened",
                description="Responders talk in an end-to-end encrypted Matrix room.",
                event_time_ms=turn.now_ms,
                external_ref=f"etb-appservice/open/{room.war_room}/{room.generation}",
                event_data={
                    "war_room_id": room.war_room,
                    "matrix_room_id": room_id,
                    "permalink": f"https://matrix.to/#/{room_id}?via={self._policy.server_name}",
                },
            ),
        )

    async def _greet(self, turn: Turn, room: Room, fact: MembershipChanged) -> None:
        """Whoever joins an incident reads its card: sent anew when the one that stands is closed to them.

        Late, they are told privately how things stand; looked at in a fact of its own, with ETB's word on them.
        """
        assert room.incident_id is not None  # noqa: S101 - of kind incident
        if await is_late(turn.work, room, self._policy):
            await turn.follow(
                CatchUpDue(incident_id=room.incident_id, user_id=fact.user_id), ("catch up", fact.event_id)
            )
        # Whether they hold its key is looked at then: the answer to a card that is under way says who got none.
        if room.card is not None:
            await turn.follow(
                CardDue(incident_id=room.incident_id, user_id=fact.user_id),
                ("card", turn.ref),
                due_ms=turn.now_ms + _CARD_WAIT_MS,
            )

    async def _invite_operators(self, turn: Turn, room: Room, room_id: RoomId) -> None:
        await self._invite(turn, room, room_id, self._policy.operators, "operator")

    async def _settle_announcements(self, turn: Turn) -> None:
        """The room for stakeholders holds whom the configuration names; who else is there is swept out."""
        rules = self._policy.announcements
        spec = announcement_room(rules.classification, self._policy.rooms, rules.members)
        room = await turn.work.rooms.by_war_room(spec.war_room)
        if room is None:
            if rules.members:
                await ask_for(turn, spec, {"classification": spec.classification.name})
            return
        if room.room_id is None:
            return
        if rules.classification > room.classification:
            await turn.trouble(
                ("announcements", rules.classification.name),
                f"The announcement room was made for {room.classification.name}, and nothing above that is said "
                f"there, though `announcements.classification` is {rules.classification.name}.",
            )
        await self._invite(turn, room, room.room_id, rules.members, "stakeholder")

    async def _invite(self, turn: Turn, room: Room, room_id: RoomId, people: frozenset[UserId], role: str) -> None:
        for user_id in sorted(people):
            if await turn.work.rooms.membership(room_id, user_id) in INSIDE:
                continue
            await turn.work.rooms.set_member(room_id, user_id, "invite")
            up_to = await history_up_to(turn, room, user_id, self._policy)
            await turn.emit(f"invite/{user_id}", Invite(room_id=room_id, user_id=user_id, history_up_to=up_to))
            await turn.note("person.invited", subject=room.war_room, details={"user": user_id, "roles": role})

    async def _link_all(self, turn: Turn, space_id: RoomId) -> None:
        for room in await turn.work.rooms.all_current():
            if room.kind != "incident" or room.room_id is None or room.incident_id is None:
                continue
            known = await turn.work.incidents.get(room.incident_id)
            if known is None or not known.incident.is_over:
                await link(turn, space_id, room.room_id, self._policy)
