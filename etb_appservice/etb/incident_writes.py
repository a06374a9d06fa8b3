"""Changing and declaring incidents in ETB (docs/etb-contract.md 7.1).

A change sends absolute values, so it may be repeated: it is read first, and what is as wanted is not sent.
A declaration makes a new row each time; its reference stands as the last line of the description.
"""

from dataclasses import replace

import structlog

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import ChangeIncident, DeclareIncident
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.outcomes import Refused
from etb_appservice.etb import fields, parse
from etb_appservice.etb.desk import NOT_HERE, Desk, is_repetition, understood
from etb_appservice.etb.wire import JsonObject, Unreadable
from etb_appservice.ports import Try

_log = structlog.get_logger(__name__)

_TITLE_LIMIT = 255
_DESCRIPTION_LIMIT = 8000
_MARGIN_MS = 15 * 60_000
_MOST_KEPT = 1000
_NOT_BY_PATCH = frozenset({"400", "405"})


class IncidentWrites:
    """Each answers with what ETB has now, in our words."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._client = desk.client
        self._spelling = desk.spelling
        self._before: dict[str, Incident] = {}
        """Key to the incident before the first try of this process: a repetition would find it changed."""

    async def change(self, effect: ChangeIncident, attempt: Try) -> Done:
        """Set what differs. Raises all four outcomes."""
        self._desk.need("incidents")
        path = self._desk.modules.paths.below("incidents.list", effect.incident_id)
        now = await self._read(path, effect.incident_id)
        is_first = not is_repetition(attempt)
        before = now if is_first else self._before.get(attempt.key, now)
        # After a restart, who comes late can't tell what it has done itself from what stood before.
        is_known = is_first or attempt.key in self._before
        if len(self._before) >= _MOST_KEPT:
            self._before.pop(next(iter(self._before)))
        self._before[attempt.key] = before
        is_sent = False
        if effect.assignee and effect.assignee != now.assignee:
            now, is_sent = await self._assign(path, now, effect.assignee, attempt), True
        if effect.classification is not None and effect.classification is not now.stated:
            now, is_sent = await self._classify(path, effect.classification, attempt), True
        wanted = {
            name: value
            for name, value, has in (
                ("status", effect.status, now.status),
                ("severity", effect.severity, now.severity),
            )
            if value and self._spelling.read(name, value) != has
        }
        if wanted:
            body = {name: self._spelling.write(name, value) for name, value in wanted.items()}
            answer = await self._client.patch(path, body, key=attempt.key, asked=True)
            after, is_sent = await self._after(answer, path, effect.incident_id), True
            for name in wanted:
                if getattr(after, name) == getattr(now, name):
                    raise Refused(f"ETB answered without a complaint, but {name} is still {getattr(now, name)}")
            now = after
        self._before.pop(attempt.key, None)
        return Done(
            detail="changed" if is_sent else "found",
            found={
                "status": now.status,
                "severity": now.severity,
                "assignee": now.assignee or "",
                **self._former(before, effect, is_known=is_known),
                **(_levels(before, now) if effect.classification is not None else {}),
            },
        )

    async def declare(self, effect: DeclareIncident, attempt: Try) -> Done:
        """Open an incident, once. Raises all four outcomes."""
        self._desk.need("incidents")
        path = self._desk.modules.paths.path("incidents.list")
        if is_repetition(attempt):
            row = await self._declared(effect, attempt)
            if row is not None:
                return self._opened(row, path, "found")
            self._desk.wait_out(attempt)
        body = {
            "title": fields.clean(effect.title)[:_TITLE_LIMIT],
            "description": f"{fields.clean(effect.description)[:_DESCRIPTION_LIMIT]}\n\n{_mark(effect)}".lstrip(),
            "severity": self._spelling.write("severity", effect.severity),
        }
        if effect.category:
            body["category"] = self._spelling.write("category", effect.category)
        return self._opened(await self._desk.post(path, body, attempt), path, "created")

    # --- parts of the above -------------------------------------------------------------------------------

    def _former(self, before: Incident, effect: ChangeIncident, *, is_known: bool) -> dict[str, str]:
        """What was before; nothing of what an earlier try may have changed already."""
        found = {}
        for name, value, asked in (
            ("status", before.status, effect.status and self._spelling.read("status", effect.status)),
            ("severity", before.severity, effect.severity and self._spelling.read("severity", effect.severity)),
            ("assignee", before.assignee or "", effect.assignee),
        ):
            if is_known or value != asked:
                found[f"old_{name}"] = value
        return found

    async def _assign(self, path: str, now: Incident, username: Username, attempt: Try) -> Incident:
        """By PATCH with the user's id; where ETB won't have that, by the action of 7.1 with the username."""
        refusal: Refused | None = None
        user_id = await self._user_id(username)
        if user_id:
            try:
                answer = await self._client.patch(path, {"assigned_to_id": user_id}, key=attempt.key, asked=True)
            except Refused as no:
                if no.code not in _NOT_BY_PATCH:
                    raise
                refusal = no
            else:
                after = await self._after(answer, path, now.id, assigned=(username, user_id))
                if after.assignee == username:
                    return after
        action = self._desk.modules.paths.path("incidents.assign", id=now.id)
        try:
            answer = await self._client.post(action, {"username": username}, key=attempt.key, asked=True)
        except Refused as no:
            if no.code in NOT_HERE:
                raise refusal or Refused(
                    f"ETB knows no user {username}"
                    if not user_id
                    else f"ETB answered without a complaint, but the assignee is still {now.assignee or 'nobody'}",
                    code=no.code,
                ) from None
            raise
        after = await self._after(answer, path, now.id, assigned=(username, user_id))
        if after.assignee != username:
            still = after.assignee or "nobody"
            raise Refused(f"ETB answered without a complaint, but the assignee is still {still}")
        return after

    async def _classify(self, path: str, level: Classification, attempt: Try) -> Incident:
        """Both levels that an incident may state (7.2): of two the stricter counts."""
        row = await self._client.get_object(path)
        word = self._spelling.write("data_classification", level.name)
        body: JsonObject = {"data_classification": word}
        if row.get("required_clearance"):
            body["required_clearance"] = word
        answer = await self._client.patch(path, body, key=attempt.key, asked=True)
        after = await self._after(answer, path, fields.identifier(row))
        if after.stated is not level:
            still = after.stated.name if after.stated else "not stated"
            raise Refused(f"ETB answered without a complaint, but the classification is still {still}")
        return after

    async def _user_id(self, username: Username) -> str:
        """Empty when ETB knows none such, or doesn't show its users."""
        if self._desk.modules.is_off("security"):
            return ""
        path = self._desk.modules.paths.path("security.users")
        try:
            async for rows in self._client.pages(path, {"username": username}):
                for row in rows:
                    if row.get("username") == username:
                        return fields.identifier(row)
        except (Refused, Unreadable) as no:
            _log.warning("etb does not show its users", reason=str(no))
        return ""

    async def _read(
        self, path: str, incident_id: IncidentId, *, assigned: tuple[Username, str] | None = None
    ) -> Incident:
        try:
            row = await self._client.get_object(path)
            found = parse.incident(row, self._spelling)
        except Unreadable as error:
            raise Refused(f"ETB's answer to GET {path}: {error}", code="shape") from None
        except Refused as no:
            if no.code == "404":
                raise Refused("ETB knows no such incident", code="404") from None
            raise
        if found.id != incident_id:
            raise Refused(f"ETB's answer to GET {path}: id is not the one that was asked for", code="shape")
        return _with_assignee(found, row, assigned)

    async def _after(
        self,
        answer: JsonObject,
        path: str,
        incident_id: IncidentId,
        *,
        assigned: tuple[Username, str] | None = None,
    ) -> Incident:
        """The incident as it is after a write, from its answer if that shows it."""
        try:
            found = parse.incident(answer, self._spelling)
        except Unreadable:
            return await self._read(path, incident_id, assigned=assigned)
        if found.id != incident_id:
            return await self._read(path, incident_id, assigned=assigned)
        return _with_assignee(found, answer, assigned)

    async def _declared(self, effect: DeclareIncident, attempt: Try) -> JsonObject | None:
        """By ETB's search for the reference; then, since it may not search there, among the latest."""
        since = fields.iso((attempt.first_tried_ms or attempt.now_ms) - _MARGIN_MS)
        for params in ({"search": effect.ref}, {"created_after": since}):
            row = await self._desk.find(
                "incidents.list", params, lambda row: _is_declared(row, effect), attempt, time="created_at"
            )
            if row is not None:
                return row
        return None

    def _opened(self, row: JsonObject, path: str, detail: str) -> Done:
        made = understood(lambda: parse.incident(row, self._spelling), f"POST {path}")
        return Done(detail=detail, found={"id": made.id, "number": made.number})


