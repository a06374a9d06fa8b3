"""A transcript in its two forms, from the same rows: what stands in one stands in the other. Pure.

    rows of each section ─► fits into both forms? ─► taken
                              └─ no ─► the section ends here, and both forms say so

The shape of the JSON is docs/transcript.schema.json; a change of it that a reader must know of is a new VERSION.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from etb_appservice.domain.ids import UserId
from etb_appservice.domain.roles import shown
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.ports import (
    MOST_DOCUMENT_BYTES,
    MOST_MESSAGES,
    CommandRun,
    Message,
    Printed,
    PrintedTranscript,
    Transcript,
)
from etb_appservice.render import transcript_page as page

FORMAT = "etb-appservice transcript"
VERSION = 1
NOTES = (
    "Texts are as the service read them after decryption. Edits are applied; the earlier wording is not kept.",
    "A message that was removed has no text here. One that could not be decrypted says so.",
    "Files that people sent are not in it, nor their sizes and hashes: the service keeps no more than their text.",
    "Listed are the files that the service itself has sent.",
    "sent_at is the word of the sender's homeserver; received_at is this service's own clock.",
    "What the service said is given as it wrote it, in Markdown.",
)
STATES = {
    "open": "open",
    "sealed": "waiting for its key",
    "plain": "not encrypted, ignored",
    "unreadable": "could not be decrypted",
    "redacted": "removed",
}
_RESERVE = 256 * 1024
"""For what stands around the rows."""
_NAME = re.compile(r"[^A-Za-z0-9._-]+")

Json = dict[str, Any]
Row = tuple[Json, str]
"""One entry of a section: as JSON, and as HTML."""


def printed(transcript: Transcript, *, most: int = MOST_DOCUMENT_BYTES) -> PrintedTranscript:
    """Both forms, each of at most `most` bytes."""
    sheet = _Sheet(most - min(_RESERVE, most // 2))
    # What was agreed on is short and comes first, so that a long conversation can't push it out.
    for name, rows in (
        ("timeline", _timeline(transcript)),
        ("roles", _roles(transcript)),
        ("tasks", _tasks(transcript)),
        ("updates", _updates(transcript)),
        ("runs", _runs(transcript)),
        ("files", _files(transcript)),
        ("messages", _messages(transcript)),
        ("commands", _commands(transcript)),
    ):
        sheet.fill(name, rows)
    count = len(sheet.as_json["messages"])
    stopped = _stopped(transcript, sheet, count)
    head = _head(transcript, stopped)
    name = f"{_file_name(transcript)}-transcript-{_stamp(transcript.at_ms)}"
    whole_json = _assembled(head, sheet.as_json).encode("utf-8", "replace")
    whole_html = page.whole(head, sheet.as_html, NOTES).encode("utf-8", "replace")
    return PrintedTranscript(
        html=_printed(f"{name}.html", "text/html", whole_html),
        json=_printed(f"{name}.json", "application/json", whole_json),
        messages=count,
        stopped=stopped,
    )


@dataclass(slots=True)
class _Sheet:
    """Rows as long as they fit."""

    left_html: int
    left_json: int = 0
    as_html: dict[str, list[str]] = field(default_factory=dict)
    as_json: dict[str, list[str]] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left_json = self.left_html

    def fill(self, name: str, rows: Iterator[Row]) -> None:
        html, lines = self.as_html.setdefault(name, []), self.as_json.setdefault(name, [])
        for row, shown_as in rows:
            line = json.dumps(row, ensure_ascii=False)
            size, html_size = _size(line) + 2, _size(shown_as) + 1
            if size > self.left_json or html_size > self.left_html:
                self.cut.append(name)
                return
            self.left_json -= size
            self.left_html -= html_size
            lines.append(line)
            html.append(shown_as)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _assembled(head: Json, sections: dict[str, list[str]]) -> str:
    """One row a line, so that two exports can be compared line by line."""
    parts = [json.dumps(head, ensure_ascii=False, indent=1)[:-2]]
    for name, rows in sections.items():
        lines = ",\n".join(rows)
        parts.append(f'"{name}": [\n{lines}\n]')
    return ",\n".join(parts) + "\n}\n"


def _printed(filename: str, mime: str, content: bytes) -> Printed:
    return Printed(filename=filename, mime=mime, content=content, sha256=hashlib.sha256(content).hexdigest())


def _stopped(transcript: Transcript, sheet: _Sheet, count: int) -> str:
    if "messages" in sheet.cut or not transcript.is_whole:
        why = (
            f"{MOST_MESSAGES} messages" if count == MOST_MESSAGES else f"{MOST_DOCUMENT_BYTES // 1024 // 1024} MiB"
        )
        return f"it stops after {count} messages, at the limit of {why}; later messages are missing."
    if sheet.cut:
        return f"it reached its limit of size, so {', '.join(sheet.cut)} are not all there."
    return ""


def _head(transcript: Transcript, stopped: str) -> Json:
    room, incident = transcript.room, transcript.incident
    rooms = dict.fromkeys([*(message.room_id for message in transcript.messages), room.room_id])
    return {
        "format": FORMAT,
        "version": VERSION,
        "export": transcript.export,
        "exported_at": iso(transcript.at_ms),
        "exported_by": transcript.by,
        "stopped": stopped or None,
        "notes": list(NOTES),
        "incident": incident
        and {
            "id": incident.id,
            "number": incident.number,
            "title": incident.title,
            "severity": incident.severity,
            "status": incident.status,
            "url": incident.url,
        },
        "room": {
            "war_room": room.war_room,
            "name": room.name,
            "classification": room.classification.name,
            "room_ids": [room_id for room_id in rooms if room_id],
        },
        "people": [
            {"user_id": user_id, "username": username} for user_id, username in transcript.usernames.items()
        ],
    }


# --- the sections -----------------------------------------------------------------------------------------


def _messages(transcript: Transcript) -> Iterator[Row]:
    for message in transcript.messages:
        row = _message(transcript, message)
        yield row, page.message(row, is_bot=message.sender == transcript.bot)


def _message(transcript: Transcript, message: Message) -> Json:
    return {
        "position": message.position,
        "id": message.id,
        "event_id": message.event_id,
        "room_id": message.room_id,
        "sender": message.sender,
        "username": transcript.usernames.get(message.sender),
        "state": STATES[message.state],
        "body": message.body,
        "sent_at": iso(message.origin_ms),
        "received_at": iso(message.received_ms),
        "thread_root": message.thread_root,
    }


def _timeline(transcript: Transcript) -> Iterator[Row]:
    def when(item: TimelineItem) -> int:
        return item.at_ms

    for item in sorted(transcript.timeline, key=when):
        row: Json = {
            "at": iso(item.at_ms),
            "type": item.event_type,
            "title": item.title,
            "description": item.description,
            "by": item.by,
            "event_id": item.event_id,
            "is_withdrawn": not item.is_open,
        }
        text = f"{item.title} (withdrawn)" if not item.is_open else item.title
        yield row, page.entry(row["at"], text, item.by, item.description)


def _roles(transcript: Transcript) -> Iterator[Row]:
    for role in transcript.roles:
        row: Json = {
            "role": role.role,
            "username": role.username,
            "since": iso(role.since_ms),
            "by": role.by,
            "is_held": role.is_open,
        }
        text = f"{shown(role.role)}: {role.username}" + ("" if role.is_open else " (given up)")
        yield row, page.entry(row["since"], text, role.by)


def _tasks(transcript: Transcript) -> Iterator[Row]:
    for task in transcript.tasks:
        row: Json = {
            "number": task.number,
            "text": task.text,
            "state": task.state,
            "by": task.by,
            "at": iso(task.at_ms),
            "assignee": task.assignee,
            "settled_by": task.settled_by,
            "settled_at": iso(task.settled_ms),
        }
        settled = f" by {task.settled_by}, {row['settled_at']}" if task.settled_by else ""
        yield row, page.entry(row["at"], f"{task.number}. {task.text} ({task.state}{settled})", task.by)


def _updates(transcript: Transcript) -> Iterator[Row]:
    for post in transcript.posts:
        row: Json = {"text": post.text, "by": post.by, "at": iso(post.at_ms), "event_id": post.event_id}
        yield row, page.entry(row["at"], post.text, post.by)


def _runs(transcript: Transcript) -> Iterator[Row]:
    for run in transcript.runs:
        row: Json = {
            "id": run.id,
            "name": run.name,
            "state": run.state,
            "by": run.username,
            "approved_by": list(run.approved_by),
            "parameters": dict(run.parameters),
            "execution_id": run.execution_id,
            "asked_at": iso(run.asked_ms),
            "started_at": iso(run.started_ms),
            "ended_at": iso(run.ended_ms),
            "error": run.error,
        }
        approved = f", approved by {', '.join(run.approved_by)}" if run.approved_by else ""
        yield row, page.entry(row["asked_at"], f"{run.name}: {run.state}{approved}", run.username, run.error)


def _files(transcript: Transcript) -> Iterator[Row]:
    for media in transcript.media:
        row: Json = {
            "filename": media.filename,
            "mime": media.mime,
            "size": media.size,
            "sha256": media.sha256,
            "at": iso(media.at_ms),
            "event_id": media.event_id,
        }
        yield row, page.entry(row["at"], f"{media.filename}, {media.size} bytes", "", f"SHA-256 {media.sha256}")


def _commands(transcript: Transcript) -> Iterator[Row]:
    for run in transcript.commands:
        row = _command(transcript, run)
        yield row, page.command(row)


def _command(transcript: Transcript, run: CommandRun) -> Json:
    return {
        "id": run.id,
        "event_id": run.event_id,
        "caller": run.caller,
        "username": transcript.usernames.get(UserId(run.caller)),
        "name": run.name,
        "arguments": run.arguments,
        "status": run.status,
        "result": run.result,
        "asked_at": iso(run.asked_ms),
        "finished_at": iso(run.finished_ms),
    }


# --- small things -----------------------------------------------------------------------------------------


def iso(ms: int | None) -> str:
    """UTC with milliseconds, as RFC 3339 has it; empty for a time that isn't known.

    >>> iso(1), iso(None)
    ('1970-01-01T00:00:00.001Z', '')
    """
    if ms is None:
        return ""
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):  # a homeserver may say anything
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stamp(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y%m%d-%H%M%SZ")


def _file_name(transcript: Transcript) -> str:
    number = transcript.incident.number if transcript.incident else ""
    return _NAME.sub("-", number).strip("-.")[:60] or "room"
