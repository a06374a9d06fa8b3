"""A mixed run: people on both sides of a few rooms do what people do, while the service is killed and comes back.

    operations ─► people, each in each room one after another, all at once ─► the ledger
    every so many operations, while some are under way: SIGKILL ─► started again
    all done, all quiet ─► both sides, the pages at sockets, the ledger: compared

The choices are made by the seed; how they fall together in time is not. The homeserver and ETB live through all.
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp

from etb_appservice.domain.ids import IncidentId, war_room_id
from tests.chaos.mixed.book import Book
from tests.chaos.mixed.clients import ClientPerson
from tests.chaos.mixed.compare import Names, Room, differences
from tests.chaos.mixed.people import Address, Page, WebPerson
from tests.chaos.mixed.seats import Seat
from tests.chaos.mixed.sides import native_of, web_of
from tests.harness.sandbox import Sandbox, seeded_id
from tests.harness.scene import Scene, complaints, eventually
from tests.harness.synapse import Slot, Synapse

ROOMS = 3
ON_PAGES = ("bob", "carol", "frank")
AT_SOCKETS = ("dave", "heidi")
AT_CLIENTS = ("alice", "grace")
PINS = "alice"
"""Who pins natively: of two clients that set the whole list at once, one overwrites the other."""
GATEWAY = {"per_minute": 60_000, "burst": 10_000}
COMMANDS = {"per_minute": 6_000, "burst": 1_000}
"""Nobody is held up by how much they do."""
_QUIET_S = 300.0
_MOST_WAIT = 150
_LOOKS = 6
_SHIELDS = 150
"""How many messages of ghosts are looked at for shields, per client and room."""
_FILES = 30
_AT_LEAST = 4
"""How many operations must be under way for a kill."""

Say = Callable[[str], None]


@dataclass(slots=True)
class Storm:
    """A run on one service."""

    scene: Scene
    book: Book
    seed: str
    kill_every: int
    say: Say
    address: Address = field(default_factory=lambda: Address("", []))
    rooms: list[str] = field(default_factory=list)
    before: list[frozenset[str]] = field(default_factory=list)
    pages: dict[str, Page] = field(default_factory=dict)
    seats: list[Seat] = field(default_factory=list)
    people: list[WebPerson | ClientPerson | Seat] = field(default_factory=list)
    names: Names = field(default_factory=lambda: Names({}, ""))
    may_go: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def on(
        cls, folder: Path, synapse: Synapse, slot: Slot, etb: Sandbox, *, total: int, kill_every: int, seed: str,
        say: Say,
    ) -> AsyncIterator["Storm"]:  # fmt: skip
        """Rooms with everybody in them, and nothing said yet but by the bot."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=60)
        async with (
            Scene.open(folder, synapse, slot, etb, gateway=GATEWAY, commands=COMMANDS) as scene,
            aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
        ):
            storm = cls(scene, Book(total, [[] for _ in range(ROOMS)]), seed, kill_every, say)
            await storm._set(http)
            sitting = [seat.sit_down() for seat in storm.seats]
            try:
                yield storm
            finally:
                for task in sitting:
                    task.cancel()
                await asyncio.gather(*sitting, return_exceptions=True)

    # --- before -------------------------------------------------------------------------------------------

    def _chance(self, *what: object) -> random.Random:
        return random.Random("/".join(str(one) for one in (self.seed, *what)))

    async def _set(self, http: aiohttp.ClientSession) -> None:
        scene, slot = self.scene, self.scene.slot
        everybody = (*ON_PAGES, *AT_SOCKETS, *AT_CLIENTS)
        await scene.account(*everybody)
        self.address = Address(f"http://127.0.0.1:{scene.service.public_port}", [])
        self.pages = {who: Page(http, self.address, who) for who in everybody}
        for number in range(ROOMS):
            incident = await scene.etb.declare(title=f"Storm {number}", severity="LOW", reporter="alice")
            await scene.room_of(incident)
            self.address.war_rooms.append(war_room_id(IncidentId(incident["id"])))
            for who in everybody:
                if who != "alice":
                    path = f"war-rooms/{self.address.war_rooms[-1]}/add_participant/"
                    status, told = await self.pages["alice"].call(
                        "POST", path, {"user_id": seeded_id("user", who)}
                    )
                    assert status == 200, (who, status, told)
            for who in AT_CLIENTS:
                client, room = await scene.enter(who, incident)
                await scene.card(client, room)
            self.rooms.append(room)
            await eventually(partial(self._have_joined, number), "everybody's joining", timeout=60)
        await scene.idle(timeout=_QUIET_S)
        self.names = Names(
            {
                **{scene.mxid(who): who for who in everybody},
                **{scene.synapse.mxid(f"{slot.user_prefix.lstrip('@')}u_{who}"): who for who in everybody},
            },
            scene.bot,
        )
        for number, room in enumerate(self.rooms):
            self.before.append(await self._known(number, room))
            for who in ON_PAGES:
                page = self.pages[who]
                self.people.append(WebPerson(page, self.book, number, self._chance(who, number)))
            for who in AT_SOCKETS:
                seat = Seat(http, self.address, self.book, who, number, self._chance(who, number))
                self.seats.append(seat)
                self.people.append(seat)
            for who in AT_CLIENTS:
                client, chance = scene.people[who], self._chance(who, number)
                self.people.append(ClientPerson(client, self.book, who, number, room, chance, pins=who == PINS))

    async def _have_joined(self, number: int) -> bool:
        """Whether the service knows it: whoever comes is greeted, and given the card anew."""
        path = f"war-rooms/{self.address.war_rooms[number]}/participants/"
        _, found = await self.pages["alice"].call("GET", path)
        people = found["results"] if isinstance(found, dict) else found
        joined = {one["username"] for one in people if one["membership"] == "join"}
        return joined >= set(AT_CLIENTS)

    async def _known(self, number: int, room: str) -> frozenset[str]:
        """What was there before."""
        web = await web_of(self.pages["bob"], self.address.war_rooms[number])
        known = {*web.messages, *(row["external_message_id"] or "" for row in web.messages.values())}
        for who in AT_CLIENTS:
            events = await self.scene.people[who].timeline(room, last=10_000)
            known |= {one.event_id for one in events}
        return frozenset(known)

    # --- during -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """All operations, and the kills among them."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(self._kill())
            telling = group.create_task(self._tell(began))
            pacing = group.create_task(self._pace())
            async with asyncio.TaskGroup() as people:
                for one in self.people:
                    people.create_task(self._live(one))
            await killing
            telling.cancel()
            pacing.cancel()
        self.say(f"{self.book.done} operations in {time.monotonic() - began:.0f} s; {len(self.book.killed)} kills")

    async def _live(self, person: WebPerson | ClientPerson | Seat) -> None:
        side = {WebPerson: "web", ClientPerson: "matrix", Seat: "socket"}[type(person)]
        while operation := self.book.next(person.who, side, person.room):  # type: ignore[arg-type]
            await self.may_go.wait()
            await person.act(operation)

    async def _pace(self) -> None:
        """People don't go on where nothing of what they do shows for minutes."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):  # it is being killed
                depth = await self.scene.depth()
                if depth is not None and depth > _MOST_WAIT:
                    self.may_go.clear()
                else:
                    self.may_go.set()
            await asyncio.sleep(0.5)

    async def _kill(self) -> None:
        """SIGKILL each time that so many operations have begun, a moment later, while some are under way."""
        chance = self._chance("kills")
        for number in itertools.count(1):
            at = number * self.kill_every - chance.randint(self.kill_every // 4, self.kill_every // 2)
            if number * self.kill_every > self.book.total:
                return
            await self.book.reached(at, _AT_LEAST)
            await asyncio.sleep(chance.uniform(0, 0.1))
            self.book.killed.append([str(one) for one in self.book.under_way.values()])
            await self.scene.service.kill()
            await self.scene.service.run()

    async def _tell(self, began: float) -> None:
        told = 0
        while True:
            await asyncio.sleep(10)
            for one in self.book.wrong[told:][:3]:
                self.say(f"wrong: {one}")
            told = len(self.book.wrong)
            pace = self.book.done / (time.monotonic() - began)
            self.say(
                f"{self.book.done:6} of {self.book.total}  {pace:5.1f}/s  {len(self.book.killed):3} kills  "
                f"{self.book.refused} came too late  {len(self.book.wrong)} wrong"
            )

    # --- after --------------------------------------------------------------------------------------------

    async def compare(self) -> list[str]:
        """Once all is quiet: everything that is off, in words."""
        if self.book.wrong:
            return list(self.book.wrong)
        began = time.monotonic()
        await self._quiet()
        self.say(f"quiet after {time.monotonic() - began:.0f} s")
        for seat in self.seats:
            await seat.here()
        found: list[str] = []
        for _ in range(_LOOKS):  # clients and pages may be a moment behind the service
            found = []
            for number in range(ROOMS):
                found += differences(self.book, await self._room(number), self.names)
            if not found:
                break
            await asyncio.sleep(2)
        self.say(f"compared after {time.monotonic() - began:.0f} s")
        return [*found, *await self._of_files(), *await self._of_shields(), *self._of_service()]

    async def _quiet(self) -> None:
        """Wait as long as what waits gets less, however long that takes."""
        least, since, looks = float("inf"), time.monotonic(), 0
        while (depth := await self.scene.depth()) != 0:
            if depth is not None and depth < least:
                least, since = depth, time.monotonic()
            if time.monotonic() - since > _QUIET_S:
                raise AssertionError(f"{least:g} entries wait and get no fewer")
            if (looks := looks + 1) % 10 == 1 and depth is not None:
                self.say(f"{depth:6g} entries wait")
            await asyncio.sleep(1)

    async def _room(self, number: int) -> Room:
        clients = self.scene.people
        return Room(
            number=number,
            web=await web_of(self.pages["bob"], self.address.war_rooms[number]),
            natives={who: await native_of(clients[who], self.rooms[number]) for who in AT_CLIENTS},
            pages={one.who: one.shown for one in self.seats if one.room == number},
            before=self.before[number],
        )

    async def _of_files(self) -> list[str]:
        """A sample of files, fetched from the other side."""
        found = []
        page, client = self.pages["bob"], self.scene.people["alice"]
        files = [
            one for said in self.book.said for one in said if one.sha256 and one.is_sure and not one.is_leaving
        ]
        for said in self._chance("files").sample(files, min(_FILES, len(files))):
            status, row = await page.call("GET", f"war-room-messages/{said.message_id}/")
            if status != 200 or not row["attachments"]:
                found.append(f"no file with {said}: {status}")
                continue
            file = row["attachments"][0]
            shas = {_sha256(await page.fetch(f"chat-files/{file['id']}/download/"))}
            link = str(file["external_data"].get("permalink", ""))
            event_id = link.rpartition("/")[2].partition("?")[0].replace("%24", "$")
            seen = await client.wait_for(room=self.rooms[said.room], event_id=event_id)
            shas.add(_sha256(await client.download(seen.content["file"])))
            if shas != {said.sha256}:
                found.append(f"the bytes of {said} are others: {shas}")
        return found

    async def _of_shields(self) -> list[str]:
        """A sample of what ghosts said, as each client shows it."""
        found = []
        for number, who in itertools.product(range(ROOMS), AT_CLIENTS):
            client = self.scene.people[who]
            said = [
                one
                for one in self.book.said[number]
                if one.side != "matrix" and one.event_id and not one.is_leaving
            ]
            for one in self._chance("shields", number).sample(said, min(_SHIELDS, len(said))):
                shield = await client.shield(self.rooms[number], one.event_id)
                if not shield.clean:
                    found.append(f"{who} sees a shield ({shield.colour}, {shield.reason}): {one}")
        return found

    def _of_service(self) -> list[str]:
        """Nothing is parked, and no error was logged."""
        path = self.scene.service.folder / "etb.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            rows = database.execute(
                "SELECT error FROM inbox WHERE state = 'parked' UNION ALL"
                " SELECT error FROM outbox WHERE state NOT IN ('queued')"
            ).fetchall()
        parked = [f"parked: {error}" for (error,) in rows]
        errors = [line for line in complaints(self.scene.service.log()) if _is_error(line)]
        return [*parked, *(f"the service complained: {line[:500]}" for line in errors)]


def told(storm: Storm, found: Sequence[str], *, most: int = 40) -> str:
    """What is off, what was under way at the kills, and how to repeat it."""
    book = storm.book
    lines = [f"{len(found)} differences after {book.done} operations and {len(book.killed)} kills:"]
    lines += [f"- {one}" for one in found[:most]]
    for number, kill in enumerate(book.killed, start=1):
        lines += [f"under way at kill {number}:", *(f"    {one}" for one in kill)]
    return "\n".join(lines)


def _is_error(line: str) -> bool:
    """Warnings may be: calls broke. A line that the kill cut off is no error.

    Nor is it one that the self-test's own event took longer than ten seconds: after a death the homeserver sends
    what it has kept first, and the gap finder fetches it.
    """
    if "Traceback" in line:
        return True
    try:
        told = json.loads(line)
        is_late = told.get("event") == "self-test failed" and told.get("part") in {"events", "transactions"}
        return told.get("level") in {"error", "critical"} and not is_late
    except (ValueError, AttributeError):
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