def _levels(before: Incident, now: Incident) -> dict[str, str]:
    """What the levels are and were, and when ETB changed the incident last."""
    return {
        "classification": now.stated.name if now.stated else "",
        "old_classification": before.stated.name if before.stated else "",
        "updated_ms": str(now.updated_at_ms),
    }


def _with_assignee(found: Incident, row: JsonObject, assigned: tuple[Username, str] | None) -> Incident:
    """Where ETB shows an id at most, the id tells whether `assigned` (name, id) took effect; else its 2xx does."""
    shown = row.get("assigned_to")
    if assigned is None or "assigned_to_username" in row or isinstance(shown, dict):
        return found
    username, user_id = assigned
    is_other = "assigned_to" in row and user_id not in {"", shown}
    return found if is_other else replace(found, assignee=username)


def _mark(effect: DeclareIncident) -> str:
    return f"Reference: etb-appservice/{effect.ref}"


def _is_declared(row: JsonObject, effect: DeclareIncident) -> bool | None:
    """Whether the reference stands in a line of its own; None when the row shows no description."""
    description = row.get("description")
    if isinstance(description, str):
        return _mark(effect) in [line.strip() for line in description.splitlines()]
    title = row.get("title")
    is_other = isinstance(title, str) and title.strip() != fields.clean(effect.title)[:_TITLE_LIMIT].strip()
    return False if is_other else None
