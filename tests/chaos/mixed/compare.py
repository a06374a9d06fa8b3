"""Compares the sides of a mixed run with its ledger and with each other; answers what is off, in words.

Of a room: the chat API, each client, the pages at sockets, the ledger. Whatever was acknowledged is there once, as
it was last left; what nobody answered is there once or not at all; and nothing else is there but what the service
itself says, which is the same on all sides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.mixed.book import Book, Said
from tests.chaos.mixed.sides import Json, Native, Seen, Web


@dataclass(frozen=True, slots=True)
class Names:
    """Who is who: by Matrix id, ETB's username; and the bot."""

    people: Mapping[str, str]
    bot: str

    def of(self, user_id: str) -> str:
        return self.people.get(user_id, user_id)


@dataclass(frozen=True, slots=True)
class Room:
    """One room, from all sides."""

    number: int
    web: Web
    natives: Mapping[str, Native]
    pages: Mapping[str, Mapping[str, Json]]
    """By who sits at the socket."""
    before: frozenset[str]
    """Ids and events of what was there before anybody did anything."""


def differences(book: Book, room: Room, names: Names) -> list[str]:
    """Everything that is off in a room."""
    return [
        f"room {room.number}: {what}"
        for what in (
            *_of_ledger(book, room),
            *_of_natives(room, names),
            *_of_threads(book, room),
            *_of_pins(book, room),
            *_of_pages(room),
            *_of_answers(book, room, names),
        )
    ]


def _ours(room: Room) -> dict[str, Json]:
    """Of the web's messages, those of people, since all began."""
    return {one: row for one, row in room.web.messages.items() if one not in room.before and row["bot"] is None}


def _of_ledger(book: Book, room: Room) -> Iterator[str]:
    """The chat API against the ledger."""
    for one in room.web.doubled:
        yield f"the pages show {one} twice"
    found: dict[int, list[Json]] = {}
    for one, row in _ours(room).items():
        said = book.by_message.get(one) or book.by_event.get(row["external_message_id"] or "")
        said = said or book.numbered(row["content"])
        if said is None or said.room != room.number:
            yield f"nobody did this: {_row(row)}"
        else:
            found.setdefault(said.number, []).append(row)
    for said in book.said[room.number]:
        rows = found.get(said.number, [])
        if len(rows) > 1:
            yield f"doubled: {said}: {[_row(row) for row in rows]}"
        elif not rows:
            if said.is_sure and not said.is_leaving:
                yield f"missing from the web: {_told(said)}"
        elif said.is_gone:
            yield f"taken away and still there: {_told(said)}"
        elif not said.is_leaving:
            yield from (f"{what}: {_told(said)}" for what in _of_message(said, rows[0]))


def _of_message(said: Said, row: Json) -> Iterator[str]:
    if row["content"] != said.text:
        yield f"the web shows {row['content']!r} instead of {said.text!r}"
    if row["sender_username"] != said.by:
        yield f"the web shows it as said by {row['sender_username']!r}"
    if "undelivered" in row["external_data"] or "state" in row["external_data"]:
        yield f"it is marked: {row['external_data']}"
    if not said.root.is_leaving and said.answers is not None and row["reply_to"] != said.root.message_id:
        yield f"it stands below {row['reply_to']} instead of {said.root}"
    if said.answers is None and row["reply_to"] is not None:
        yield f"it answers {row['reply_to']} instead of nothing"
    reactions = {(who, group["emoji"]) for group in row["reactions"] for who in group["users"]}
    if reactions != set(said.reactions):
        yield f"its reactions are {sorted(reactions)} instead of {sorted(said.reactions)}"
    files = [one["file_hash"] for one in row["attachments"]]
    if bool(files) != bool(said.sha256) or len(files) > 1:
        yield f"its files are {files}"
    elif said.sha256 and files[0] not in {"", said.sha256}:
        yield f"its file's hash is {files[0]} instead of {said.sha256}"


def _of_threads(book: Book, room: Room) -> Iterator[str]:
    """Each client against the ledger, in what the chat API doesn't show: what is answered within a thread."""
    for who, native in room.natives.items():
        for said in book.said[room.number]:
            seen = native.messages.get(said.event_id)
            if seen is None or said.answers is None or said.root.is_leaving or said.answers.is_leaving:
                continue
            answered = None if said.answers is said.root else said.answers.event_id
            if (seen.root, seen.reply_to) != (said.root.event_id, answered):
                yield f"{who} sees it answer {seen.reply_to} in the thread {seen.root}: {_told(said)}"


def _of_natives(room: Room, names: Names) -> Iterator[str]:
    """The chat API against each client; what is the same there is what the ledger says."""
    rows: dict[str, Json] = {}
    for row in room.web.messages.values():
        event_id = row["external_message_id"]
        if event_id is None:
            yield f"Matrix has never named {_row(row)}"
        elif event_id in rows:
            yield f"{_row(row)} and {_row(rows[event_id])} are the same event"
        else:
            rows[event_id] = row
    for who, native in room.natives.items():
        yield from (f"{who} can't read {one}" for one in native.unread if one.split()[0] not in room.before)
        yield from (f"{who} sees a reaction twice: {one}" for one in native.doubled)
        shown = {one: seen for one, seen in native.messages.items() if one not in room.before}
        files = {file for row in rows.values() for file in _other_events(row)}
        for event_id, seen in shown.items():
            if event_id in rows:
                yield from (f"{who} sees {what}" for what in _of_event(rows[event_id], seen, room, names))
            elif event_id not in files:
                yield f"{who} sees what the web doesn't show: {event_id} of {seen.sender}: {seen.body!r}"
        for event_id, row in rows.items():
            if row["id"] not in room.before and event_id not in shown:
                how = "it is redacted" if event_id in native.gone else "it never came"
                yield f"{who} doesn't see {_row(row)}: {how}"
        lost = files - shown.keys() - room.before
        yield from (f"{who} doesn't see the file {one}" for one in lost)


