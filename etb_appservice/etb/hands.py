"""Writes to ETB (`ports.EtbHands`), once in effect though ETB knows no idempotency key.

    first try ───────────────> POST ──> Done(created)
    any later try ──> GET, look for `external_ref` ──found──> Done(found)
                              └─not there──> POST

A repetition must never POST before the timeline was read back in full: what can't be read back is Unsure. Here
stands the timeline; the other writes stand in `incident_writes`, `duty_writes` and
`evidence_writes`.
"""

from collections.abc import Mapping

import structlog

from etb_appservice.domain.effects import (
    AddTimelineEntry,
    CancelRunbook,
    ChangeIncident,
    DeclareIncident,
    EtbEffect,
    MoveEscalation,
    RegisterEvidence,
    StartRunbook,
    TriggerEscalation,
)
from etb_appservice.domain.facts import Done
from etb_appservice.domain.outcomes import Broken, Refused, Unsure
from etb_appservice.etb import fields
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.desk import NOT_HERE, Desk, is_repetition
from etb_appservice.etb.duty_writes import DutyWrites
from etb_appservice.etb.evidence_writes import EvidenceWrites
from etb_appservice.etb.incident_writes import IncidentWrites
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.wire import JsonObject, Unreadable
from etb_appservice.ports import Try

_log = structlog.get_logger(__name__)

_TITLE_LIMIT = 255


class EtbWriter:
    """One client, and the paths that the probe found.

    `patience_s` is how long ETB may go on with what it was sent after we heard no answer; three times the limit
    for one request unless given.
    """

    def __init__(self, client: EtbClient, modules: Modules, *, patience_s: float | None = None) -> None:
        if patience_s is None:
            patience_s = 3 * client.connection.timeout_s
        desk = Desk(client, modules, patience_s=patience_s)
        self._incidents = IncidentWrites(desk)
        self._duty = DutyWrites(desk)
        self._evidence = EvidenceWrites(desk)
        self._client = client
        self._modules = modules
        self._spelling = client.connection.spelling
        self._said_unmarked = False

    async def do(self, effect: EtbEffect, attempt: Try) -> Done:
        """Carry out one effect. Raises all four outcomes; a repetition that can't be proved needless is Unsure."""
        match effect:
            case AddTimelineEntry():
                return await self._add_timeline_entry(effect, attempt)
            case ChangeIncident():
                return await self._incidents.change(effect, attempt)
            case DeclareIncident():
                return await self._incidents.declare(effect, attempt)
            case TriggerEscalation():
                return await self._duty.escalate(effect, attempt)
            case MoveEscalation():
                return await self._duty.move(effect, attempt)
            case StartRunbook():
                return await self._duty.start(effect, attempt)
            case CancelRunbook():
                return await self._duty.cancel(effect, attempt)
            case RegisterEvidence():
                return await self._evidence.register(effect, attempt)

    async def _add_timeline_entry(self, entry: AddTimelineEntry, attempt: Try) -> Done:
        """On the incident (docs/etb-contract.md 7.3), else on the war rooms' timeline (7.4)."""
        primary = self._modules.paths.path("incidents.timeline", id=entry.incident_id)
        fallback = self._modules.paths.path("war_rooms.timeline")
        for path, on_write, on_read in (
            (primary, {}, {}),
            (fallback, {"incident_id": entry.incident_id}, {"incident": entry.incident_id}),
        ):
            try:
                if is_repetition(attempt):
                    row = await self._there(path, on_read, entry)
                    if row is not None:
                        return Done(detail="found", found=_named(row))
                answer = await self._client.post(path, self._body(entry) | on_write, key=attempt.key)
            except Refused as no:
                if no.code in NOT_HERE:
                    continue
                raise
            except Broken:
                if path is fallback:
                    await self._must_exist(entry)
                raise
            self._note(answer, path)
            return Done(detail="created", found=_named(answer))
        raise Refused(
            f"ETB has no timeline at {primary} nor at {fallback}: set etb.paths.incidents.timeline", code="404"
        )

    async def _must_exist(self, entry: AddTimelineEntry) -> None:
        """The fallback answers 400 for an incident that is gone, as for a mistake of ours: tell them apart."""
        await self._client.get(self._modules.paths.below("incidents.list", entry.incident_id))

    async def _there(self, path: str, params: Mapping[str, str], entry: AddTimelineEntry) -> JsonObject | None:
        """Read the timeline back. Later when ETB is away (nothing was sent), Unsure when it can't ever be read."""
        event_type = self._spelling.write("event_type", entry.event_type)
        try:
            async for rows in self._client.pages(path, params):
                for row in rows:
                    if _is_same(row, entry, event_type):
                        return row
        except Refused as no:
            if no.code == "404":
                raise
            raise Unsure(f"an earlier try may have taken effect and can't be read back: {no}") from None
        return None

    def _body(self, entry: AddTimelineEntry) -> JsonObject:
        return {
            "event_type": self._spelling.write("event_type", entry.event_type),
            "title": fields.clean(entry.title)[:_TITLE_LIMIT],
            "description": fields.clean(entry.description),
            "source_type": "INTEGRATION",
            "event_time": fields.iso(entry.event_time_ms),
            # A serializer that doesn't know `external_ref` drops it, so it stands in the free object too.
            "event_data": {**entry.event_data, "external_ref": entry.external_ref},
            "external_ref": entry.external_ref,
        }

    def _note(self, answer: JsonObject, path: str) -> None:
        """Say once when ETB keeps no reference: then a lost answer is told by title and time alone."""
        if answer and not self._said_unmarked and not _reference(answer):
            self._said_unmarked = True
            _log.warning("etb keeps no external reference of timeline entries", path=path)


def _named(row: JsonObject) -> dict[str, str]:
    """What ETB calls the entry, where it says so: the entry stands there either way."""
    try:
        return {"id": fields.identifier(row)}
    except Unreadable:
        return {}


def _reference(row: JsonObject) -> object:
    data = row.get("event_data")
    return row.get("external_ref") or (data.get("external_ref") if isinstance(data, dict) else None)


def _is_same(row: JsonObject, entry: AddTimelineEntry, event_type: str) -> bool:
    """By reference; where ETB kept none, by type, title and the millisecond of the event."""
    if reference := _reference(row):
        return bool(reference == entry.external_ref)
    try:
        at_ms = fields.moment_ms(row, "event_time")
    except Unreadable:
        return False
    title = fields.clean(entry.title)[:_TITLE_LIMIT]
    return at_ms == entry.event_time_ms and row.get("title") == title and row.get("event_type") == event_type
