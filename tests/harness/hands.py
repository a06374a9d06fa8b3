"""The bot's hands on the real parts: Synapse, crypto, store, and a listener for transactions. No flows.

It keeps the tables as the flows would, but only when a test says so.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from aiohttp import web

from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.classification import Classification, ClassificationMap
from etb_appservice.domain.effects import MatrixEffect, OpenRoom
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ghosts import Ghosts, ghosts_of
from etb_appservice.domain.ids import IncidentId, RoomId, UserId
from etb_appservice.domain.incident import Card, Incident
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import INCIDENT_FIELD, RoomPolicy, RoomSpec, incident_room
from etb_appservice.matrix.arrivals import Intake
from etb_appservice.matrix.audience import audience_from
from etb_appservice.matrix.codec import Decoder, encrypted_rooms
from etb_appservice.matrix.files import Attachments
from etb_appservice.matrix.gaps import GapFinder
from etb_appservice.matrix.ghosts import GhostActors, GhostRules, names_from
from etb_appservice.matrix.hands import Hands
from etb_appservice.matrix.history import History
from etb_appservice.matrix.results import Rotation
from etb_appservice.matrix.rooms import RoomMaker
from etb_appservice.matrix.server import Homeserver
from etb_appservice.matrix.transactions import Transactions
from etb_appservice.ports import Known, Room, Try
from etb_appservice.store.migrate import upgrade
from etb_appservice.store.sql import SqlStore, open_store
from tests.harness.bot import Bot, DictKeepsakes, RealClock
from tests.harness.http import MatrixUser
from tests.harness.synapse import Slot, Synapse

ROOT_KEY = bytes(range(32))


def render(content: str | Card) -> tuple[str, str]:
    """Plain and HTML of a text; a card is its number here."""
    text = content if isinstance(content, str) else f"card {content.number}"
    return text, f"<p>{text}</p>"


def a_try(key: str, clock: RealClock | None = None, **more: object) -> Try:
    """A first try, unless told otherwise."""
    values: dict[str, object] = {
        "now_ms": (clock or RealClock()).now_ms(),
        "attempts": 0,
        "first_tried_ms": None,
        "device_id": None,
    } | more
    return Try(key=key, **values)  # type: ignore[arg-type]


def an_incident(number: int) -> Incident:
    return Incident(
        id=IncidentId(f"00000000-0000-4000-8000-{number:012d}"),
        number=f"INC-{number}",
        title="Mail is down",
        severity="HIGH",
        status="OPEN",
        updated_at_ms=1,
    )


@dataclass(slots=True)
class Workbench:
    """Everything of matrix/ but the flows, wired as app.py wires it."""

    synapse: Synapse
    slot: Slot
    bot: Bot
    store: SqlStore
    server: Homeserver
    rooms: RoomMaker
    hands: Hands
    decoder: Decoder
    intake: Intake
    transactions: Transactions
    gaps: GapFinder
    woken: list[str]
    ghosts: GhostActors
    counted: list[str]
    """How each handing over of history ended."""
    stack: AsyncExitStack
    clock: RealClock = field(default_factory=RealClock)

    @classmethod
    async def start(
        cls,
        synapse: Synapse,
        slot: Slot,
        folder: Path,
        keepsakes: DictKeepsakes | None = None,
        *,
        listen: bool = True,
    ) -> Self:
        clock = RealClock()
        stack = AsyncExitStack()
        try:
            url = f"sqlite:///{folder / 'etb.db'}"
            await upgrade(url)
            store = await stack.enter_async_context(open_store(url, ROOT_KEY, clock))
            woken: list[str] = []
            intake = Intake(store, str, woken.extend)
            transactions = Transactions(intake, [slot.hs_token], user_exists=_nobody, alias_exists=_nobody)
            if listen:
                await stack.enter_async_context(_Listener(transactions.app(), slot.port))
            bot = await Bot.start(synapse.url, slot, folder, keepsakes or DictKeepsakes())
            stack.push_async_callback(bot.stop)
            assert bot.established is not None
            server = Homeserver(bot.established.actor)
            rooms = RoomMaker(server, synapse.server_name, clock)
            ids = ghosts_of(f"@{slot.user_prefix}", synapse.server_name)
            rules = a_policy(server.user_id, ids)
            ghosts = GhostActors(
                lambda user_id: bot.identity_of(user_id, bot.cipher),
                bot.cipher,
                bot.keepsakes,
                ids=ids,
                name_of=names_from(store, rules.people),
                clock=clock,
                rules=GhostRules(),
            )
            counted: list[str] = []
            return cls(
                ghosts=ghosts,
                counted=counted,
                synapse=synapse,
                slot=slot,
                bot=bot,
                store=store,
                server=server,
                rooms=rooms,
                hands=Hands(
                    server,
                    bot.cipher,
                    rooms,
                    audience_from(store, rules),
                    render,
                    Rotation(),
                    Attachments(store, server),
                    History(store, server, bot.cipher, policy=rules, count=counted.append),
                    ghosts=ghosts,
                ),
                decoder=Decoder(
                    bot.cipher, encrypted_rooms(store), rules.is_ours, missed=lambda: None, ghosts=ids
                ),
                intake=intake,
                transactions=transactions,
                gaps=GapFinder(store, server, intake, clock, grace_s=0.0),
                woken=woken,
                stack=stack,
                clock=clock,
            )
        except BaseException:
            await stack.aclose()
            raise

    async def stop(self) -> None:
        await self.stack.aclose()

    def policy(self, version: str = "12", **more: object) -> RoomPolicy:
        return RoomPolicy(
            bot=self.server.user_id,
            version=version,
            alias_prefix=self.slot.alias_prefix,
            **more,  # type: ignore[arg-type]
        )

    def spec(
        self,
        number: int = 1,
        *,
        version: str = "12",
        level: Classification = Classification.CONFIDENTIAL,
        servers: Sequence[str] = (),
    ) -> RoomSpec:
        """`servers`: other homeservers that may take part."""
        return incident_room(an_incident(number), level, self.policy(version), servers=servers)

    async def do(self, effect: MatrixEffect, key: str, **more: object) -> Done:
        return await self.hands.do(effect, a_try(key, self.clock, **more))

    def as_user(self, user_id: str) -> MatrixUser:
        """A user of our namespace, by our token. Close it."""
        return MatrixUser(self.synapse.url, self.slot.as_token, as_user=user_id)

    def as_person(self, person: Bot) -> MatrixUser:
        """Plain calls as a person who is a bot of another slot. Close it."""
        assert person.established is not None
        return MatrixUser(self.synapse.url, person.as_token, as_user=person.mxid)

    async def open(self, spec: RoomSpec, *joined: str) -> RoomId:
        """A room, written into the tables; the bot and `joined` are in it, by the tables."""
        done = await self.do(OpenRoom(war_room=spec.war_room, spec=spec), f"open/{spec.war_room}")
        assert done.room_id is not None
        await self.know(spec, done.room_id, *joined)
        return done.room_id

    async def know(self, spec: RoomSpec, room_id: RoomId, *joined: str) -> None:
        """Write a room of ours into the tables, and its incident: nobody is let into a room without one."""
        incident_id = IncidentId(spec.creation_content[INCIDENT_FIELD]) if spec.kind == "incident" else None
        async with self.store.work() as work:
            if incident_id is not None:
                incident = replace(an_incident(1), id=incident_id, stated=spec.classification)
                await work.incidents.put(Known(incident=incident, confirmed_ms=work.now_ms()))
            await work.rooms.put(
                Room(
                    war_room=spec.war_room,
                    generation=spec.generation,
                    kind=spec.kind,
                    incident_id=incident_id,
                    classification=spec.classification,
                    visibility=spec.visibility,
                    keys_to_invited=spec.keys_to_invited,
                    encrypted=spec.encrypted,
                    room_id=room_id,
                )
            )
            for user_id in (self.server.user_id, *joined):
                await work.rooms.set_member(room_id, UserId(user_id), "join")
                await work.cases.put(spec.war_room, let_in(user_id))

    async def member(self, room_id: RoomId, user_id: str, membership: str) -> None:
        """What the flows do when they decide a membership: the tables first, then the hands."""
        async with self.store.work() as work:
            await work.rooms.set_member(room_id, UserId(user_id), membership)
            room = await work.rooms.by_id(room_id)
            if room is not None:
                await work.cases.put(room.war_room, let_in(user_id))
        await self.hands.membership_changed(room_id, UserId(user_id))

    async def payloads(self, lane: str) -> Sequence[bytes]:
        """Take every ready row of a lane."""
        found: list[bytes] = []
        while True:
            async with self.store.work() as work:
                row = await work.inbox.next(lane, self.clock.now_ms())
                if row is None or isinstance(row, float):
                    return found
                found.append(row.payload)
                await work.inbox.finish(row.seq)


def a_policy(bot: UserId, ghosts: Ghosts | None = None) -> Policy:
    """By which nobody is let in but by break-glass: there is no ETB here."""
    return Policy(
        rooms=RoomPolicy(bot=bot),
        people=PeopleMap(ghosts=ghosts or Ghosts()),
        classification=ClassificationMap(default=Classification.INTERNAL),
    )


def let_in(user_id: str) -> BreakGlass:
    """Somebody is permitted, without any ETB."""
    return BreakGlass(id=UserId(user_id), by=(), reason="a test", from_ms=0, until_ms=1 << 60)


async def eventually(check: Callable[[], bool], what: str, *, seconds: float = 20) -> None:
    """Wait until `check` holds; TimeoutError naming `what` otherwise."""
    try:
        async with asyncio.timeout(seconds):
            while not check():  # noqa: ASYNC110 - what is waited for lies in another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"waited {seconds:g} s in vain for {what}") from None


async def _nobody(_name: str) -> bool:
    return False


class _Listener:
    """An aiohttp application on a port of loopback."""

    def __init__(self, app: web.Application, port: int) -> None:
        self._runner = web.AppRunner(app, access_log=None)
        self._port = port

    async def __aenter__(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()

    async def __aexit__(self, *_exc: object) -> None:
        await self._runner.cleanup()
