"""What webhook and poll put into the inbox, and how it is read again.

A payload is JSON `{"event", "incident", "via"}` with ETB's own object inside, so that it can be read again by a
later version and with a corrected enum map. Webhook and poll give one sighting one key: id, ETB's time of the
change, and content. Nothing here may depend on anything but the payload and the configuration.
"""

from typing import Literal, cast

from etb_appservice.domain.facts import Fact, IncidentDoubted, IncidentSeen
from etb_appservice.domain.ids import IncidentId, short_hash
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.outcomes import Broken
from etb_appservice.etb import fields, parse
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.wire import JsonObject, Unreadable, read_json, write_json
from etb_appservice.ports import Arrival, Nothing

Via = Literal["webhook", "poll", "setup", "oncall"]
_VIAS = frozenset({"webhook", "poll", "setup", "oncall"})
_DELETED = frozenset({"deleted", "incident.deleted", "incident_deleted"})
STRAY_LANE = "etb/stray"
"""Where a row without a readable id is parked."""


class IncidentDecoder:
    """`ports.EtbDecoder`, and the way into the inbox. Pure: the same payload reads the same again."""

    def __init__(self, connection: EtbConnection) -> None:
        self._spelling = connection.spelling
        self._web_url_template = connection.web_url_template

    def decode(self, payload: bytes) -> Fact | Nothing:
        """Raises Broken for what can't be read as an incident, naming the field."""
        try:
            stored = read_json(payload)
            if not isinstance(stored, dict) or not isinstance(row := stored.get("incident"), dict):
                raise Unreadable("incident must be an object")
            if (via := stored.get("via")) not in _VIAS:
                raise Unreadable("via is unknown")
            if str(stored.get("event", "")).lower() in _DELETED:
                return IncidentDoubted(incident_id=fields.identifier(row))
            return IncidentSeen(incident=self.incident(row), via=cast("Via", via))
        except Unreadable as error:
            raise Broken(f"ETB's incident can't be read: {error}") from None

    def incident(self, row: JsonObject) -> Incident:
        """ETB's object as ours; raises Unreadable (a ValueError) naming the field."""
        return parse.incident(row, self._spelling, web_url_template=self._web_url_template)

    def is_open(self, row: JsonObject) -> bool:
        """Whether work on it goes on; what can't be read counts as open, so that it parks before a person."""
        try:
            return self.incident(row).is_open
        except Unreadable:
            return True

    def arrival(self, row: JsonObject, *, via: Via, event: str, moment: str) -> Arrival:
        """How a sighting is accepted. Raises nothing: what can't be read is accepted too, and parks.

        `moment` names this very sighting (a webhook's id, the time of a poll). It enters the key only where ETB
        gives no time of change, since equal content may then be a second change back, and where an operator asks
        (`setup`): that must be looked at again though nothing changed.
        """
        salt = moment if via == "setup" else self._change(row) or moment
        try:
            incident_id: IncidentId | None = fields.identifier(row)
            trouble = None
        except Unreadable as error:
            incident_id, trouble = None, f"ETB's incident can't be read: {error}"
        return Arrival(
            source="etb",
            lane=incident_id or STRAY_LANE,
            key=short_hash("incident", incident_id or "", salt, self.content(row)),
            payload=write_json({"event": event, "incident": row, "via": via}),
            park_reason=trouble,
        )

    def content(self, row: JsonObject) -> str:
        """What tells one content from another: the parts we read, or all of it where it can't be read."""
        try:
            return repr(self.incident(row))
        except Unreadable:
            return write_json(row).decode("ascii")

    @staticmethod
    def _change(row: JsonObject) -> str:
        """ETB's time of the change in its own precision (we keep milliseconds); empty where it gives none."""
        changed = row.get("updated_at")
        if not isinstance(changed, str) or not changed:
            return ""
        return changed.replace("+00:00", "Z")
