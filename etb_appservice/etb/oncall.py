"""Who is on call now (docs/etb-contract.md 8.6): each rotation is asked, and three other places after that.

What can't be asked spoils the answer rather than shorten it.
"""

import asyncio
from collections.abc import Sequence

from etb_appservice.domain.incident import OnCall
from etb_appservice.domain.outcomes import Refused
from etb_appservice.etb import parse
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.wire import JsonObject, Unreadable, kind_of
from etb_appservice.ports import Clock

_AT_ONCE = 4


class OnCallReader:
    """Raises Later, Refused, and Unreadable for an answer that is none."""

    def __init__(self, client: EtbClient, modules: Modules, clock: Clock) -> None:
        self._client = client
        self._modules = modules
        self._clock = clock
        self._spelling = client.connection.spelling

    async def now(self) -> tuple[OnCall, ...]:
        """Everybody, by rotation and name; empty when nobody is."""
        found = await self._by_rotation()
        if found is None:
            found = await self._by_assignment()
        return tuple(sorted(set(found), key=lambda on_call: (on_call.rotation, on_call.username)))

    async def _by_rotation(self) -> list[OnCall] | None:
        """Ask each active rotation; None when that told nothing (no such path, or nobody at all)."""
        paths = self._modules.paths
        rotations: list[parse.Rotation] = []
        try:
            async for rows in self._client.pages(paths.path("oncall.rotations")):
                rotations += [parse.rotation(row, self._spelling) for row in rows]
        except Refused as no:
            if no.code == "404":
                return None
            raise
        turn = asyncio.Semaphore(_AT_ONCE)

        async def ask(rotation: parse.Rotation) -> list[OnCall]:
            if rotation.current is not None and "user_username" in rotation.current:
                return self._now([rotation.current], rotation.name, rotation.team)
            async with turn:
                rows = await self._rows_at(paths.below("oncall.rotations", rotation.id, "current_oncall"))
            return self._now(rows or [], rotation.name, rotation.team)

        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(ask(rotation)) for rotation in rotations if rotation.is_active]
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        return [on_call for task in asked for on_call in task.result()] or None

    async def _by_assignment(self) -> list[OnCall]:
        """The later resorts of 8.6."""
        paths = self._modules.paths
        for key in ("oncall.assignments", "oncall.rotations"):
            rows = await self._rows_at(paths.below(key, "current"))
            if rows:
                return self._now(rows)
        found: list[OnCall] = []
        try:
            async for page in self._client.pages(paths.path("oncall.assignments"), {"status": self._active}):
                found += self._now(page)
        except Refused as no:
            if no.code != "404":
                raise
        return found

    @property
    def _active(self) -> str:
        return self._spelling.write("oncall_status", "ACTIVE")

    async def _rows_at(self, path: str) -> list[JsonObject] | None:
        """One assignment, a list or a page of them; None when ETB answers 404 (nobody, or no such path)."""
        try:
            answer = await self._client.get(path)
        except Refused as no:
            # `current` may be read as an id by a detail view, which then finds fault with it
            if no.code in {"400", "404", "405"}:
                return None
            raise
        rows = answer.get("results", [answer]) if isinstance(answer, dict) else answer
        if rows is None or rows == [{}]:
            return []
        if not isinstance(rows, list):
            raise Unreadable(f"it must be an assignment or a list of them, not {kind_of(rows)}")
        for row in rows:
            if not isinstance(row, dict):
                raise Unreadable(f"a row must be an object, not {kind_of(row)}")
        return rows

    def _now(self, rows: Sequence[JsonObject], rotation: str = "", team: str = "") -> list[OnCall]:
        now_ms = self._clock.now_ms()
        turns = [parse.assignment(row, self._spelling, rotation=rotation, team=team) for row in rows]
        return [turn.on_call for turn in turns if turn.covers(now_ms)]
