"""The page of a transcript: one HTML file that needs nothing else, runs nothing, and reads well in print. Pure.

Whatever people wrote is text here, never markup, and without signs that could turn a line around.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from etb_appservice.render.clean import clean

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid; }
ol { list-style: none; padding: 0; } li { margin: .6rem 0; }
time, .id { font-size: .8rem; opacity: .75; } .id { font-family: monospace; word-break: break-all; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .1rem 0 0; }
.bot > .text { opacity: .85; border-left: 3px solid; padding-left: .6rem; }
.note { font-style: italic; } .stopped { font-weight: bold; border: 2px solid; padding: .5rem; }
@media print { body { margin: 0; max-width: none; } li { break-inside: avoid; } h2 { break-after: avoid; } }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_TITLES = {
    "timeline": "Timeline",
    "roles": "Roles",
    "tasks": "Tasks",
    "updates": "Status updates",
    "runs": "Runs of runbooks",
    "messages": "Messages",
    "commands": "Commands and what they answered",
    "files": "Files that the service sent",
}
"""The sections, in the order in which they are read."""


def text(value: object) -> str:
    """Anything as text of the page."""
    return escape(clean("" if value is None else str(value)))


def whole(head: Mapping[str, Any], sections: Mapping[str, Sequence[str]], notes: Sequence[str]) -> str:
    """The page around the rows."""
    incident, room = head["incident"] or {}, head["room"]
    title = f"{incident.get('number', '')} {incident.get('title', room['name'])}".strip()
    about = {
        "Severity": incident.get("severity"),
        "Status": incident.get("status"),
        "Classification": room["classification"],
        "Exported": f"{head['exported_at']} by {head['exported_by'] or 'the service'}",
        "Export": head["export"],
        "Room": ", ".join(room["room_ids"]),
    }
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>Transcript: {text(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Transcript: <bdi>{text(title)}</bdi></h1>",
        "<ul>",
        *(f"<li>{name}: <bdi>{text(value)}</bdi></li>" for name, value in about.items() if value),
        "</ul>",
    ]
    if head["stopped"]:
        lines.append(f'<p class="stopped">This transcript is not whole: {text(head["stopped"])}</p>')
    lines += [f'<p class="note">{text(note)}</p>' for note in notes]
    if head["people"]:
        people = (
            f'<li><b>{text(one["username"])}</b> <span class="id">{text(one["user_id"])}</span></li>'
            for one in head["people"]
        )
        lines += ["<h2>People</h2>", "<ul>", *people, "</ul>"]
    for name, heading in _TITLES.items():
        if sections[name]:
            lines += [f"<h2>{heading}</h2>", "<ol>", *sections[name], "</ol>"]
    return "\n".join([*lines, "</body></html>", ""])


def message(row: Mapping[str, Any], *, is_bot: bool) -> str:
    """One message, or the place where one was."""
    body = (
        f'<p class="text"><bdi>{text(row["body"])}</bdi></p>'
        if row["body"] is not None
        else f'<p class="text note">[{text(row["state"])}]</p>'
    )
    thread = f' <span class="id">in thread {text(row["thread_root"])}</span>' if row["thread_root"] else ""
    name = "the service" if is_bot else row["username"]
    who = f"<b>{text(name)}</b> " if name else ""
    return (
        f'<li{" class=bot" if is_bot else ""}>{who}<span class="id">{text(row["sender"])}</span> '
        f"<time>{text(row['received_at'])}</time>{thread}"
        f'{body}<span class="id">{text(row["event_id"])}</span></li>'
    )


def entry(at: str, what: str, by: str, more: str = "") -> str:
    """One line of any other section."""
    who = f" <b>{text(by)}</b>" if by else ""
    rest = f'<p class="text note"><bdi>{text(more)}</bdi></p>' if more else ""
    return f'<li><time>{text(at)}</time>{who}<p class="text"><bdi>{text(what)}</bdi></p>{rest}</li>'


def command(row: Mapping[str, Any]) -> str:
    """One command, with what came of it."""
    asked = f"{row['name']} {row['arguments']}".strip()
    by = row["username"] or row["caller"]
    return entry(row["asked_at"], f"{asked} → {row['status']}", by, row["result"])
