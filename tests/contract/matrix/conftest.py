"""Two sides of `MatrixHands`: the real one on Synapse, and the fake that the flows are tested with."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ghosts import ghosts_of
from etb_appservice.domain.ids import RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.rooms import RoomPolicy, RoomSpec, incident_room
from etb_appservice.ports import MatrixHands
from tests.harness.cast import BOT
from tests.harness.hands import Workbench, an_incident
from tests.harness.synapse import Slot, Synapse
from tests.harness.world import World


class Side(Protocol):
    """Hands, and a look at what they did."""

    @property
    def hands(self) -> MatrixHands: ...

    @property
    def bot(self) -> UserId: ...

    def spec(self, number: int) -> RoomSpec: ...

    async def know(self, spec: RoomSpec, room_id: RoomId) -> None:
        """The flows' part: the tables learn of the room."""
        ...

    async def may_speak(self, room_id: RoomId, username: Username) -> None:
        """The flows' part: somebody belongs to the room."""
        ...

    async def keep(self, document_id: str, content: bytes) -> None:
        """The flows' part: a file that waits to be sent."""
        ...

    async def pins(self, room_id: RoomId) -> Sequence[str]: ...

    async def count_said(self, room_id: RoomId) -> int: ...


@dataclass
class Real:
    bench: Workbench

    @property
    def hands(self) -> MatrixHands:
        return self.bench.hands

    @property
    def bot(self) -> UserId:
        return self.bench.server.user_id

    def spec(self, number: int) -> RoomSpec:
        return self.bench.spec(number)

    async def know(self, spec: RoomSpec, room_id: RoomId) -> None:
        await self.bench.know(spec, room_id)

    async def may_speak(self, room_id: RoomId, username: Username) -> None:
        ghost = ghosts_of(f"@{self.bench.slot.user_prefix}", "localhost").user_id(username)
        await self.bench.member(room_id, ghost or "", "leave")

    async def keep(self, document_id: str, content: bytes) -> None:
        async with self.bench.store.work() as work:
            await work.documents.put(document_id, WarRoomId("w"), content)

    async def pins(self, room_id: RoomId) -> Sequence[str]:
        content = await self.bench.server.state_content(room_id, "m.room.pinned_events") or {}
        return list(content.get("pinned", []))

    async def count_said(self, room_id: RoomId) -> int:
        events, _ = await self.bench.server.messages(room_id, limit=100)
        return sum(event["type"] == "m.room.encrypted" for event in events)


@dataclass
class Faked:
    world: World
    kept: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world.documents = self._document

    async def _document(self, document_id: str) -> bytes | None:
        return self.kept.get(document_id)

    @property
    def hands(self) -> MatrixHands:
        return self.world

    @property
    def bot(self) -> UserId:
        return BOT

    def spec(self, number: int) -> RoomSpec:
        return incident_room(an_incident(number), Classification.CONFIDENTIAL, RoomPolicy(bot=BOT))

    async def know(self, spec: RoomSpec, room_id: RoomId) -> None:
        """The fake has no tables."""

    async def may_speak(self, room_id: RoomId, username: Username) -> None:
        """The fake lets everybody."""

    async def keep(self, document_id: str, content: bytes) -> None:
        self.kept[document_id] = content

    async def pins(self, room_id: RoomId) -> Sequence[str]:
        return list(self.world.pinned.get(room_id, []))

    async def count_said(self, room_id: RoomId) -> int:
        files = sum(file.room_id == room_id for _, file, _ in self.world.sent)
        return files + sum(say.room_id == room_id for _, say in self.world.said)


@pytest.fixture(scope="module")
async def bench(
    synapse: Synapse, take_slot: Callable[[], Slot], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Workbench]:
    started = await Workbench.start(synapse, take_slot(), tmp_path_factory.mktemp("contract"))
    yield started
    await started.stop()


@pytest.fixture(params=["fake", "real"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Side:
    if request.param == "fake":
        return Faked(World())
    real: Side = Real(request.getfixturevalue("bench"))
    return real
