"""Reads of ETB, each within its own limit (`ports.EtbReads`). Repeating is safe; nothing is ever written here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from etb_appservice.domain.duty import Escalation, Execution, Maintenance, Runbook, Sla, TimelineRow
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import CLOSED_STATUSES, Deadline, EtbUser, Incident, OnCall
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb import fields, parse, parse_duty
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.oncall import OnCallReader
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.spelling import STATUSES
from etb_appservice.etb.wire import JsonObject, Unreadable
from etb_appservice.ports import Clock

_MOST_INCIDENTS = 200
_PAGES = 3
"""So many pages of incidents are looked through before ETB is asked for each open status by itself."""
_MOST_RUNBOOKS = 50
_MOST_PAGES = 10
_MOST_ENTRIES = 1000
_SEARCH_LIMIT = 200
_DEFINITION_KEPT_S = 600.0
_NO_SUCH_CHOICE = "400"
"""What a filter answers for a value it doesn't know."""
_GONE = "404"
_NOT_HERE = frozenset({"404", "405"})


class EtbReader:
    """`limit_s` bounds each call, its retries included."""

    def __init__(self, client: EtbClient, modules: Modules, clock: Clock, *, limit_s: float = 10.0) -> None:
        self._client = client
        self._modules = modules
        self._clock = clock
        self._limit_s = limit_s
        self._spelling = client.connection.spelling
        self._on_call = OnCallReader(client, modules, clock)
        self._definitions: dict[str, tuple[bool, float]] = {}
        """SLA definition to whether it counts business hours only, and when that was read."""

    async def incident(self, incident_id: IncidentId) -> Incident:
        """One incident (docs/etb-contract.md 7.1); Refused with code 404 when ETB knows none such."""
        self._need("incidents")
        path = self._modules.paths.below("incidents.list", incident_id)
        async with self._reading(path):
            found = self._incident(await self._client.get_object(path))
            if found.id != incident_id:
                raise Unreadable("id is not the one that was asked for")
        return found

    async def incidents(self, *, search: str = "") -> tuple[Incident, ...]:
        """Open incidents (7.1), latest change first, at most 200.

        All of them are read, latest first; where many are closed, each open status is asked for by itself, and
        one that ETB doesn't know is passed over.
        """
        self._need("incidents")
        path = self._modules.paths.path("incidents.list")
        params = {"ordering": "-updated_at", **_search(search)}
        found: dict[IncidentId, Incident] = {}
        async with self._reading(path):
            if not await self._open_incidents(path, params, found):
                for status in STATUSES:
                    if status not in CLOSED_STATUSES:
                        asked = params | {"status": self._spelling.write("status", status)}
                        try:
                            await self._open_incidents(path, asked, found)
                        except Refused as no:
                            if no.code != _NO_SUCH_CHOICE:
                                raise
        latest = sorted(found.values(), key=lambda one: (-one.updated_at_ms, one.id))
        return tuple(latest[:_MOST_INCIDENTS])

    async def deadlines(self, incident_id: IncidentId) -> tuple[Deadline, ...]:
        """Running SLA instances (8.4), soonest first; empty where the module is switched off."""
        async with self._reading(self._modules.paths.path("sla.instances")):
            rows = await self._of_incident("sla.instances", incident_id, "target_time")
            found = [deadline for row in rows if (deadline := parse.deadline(row, self._spelling)) is not None]
        return tuple(sorted(found, key=lambda deadline: (deadline.target_ms, deadline.name)))

    async def slas(self, incident_id: IncidentId) -> tuple[Sla, ...]:
        """Every SLA instance (8.4), soonest target first; empty where the module is switched off."""
        async with self._reading(self._modules.paths.path("sla.instances")):
            rows = await self._of_incident("sla.instances", incident_id, "target_time")
            found = [
                parse_duty.sla(row, self._spelling, is_business_hours=await self._in_business_hours(row))
                for row in rows
            ]
        return tuple(sorted(found, key=lambda one: (one.target_ms is None, one.target_ms or 0, one.name)))

    async def escalations(self, incident_id: IncidentId) -> tuple[Escalation, ...]:
        """Escalation instances (8.5), oldest first; empty where the module is switched off."""
        async with self._reading(self._modules.paths.path("sla.escalations")):
            rows = await self._of_incident("sla.escalations", incident_id, "triggered_at")
            found = [parse_duty.escalation(row, self._spelling) for row in rows]
        return tuple(sorted(found, key=lambda one: (one.triggered_ms or 0, one.level, one.id)))

    async def runbooks(self, search: str) -> tuple[Runbook, ...]:
        """Active runbooks (9.2) that hold every word of `search`, one of that name first, then by name."""
        if self._modules.is_off("automation"):
            return ()
        path = self._modules.paths.path("automation.runbooks")
        active = self._spelling.write("runbook_status", "ACTIVE")
        words = [word.casefold() for word in _words(search)]
        async with self._reading(path):
            rows, _ = await self._rows(path, {"status": active, "ordering": "name", **_search(search)})
            found = [parse_duty.runbook(row) for row in rows if parse_duty.runbook_is_active(row, self._spelling)]
        fitting = [
            one for one in found if all(word in f"{one.name} {one.description}".casefold() for word in words)
        ]
        name = " ".join(search.split()).casefold()
        fitting.sort(key=lambda one: (one.name.casefold() != name, one.name.casefold(), one.id))
        return tuple(fitting[:_MOST_RUNBOOKS])

    async def execution(self, execution_id: str) -> Execution:
        """One run of a runbook (9.3); Refused with code 404 when ETB knows none such."""
        self._need("automation")
        path = self._modules.paths.below("automation.executions", execution_id)
        async with self._reading(path):
            found = parse_duty.execution(await self._client.get_object(path), self._spelling)
            if found.id != execution_id:
                raise Unreadable("id is not the one that was asked for")
        return found

    async def maintenance(self) -> tuple[Maintenance, ...]:
        """Windows (9.4) under way now; empty where the module is switched off.

        Planned ones are asked for too: nobody may have told ETB that one has begun.
        """
        if self._modules.is_off("automation"):
            return ()
        path = self._modules.paths.path("automation.maintenance")
        found: dict[str, Maintenance] = {}
        async with self._reading(path):
            for status in ("ACTIVE", "SCHEDULED"):
                asked = {"status": self._spelling.write("maintenance_status", status), "ordering": "-start_time"}
                rows, _ = await self._rows(path, asked)
                for row in rows:
                    window = parse_duty.maintenance(row, self._spelling, self._clock.now_ms())
                    if window is not None:
                        found[window.id] = window
        return tuple(sorted(found.values(), key=lambda one: (one.start_ms or 0, one.id)))

    async def timeline(self, incident_id: IncidentId) -> tuple[TimelineRow, ...]:
        """ETB's timeline (7.3), else the war rooms' (7.4), the latest 1,000 entries, oldest first.

        Empty where ETB keeps neither: it is kept here anyway.
        """
        paths = self._modules.paths
        places: list[tuple[str, dict[str, str]]] = [(paths.path("war_rooms.timeline"), {"incident": incident_id})]
        if not self._modules.is_off("incidents"):
            places.insert(0, (paths.path("incidents.timeline", id=incident_id), {}))
        for path, params in places:
            try:
                return await self._timeline(path, params, incident_id)
            except Refused as no:
                if no.code not in _NOT_HERE:
                    raise
        return ()

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

    async def user_of_id(self, user_id: str) -> EtbUser | None:
        """The user with this id (10.3); None when ETB knows none."""
        self._need("security")
        path = self._modules.paths.below("security.users", user_id)
        async with self._reading(path):
            try:
                return parse.user(await self._client.get_object(path))
            except Refused as no:
                if no.code != _GONE:
                    raise
        return None

    async def on_call(self) -> tuple[OnCall, ...]:
        """Everybody on call now, by 8.6 and its fallbacks; empty when nobody is or the module is switched off."""
        if self._modules.is_off("oncall"):
            return ()
        async with self._reading(self._modules.paths.path("oncall.rotations")):
            return await self._on_call.now()

    # --- parts of the above -------------------------------------------------------------------------------

    def _incident(self, row: JsonObject) -> Incident:
        return parse.incident(row, self._spelling, web_url_template=self._client.connection.web_url_template)

    async def _open_incidents(self, path: str, params: dict[str, str], found: dict[IncidentId, Incident]) -> bool:
        """Adds the open ones; whether that was all there is, or all that is wanted."""
        rows, is_all = await self._rows(path, params, _PAGES)
        still_open = [one for one in map(self._incident, rows) if one.is_open]
        found.update((one.id, one) for one in still_open)
        return is_all or len(still_open) >= _MOST_INCIDENTS

    async def _rows(
        self, path: str, params: dict[str, str], most_pages: int = _MOST_PAGES
    ) -> tuple[list[JsonObject], bool]:
        """The rows of so many pages, and whether there were no more."""
        found: list[JsonObject] = []
        pages = 0
        async for rows in self._client.pages(path, params):
            found += rows
            pages += 1
            if pages == most_pages:
                return found, False
        return found, True

    async def _of_incident(self, key: str, incident_id: IncidentId, ordering: str) -> list[JsonObject]:
        """The rows of one incident, also when ETB ignored the filter; empty where the module is switched off."""
        if self._modules.is_off(key.partition(".")[0]):
            return []
        found: list[JsonObject] = []
        asked = {"incident": incident_id, "ordering": ordering}
        async for rows in self._client.pages(self._modules.paths.path(key), asked):
            found += [row for row in rows if fields.identifier(row, "incident") == incident_id]
        return found

    async def _in_business_hours(self, row: JsonObject) -> bool:
        """Whether the definition of an SLA (8.3) counts business hours only; no where it can't be read."""
        definition = fields.related(row, "sla_definition")
        if not definition or row.get("business_hours_only") is not None:
            return False
        answer, read_s = self._definitions.get(definition, (False, 0.0))
        now_s = self._clock.monotonic()
        if definition in self._definitions and now_s - read_s < _DEFINITION_KEPT_S:
            return answer
        try:
            found = await self._client.get_object(self._modules.paths.below("sla.definitions", definition))
        except Refused:
            found = {}
        answer = fields.flag(found, "business_hours_only", default=False)
        self._definitions[definition] = answer, now_s
        return answer

    async def _timeline(
        self, path: str, params: dict[str, str], incident_id: IncidentId
    ) -> tuple[TimelineRow, ...]:
        async with self._reading(path):
            rows, _ = await self._rows(path, {"ordering": "-event_time", **params})
            found = [
                parse_duty.timeline_row(row, self._spelling, incident_id)
                for row in rows
                if fields.related(row, "incident") in {"", incident_id}
            ]
        found.reverse()
        found.sort(key=lambda one: one.at_ms or 0)
        return tuple(found[-_MOST_ENTRIES:])

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


def _words(search: str) -> list[str]:
    """What is looked for: the words, without the signs that mean something to ETB's search."""
    kept = (" " if sign in "\"'," or not sign.isprintable() else sign for sign in search[:_SEARCH_LIMIT])
    return "".join(kept).split()


def _search(search: str) -> dict[str, str]:
    words = _words(search)
    return {"search": " ".join(words)} if words else {}
