"""Fakes at the small ports of flows, and a store whose process dies."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from etb_appservice.domain.devices import SeenDevice
from etb_appservice.domain.facts import Fact
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.news import News
from etb_appservice.ports import Nothing, RefusedDevice, Vital, Work
from etb_appservice.store.codec import FactJson
from etb_appservice.store.sql import SqlStore

N = TypeVar("N", bound=News)


class Crash(BaseException):
    """The process died. Not an Exception: nothing may catch it and go on."""


@dataclass
class Counts:
    """`ports.Meter`."""

    facts: list[str] = field(default_factory=list)
    effects: list[tuple[str, str]] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    parkings: list[str] = field(default_factory=list)

    def fact(self, kind: str, seconds: float) -> None:
        self.facts.append(kind)

    def effect(self, kind: str, outcome: str, seconds: float) -> None:
        self.effects.append((kind, outcome))

    def command(self, name: str, status: str, seconds: float) -> None:
        self.commands.append((name, status))

    def undecryptable(self, reason: str) -> None:
        self.lost.append(reason)

    def parked(self, where: Literal["inbox", "outbox"]) -> None:
        self.parkings.append(where)


@dataclass
class Signs:
    """`ports.Vitals`."""

    vitals: list[Vital] = field(default_factory=lambda: [Vital("Matrix", True, "syncing")])

    def look(self) -> Sequence[Vital]:
        return self.vitals


@dataclass
class Keyless:
    """`ports.Refusals`."""

    devices: list[RefusedDevice] = field(default_factory=list)

    def of_room(self, room_id: RoomId) -> Sequence[RefusedDevice]:
        return [one for one in self.devices if one.room_id == room_id]

    def everywhere(self) -> Sequence[RefusedDevice]:
        return self.devices


@dataclass
class Verified:
    """`ports.Devices`: everybody's devices are signed, but for these."""

    doubted: list[SeenDevice] = field(default_factory=list)
    asked_afresh: list[UserId] = field(default_factory=list)

    async def unsigned(self, user_ids: Collection[UserId], *, afresh: bool = False) -> Sequence[SeenDevice]:
        self.asked_afresh += sorted(user_ids) if afresh else ()
        return [one for one in self.doubted if one.user_id in user_ids]


@dataclass
class Told:
    """`ports.Broadcast` that remembers."""

    all: list[News] = field(default_factory=list)

    def tell(self, news: Sequence[News]) -> None:
        self.all += news

    def of(self, kind: type[N]) -> list[N]:
        """Those of a kind, in order."""
        return [one for one in self.all if isinstance(one, kind)]


class CrashingStore:
    """The store of a process that dies at its commit number `at`: before it (rolled back) or right after it."""

    def __init__(self, inner: SqlStore, at: int | None, *, before: bool) -> None:
        self._inner = inner
        self._left = at
        self._before = before

    def view(self) -> AbstractAsyncContextManager[Work]:
        return self._inner.view()

    def stamp(self, *scopes: str) -> tuple[int, ...]:
        return self._inner.stamp(*scopes)

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        if self._left is not None:
            self._left -= 1
        async with self._inner.work() as work:
            yield work
            if self._left == 0 and self._before:
                raise Crash
        if self._left == 0:
            raise Crash


class EtbJson:
    """`ports.EtbDecoder`: what ETB brought is stored as a fact here."""

    def decode(self, payload: bytes) -> Fact | Nothing:
        if payload == b"nothing":
            return Nothing("not an incident")
        return FactJson().decode(payload)
