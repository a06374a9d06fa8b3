"""Reads of ETB, each within its own limit (`ports.EtbReads`). Repeating is safe; nothing is ever written here."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from etb_appservice.domain.duty import Escalation, Execution, Maintenance, Runbook, Sla, TimelineRow
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import Deadline, EtbUser, Incident, OnCall
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb import parse
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.wire import JsonObject, Unreadable, kind_of
from etb_appservice.ports import Clock

_AT_ONCE = 4


class EtbReader:
    """`limit_s` bounds each call, its retries included."""

    def __init__(self, client: EtbClient, modules: Modules, clock: Clock, *, limit_s: float = 10.0) -> None:
        self._client = client
        self._modules = modules
        self._clock = clock
        self._limit_s = limit_s
        self._spelling = client.connection.spelling

    async def incident(self, incident_id: IncidentId) -> Incident:
        """One incident (docs/etb-contract.md 7.1); Refused with code 404 when ETB knows none such."""
        self._need("incidents")
        path = self._modules.paths.below("incidents.list", incident_id)
        async with self._reading(path):
            row = await self._client.get_object(path)
            template = self._client.connection.web_url_template
            found = parse.incident(row, self._spelling, web_url_template=template)
            if found.id != incident_id:
                raise Unreadable("id is not the one that was asked for")
        return found

    async def deadlines(self, incident_id: IncidentId) -> tuple[Deadline, ...]:
        """Running SLA instances (8.4), soonest first; empty where the module is switched off."""
        if self._modules.is_off("sla"):
            return ()
        path = self._modules.paths.path("sla.instances")
        found: list[Deadline] = []
        async with self._reading(path):
            async for rows in self._client.pages(path, {"incident": incident_id, "ordering": "target_time"}):
                for row in rows:
                    if parse.identifier(row, "incident") != incident_id:  # a filter that ETB ignored
                        continue
                    deadline = parse.deadline(row, self._spelling)
                    if deadline is not None:
                        found.append(deadline)
        return tuple(sorted(found, key=lambda deadline: (deadline.target_ms, deadline.name)))

    async def user(self, username: Username) -> EtbUser | None:
        """The user of exactly this name (10.3); None when ETB knows none."""
        self._need("security")
        path = self._modules.paths.path("security.users")
        async with self._reading(path):
            async for rows in self._client.pages(path, {"username": username}):
                for row in rows:
                    if row.get("username") == username:
                        return parse.user(row)
        return None

    async def on_call(self) -> tuple[OnCall, ...]:
        """Everybody on call now, by 8.6 and its fallbacks; empty when nobody is or the module is switched off."""
        if self._modules.is_off("oncall"):
            return ()
        path = self._modules.paths.path("oncall.rotations")
        async with self._reading(path):
            found = await self._by_rotation()
            if found is None:
                found = await self._by_assignment()
        return tuple(sorted(set(found), key=lambda on_call: (on_call.rotation, on_call.username)))

    async def incidents(self, *, search: str = "") -> tuple[Incident, ...]:
        """Open incidents."""
        raise NotImplementedError

    async def slas(self, incident_id: IncidentId) -> tuple[Sla, ...]:
        """SLA instances."""
        raise NotImplementedError

    async def escalations(self, incident_id: IncidentId) -> tuple[Escalation, ...]:
        """Escalation instances."""
        raise NotImplementedError

    async def runbooks(self, search: str) -> tuple[Runbook, ...]:
        """Runbooks."""
        raise NotImplementedError

    async def execution(self, execution_id: str) -> Execution:
        """One run."""
        raise NotImplementedError

    async def maintenance(self) -> tuple[Maintenance, ...]:
        """Windows under way."""
        raise NotImplementedError

    async def timeline(self, incident_id: IncidentId) -> tuple[TimelineRow, ...]:
        """ETB's timeline."""
        raise NotImplementedError

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
                return self._now([rotation.current], rotation.name)
            async with turn:
                rows = await self._rows_at(paths.below("oncall.rotations", rotation.id, "current_oncall"))
            return self._now(rows or [], rotation.name)

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

    def _now(self, rows: Sequence[JsonObject], rotation: str = "") -> list[OnCall]:
        now_ms = self._clock.now_ms()
        turns = [parse.assignment(row, self._spelling, rotation=rotation) for row in rows]
        return [turn.on_call for turn in turns if turn.covers(now_ms)]

    def _need(self, module: str) -> None:
        if self._modules.is_off(module):
            raise Refused(f"ETB's module {module} is not available: see `check`, or set etb.paths", code="off")

    @asynccontextmanager
    async def _reading(self, path: str) -> AsyncIterator[None]:
        """Within the limit, and only Later or Refused comes out."""
        try:
            async with asyncio.timeout(self._limit_s):
                yield
        except TimeoutError:
            raise Later(f"GET {path}: ETB gave no answer within {self._limit_s:g} s") from None
        except Unreadable as error:
            raise Refused(f"ETB's answer to GET {path}: {error}", code="shape") from None