def _other_events(row: Json) -> Iterator[str]:
    """Events of files that were sent behind their message."""
    for file in row["attachments"]:
        link = str(file["external_data"].get("permalink", ""))
        event_id = link.rpartition("/")[2].partition("?")[0].replace("%24", "$")
        if event_id.startswith("$") and event_id != row["external_message_id"]:
            yield event_id


def _of_event(row: Json, seen: Seen, room: Room, names: Names) -> Iterator[str]:
    sender = names.of(seen.sender)
    if sender != (names.bot if row["bot"] is not None else row["sender_username"]):
        yield f"{seen.event_id} as said by {seen.sender}, the web by {row['sender_username']!r}"
    if row["bot"] is not None:
        return  # what the bot says is a Markdown text there, and a rendered one here
    if seen.body != row["content"]:
        yield f"{seen.event_id} as {seen.body!r}, the web {row['content']!r}"
    theirs = {(names.of(user), emoji) for user, emoji in seen.reactions}
    ours = {(who, group["emoji"]) for group in row["reactions"] for who in group["users"]}
    if theirs != ours:
        yield f"reactions {sorted(theirs)} to {seen.event_id}, the web {sorted(ours)} to {_row(row)}"
    parent = room.web.messages.get(row["reply_to"] or "")
    answered = seen.root or seen.reply_to
    if parent is not None and parent["external_message_id"] != answered:
        yield f"{seen.event_id} as an answer to {answered}, the web to {parent['external_message_id']}"


def _of_pins(book: Book, room: Room) -> Iterator[str]:
    wanted = {one.message_id for one in book.said[room.number] if one.is_pinned and not one.is_leaving}
    leaving = {one.message_id for one in book.said[room.number] if one.is_leaving}
    cards = {one for one in room.web.pinned if room.web.messages[one]["bot"] is not None}
    if len(cards) != 1:
        yield f"{len(cards)} cards are pinned"
    pinned = set(room.web.pinned) - cards - leaving
    for what, ids in (("not pinned on the web", wanted - pinned), ("pinned on the web", pinned - wanted)):
        yield from (f"{what}: {_told(book.by_message[one]) if one in book.by_message else one}" for one in ids)
    marked = {one for one, row in room.web.messages.items() if row["is_pinned"]}
    if marked != set(room.web.pinned):
        yield f"the list of pins and the marks differ by {marked ^ set(room.web.pinned)}"
    for who, native in room.natives.items():
        shown = [one for one in native.pinned if one not in native.gone]
        ours = [room.web.messages[one]["external_message_id"] for one in room.web.pinned]
        if sorted(shown) != sorted(ours):
            lacks, more = sorted(set(ours) - set(shown)), sorted(set(shown) - set(ours))
            yield f"{who} sees other pins than the web: lacks {lacks}, has besides {more}"


def _of_pages(room: Room) -> Iterator[str]:
    """What somebody's page shows who was there all the time, but while the service was away."""
    for who, page in room.pages.items():
        for one, row in room.web.messages.items():
            if one not in page:
                yield f"{who}'s page has never shown {_row(row)}"
                continue
            for field in ("content", "is_pinned", "external_message_id", "reply_to"):
                if page[one][field] != row[field]:
                    yield f"{who}'s page shows {field} {page[one][field]!r} of {_row(row)}, not {row[field]!r}"
            theirs, ours = (_groups(shown["reactions"]) for shown in (page[one], row))
            if theirs != ours:
                yield f"{who}'s page shows the reactions {theirs} to {_row(row)}, not {ours}"
        for one in page.keys() - room.web.messages.keys():
            yield f"{who}'s page still shows {_row(page[one])}"


def _groups(groups: list[Json]) -> dict[str, list[str]]:
    return {one["emoji"]: one["users"] for one in groups}


def _of_answers(book: Book, room: Room, names: Names) -> Iterator[str]:
    """The bot answers each command once, and nobody else."""
    wanted = {one.event_id: one for one in book.said[room.number] if one.is_command}
    for who, native in room.natives.items():
        answered: dict[str, int] = {}
        for event_id, seen in native.messages.items():
            answers = seen.reply_to or seen.root
            if event_id in room.before or seen.sender != names.bot or answers is None:
                continue
            answered[answers] = answered.get(answers, 0) + 1
            if answers not in wanted:
                yield f"{who} sees an answer to what is no command: {seen.body[:80]!r}"
        for event_id, said in wanted.items():
            count = answered.get(event_id, 0)
            if count != said.runs and not (said.is_leaving and count < said.runs):
                yield f"{who} sees {count} answers where {said.runs} belong: {_told(said)}"


def _row(row: Mapping[str, Any]) -> str:
    who = row["sender_username"] or "the bot"
    return f"{row['id']} ({row['external_message_id']}) of {who}: {row['content'][:60]!r}"


def _told(said: Said) -> str:
    history = f"; {'; '.join(said.history)}" if said.history else ""
    return f"{said}{history}"
