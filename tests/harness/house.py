"""What tests of flows do with a running service: people act, ETB reports, and what stands is looked at."""

from typing import Any, Literal

from etb_appservice.domain.audit import AuditEntry, first_break
from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Effect
from etb_appservice.domain.facts import Fact, IncidentSeen, LetterDue, OnCallSeen, ServiceStarted
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, Username, short_hash
from etb_appservice.domain.incident import Incident, OnCall
from etb_appservice.domain.reactions import bare
from etb_appservice.domain.roles import Admitted
from etb_appservice.flows.turn import SERVICE_LANE
from etb_appservice.ports import Arrival, Room
from etb_appservice.store.codec import FactJson
from tests.harness.cast import ALICE, NO_1, OPERATOR, etb_user, incident
from tests.harness.events import event, member
from tests.harness.fakes import Crash
from tests.harness.running import Running


class House(Running):
    """A house for a test. Make it with `kit.house_at`."""

    # --- what comes in ------------------------------------------------------------------------------------

    async def key_comes(self, session: str, room_id: str | None = None) -> None:
        """The bot's device is given a room key; then at rest."""
        where = room_id or await self.room_id()
        self.world.keys.add((where, session))
        while True:
            try:
                await self.intake.keys_arrived([(RoomId(where), session)])
                break
            except Crash:
                self.crashes += 1
                await self.crash()
                if not self._die_before:
                    break
        await self.settle()

    async def report(
        self, seen: Incident, via: Literal["webhook", "poll"] = "webhook", *, delivery: str = ""
    ) -> int:
        """ETB shows an incident."""
        self.etb.known.setdefault(seen.id, seen)
        payload = FactJson().encode(IncidentSeen(incident=seen, via=via))
        key = short_hash(via, delivery or repr(seen))
        return await self.accept(Arrival(source="etb", lane=seen.id, key=key, payload=payload))

    async def own(self, fact: Fact, *, lane: str = SERVICE_LANE) -> None:
        """A fact of the service's own."""
        self._number += 1
        key = short_hash("test", str(self._number), str(self.clock.now_ms()))
        await self.accept(Arrival(source="own", lane=lane, key=key, payload=FactJson().encode(fact)))

    async def wants(self, effect: Effect, *, lane: str = NO_1) -> str:
        """An effect is asked for, as if by a decision; answers its key. At rest."""
        self._number += 1
        key = f"test/{self._number}"
        async with self.db.work() as work:
            await work.outbox.add(key, lane, effect)
        await self.settle()
        return key

    async def start_service(self) -> None:
        """As at every start; then at rest."""
        await self.own(ServiceStarted())
        await self.settle()

    async def on_call(self, *names: str, rotation: str = "") -> None:
        """Other people are on call."""
        usernames = tuple(Username(name) for name in names)
        rows = tuple(OnCall(rotation, name) for name in usernames) if rotation else ()
        await self.own(OnCallSeen(usernames=usernames, on_call=rows))

    async def says(self, sender: str, body: str, room_id: str | None = None, **fields: Any) -> str:
        """Somebody writes; answers the event id. Not yet worked on."""
        self._number += 1
        event_id: str = fields.pop("event_id", f"$said{self._number}")
        what = fields.pop("what", "message")
        if what == "message":
            fields = {"msgtype": "m.text", "body": body, "origin_ms": self.clock.now_ms(), **fields}
        where = room_id or await self.room_id()
        await self.accept_event(event(what, where, sender, event_id=event_id, **fields))
        return event_id

    async def reacts(self, sender: str, event_id: str, key: str, room_id: str | None = None) -> str:
        """Somebody reacts to a message; answers the reaction's own event id. At rest."""
        fields = {"key": bare(key), "relates_to": event_id, "shown": key}
        made = await self.says(sender, "", room_id, what="reaction", **fields)
        await self.settle()
        return made

    async def redacts(self, sender: str, event_id: str, room_id: str | None = None) -> None:
        """Somebody takes an event away. At rest."""
        await self.says(sender, "", room_id, what="redaction", redacts=event_id)
        await self.settle()

    async def moves(self, user_id: str, membership: str, room_id: str | None = None, *, sender: str = "") -> None:
        """Somebody joins, leaves or is invited; then at rest."""
        self._number += 1
        await self.accept_event(
            member(
                room_id or await self.room_id(),
                user_id,
                membership,
                sender=sender or user_id,
                event_id=f"$member{self._number}",
            )
        )
        await self.settle()

    # --- what stands --------------------------------------------------------------------------------------

    async def room(self, incident_id: IncidentId = NO_1) -> Room:
        """The incident's room."""
        async with self.db.view() as view:
            room = await view.rooms.of_incident(incident_id)
        assert room is not None, "the incident has no room"
        return room

    async def room_id(self, incident_id: IncidentId = NO_1) -> RoomId:
        """Its Matrix id."""
        room = await self.room(incident_id)
        assert room.room_id is not None, "the room isn't open yet"
        return room.room_id

    def control_room(self) -> RoomId:
        """Where operators command."""
        return self.world.aliases["_etb_control"]

    def space(self) -> RoomId:
        """Where incident rooms are gathered."""
        return self.world.aliases["_etb_incidents"]

    def troubles(self) -> list[str]:
        """What the operators were told, in order."""
        return [
            say.content
            for _, say in self.world.said
            if isinstance(say.content, str) and say.room_id == self.control_room() and say.reply_to is None
        ]

    def answers(self, event_id: str) -> list[str]:
        """What was answered to a message."""
        return [str(say.content) for _, say in self.world.said if say.reply_to == event_id]

    async def ask(self, sender: str, body: str, room_id: str | None = None, **fields: Any) -> str:
        """Send a command, let it be worked on, and answer the one answer to it."""
        event_id = await self.says(sender, body, room_id, **fields)
        await self.settle()
        [answer] = self.answers(event_id)
        return answer

    async def audit(self) -> list[AuditEntry]:
        """The whole log, after a look whether its chain holds."""
        async with self.db.view() as view:
            rows = await view.audit.read(limit=100_000)
        assert first_break([entry for entry, _ in rows], [digest for _, digest in rows]) is None
        return [entry for entry, _ in rows]

    async def tags(self) -> list[str]:
        """Tags of the log, in order."""
        return [entry.tag for entry in await self.audit()]

    async def open_for_alice(self, **changes: Any) -> RoomId:
        """The control room and INC-1's room, opened and settled; alice has joined."""
        self.know("alice", "bob", "carol")
        await self.start_service()
        await self.moves(OPERATOR, "join", self.control_room())
        await self.report(incident(**changes))
        await self.settle()
        room_id = await self.room_id()
        await self.moves(ALICE, "join")
        await self.advance(10)
        return room_id

    async def chat_with(self, user_id: UserId) -> RoomId:
        """The direct chat with somebody, opened and joined."""
        before = set(self.world.aliases)
        await self.own(LetterDue(user_id=user_id, text="Hello."), lane=f"direct/{user_id}")
        await self.settle()
        [alias] = self.world.aliases.keys() - before
        room_id = self.world.aliases[alias]
        await self.moves(user_id, "join", room_id)
        return room_id

    async def let_in(self, *names: str) -> None:
        """Somebody has let these people in, before they join."""
        room = await self.room()
        async with self.db.work() as work:
            for name in names:
                entry = Admitted(id=name, username=Username(name), by=OPERATOR, at_ms=self.clock.now_ms())
                await work.cases.put(room.war_room, entry)
                if name in self.etb.users:
                    await work.incidents.put_user(self.etb.users[Username(name)], self.clock.now_ms())

    async def break_glass(self, user_id: UserId) -> None:
        """Somebody was let in whatever ETB says, for a year."""
        now_ms = self.clock.now_ms()
        grant = BreakGlass(
            id=user_id, by=(ALICE, OPERATOR), reason="a test", from_ms=now_ms, until_ms=now_ms + 365 * 86_400_000
        )
        room = await self.room()
        async with self.db.work() as work:
            await work.cases.put(room.war_room, grant)

    async def leave_over(self, *names: str) -> None:
        """These people came in rightly, and are of the incident no longer: they stay, up to a level."""
        room = await self.room()
        async with self.db.work() as work:
            for name in names:
                user_id = self.policy.people.user_id(Username(name))
                await work.cases.put(room.war_room, Guest(id=Username(name), user_id=user_id, stays=True))
                if name in self.etb.users:
                    await work.incidents.put_user(self.etb.users[Username(name)], self.clock.now_ms())

    def know(self, *names: str, clearance: Classification = Classification.RESTRICTED) -> None:
        """ETB knows these people."""
        for name in names:
            self.etb.users[Username(name)] = etb_user(name, clearance)
