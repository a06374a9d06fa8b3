"""What each side of a room holds once all is quiet: the chat API page by page, and what a client has decrypted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.chaos.mixed.people import Page
from tests.harness.jsclient import Event, JsClient

_PAGE = 100
Json = dict[str, Any]


@dataclass(slots=True)
class Web:
    """A room as the chat API shows it."""

    messages: dict[str, Json]
    """By id, in their order."""
    pinned: list[str]
    doubled: list[str]
    """Ids that came twice."""


async def web_of(page: Page, war_room: str) -> Web:
    """All pages of it by cursor."""
    messages: dict[str, Json] = {}
    doubled: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        path = f"war-rooms/{war_room}/messages/?page_size={_PAGE}&cursor={cursor}"
        status, found = await page.call("GET", path)
        assert status == 200, (path, status, found)
        for one in found["results"]:
            if one["id"] in messages:
                doubled.append(one["id"])
            messages[one["id"]] = one
        following = found["next"]
        cursor = parse_qs(urlsplit(following).query)["cursor"][0] if following else None
    status, found = await page.call("GET", f"war-rooms/{war_room}/pinned_messages/?page_size={_PAGE}")
    assert status == 200, (status, found)
    return Web(messages, [one["id"] for one in found["results"]], doubled)


@dataclass(slots=True)
class Seen:
    """A message as a client shows it."""

    event_id: str
    sender: str
    body: str
    root: str | None
    reply_to: str | None
    content: Mapping[str, Any]
    reactions: set[tuple[str, str]] = field(default_factory=set)
    """(sender, emoji)."""


@dataclass(slots=True)
class Native:
    """A room as one client shows it."""

    messages: dict[str, Seen] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)
    """What it can't decrypt."""
    doubled: list[str] = field(default_factory=list)
    """A second reaction of one person with the same emoji."""
    pinned: list[str] = field(default_factory=list)


async def native_of(client: JsClient, room: str) -> Native:
    """All that the room ever held since it was made, edits and reactions put where they belong."""
    events = await client.timeline(room, last=1_000_000)
    while True:
        await client.scrollback(room, count=500)
        more = await client.timeline(room, last=1_000_000)
        if len(more) == len(events):
            break
        events = more
    found = Native(gone={one.event_id for one in events if one.redacted})
    for one in events:
        if one.redacted or one.type not in {"m.room.message", "m.room.encrypted"}:
            continue
        if one.failure is not None:
            found.unread.append(f"{one.event_id} of {one.sender}: {one.failure}")
        elif one.type == "m.room.message" and _relation(one).get("rel_type") != "m.replace":
            found.messages[one.event_id] = _seen(one)
    for one in events:
        relation = _relation(one)
        if one.type != "m.reaction" or one.redacted or relation.get("event_id") not in found.messages:
            continue
        given = (one.sender, str(relation["key"]))
        reactions = found.messages[relation["event_id"]].reactions
        if given in reactions:
            found.doubled.append(f"{one.event_id}, {given} to {relation['event_id']}")
        reactions.add(given)
    found.pinned = list((await client.room_state(room, "m.room.pinned_events"))["pinned"])
    return found


def _relation(event: Event) -> Json:
    return event.relates_to or {}


def _seen(event: Event) -> Seen:
    relation = _relation(event)
    root = relation.get("event_id") if relation.get("rel_type") == "m.thread" else None
    falls_back = bool(relation.get("is_falling_back"))
    answered = (relation.get("m.in_reply_to") or {}).get("event_id")
    return Seen(
        event_id=event.event_id,
        sender=event.sender,
        body=str(event.current_content.get("body", "")),
        root=root,
        reply_to=None if root is not None and falls_back else answered,
        content=event.content,
    )
