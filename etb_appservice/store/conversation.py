"""The record of the conversation: messages, and what is known of their files, sealed under their room's key.

Text and details of a message are one sealed value. Plain columns hold only who, when, where, and what a message
belongs to. Must never give a redacted message its content back.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Text, TextClause, bindparam, text

from etb_appservice.domain.conversation import MessageDetails
from etb_appservice.domain.ids import EventId
from etb_appservice.ports import NO_TIME, Hidden, Message, Tally, unsent
from etb_appservice.store.codec import decode_details, encode_details
from etb_appservice.store.desk import Desk, Transaction, Values
from etb_appservice.store.spans import Spanned

_IS_SHOWN = "state IN ('open', 'sealed', 'unreadable')"
"""`ports.SHOWN`, and word by word as the partial index has it: SQLite compares the text."""

_PUT = text(
    "INSERT INTO messages (id, room_id, lane, position, event_id, sender, state, origin_ms, received_ms,"
    " decided_ms, body, thread_root, replaces, parent)"
    " VALUES (:id, :room_id, :lane, CASE WHEN CAST(:position AS BIGINT) > 0 THEN CAST(:position AS BIGINT) ELSE"
    " (SELECT coalesce(max(position), 0) + 1 FROM messages WHERE lane = :lane) END,"
    " :event_id, :sender, :state, :origin_ms, :received_ms, :decided_ms, :body, :thread_root, :replaces, :parent)"
    " ON CONFLICT (event_id) DO UPDATE SET state = excluded.state, sender = excluded.sender,"
    " origin_ms = excluded.origin_ms, received_ms = excluded.received_ms, decided_ms = excluded.decided_ms,"
    " body = excluded.body, thread_root = excluded.thread_root, replaces = excluded.replaces,"
    " parent = excluded.parent"
    " WHERE messages.state <> 'redacted'"
)
_REACTED = text(
    "INSERT INTO reactions (event_id, message_id)"
    " SELECT :reaction, id FROM messages WHERE event_id = :event_id ON CONFLICT (event_id) DO NOTHING"
)
_SENT = text("UPDATE messages SET event_id = :event_id WHERE id = :id")
_SEALED_ANEW = text("UPDATE messages SET body = :body WHERE id = :id AND state <> 'redacted'")
_FOLLOW = text(
    "UPDATE messages SET parent = :event_id,"
    " thread_root = CASE WHEN thread_root = :unsent THEN :event_id ELSE thread_root END WHERE parent = :unsent"
)
_BY_ID = text("SELECT * FROM messages WHERE id = :id")
_BY_EVENT = text("SELECT * FROM messages WHERE event_id = :event_id")


def _among(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("among", expanding=True, type_=Text()))


_BY_IDS = _among("SELECT * FROM messages WHERE id IN :among")
_BY_EVENTS = _among("SELECT * FROM messages WHERE event_id IN :among")
_OF_REACTION = text(
    "SELECT messages.* FROM messages JOIN reactions ON messages.id = reactions.message_id"
    " WHERE reactions.event_id = :event_id"
)
_REDACT = text("UPDATE messages SET state = 'redacted', body = NULL WHERE event_id = :event_id")
_BATCH = 500


def _spanned(statement: str, *, among: Sequence[str] = ()) -> Spanned:
    return Spanned(
        statement, lane="messages.lane", began="messages.received_ms", ended="messages.decided_ms", among=among
    )


def _pages(*, forwards: bool, only_shown: bool, skips: bool) -> Spanned:
    """Found along an index, whatever the depth; only what is shown is read and opened."""
    order = "ORDER BY position" if forwards else "ORDER BY position DESC"
    which = f"lane = :lane AND position {'>' if forwards else '<'} :place"
    which += f" AND {_IS_SHOWN}" if only_shown else ""
    if skips:
        # The places are counted in the index alone, where nothing is hidden.
        inner = f"SELECT position FROM messages WHERE {which}{{seen}} {order} LIMIT :limit OFFSET :skip"  # noqa: S608 - our own words
        return _spanned(f"{{hidden}}SELECT * FROM messages WHERE lane = :lane AND position IN ({inner}) {order}")  # noqa: S608
    return _spanned(f"{{hidden}}SELECT * FROM messages WHERE {which}{{seen}} {order} LIMIT :limit")  # noqa: S608


_PAGES = {
    (forwards, only_shown, skips): _pages(forwards=forwards, only_shown=only_shown, skips=skips)
    for forwards in (True, False)
    for only_shown in (True, False)
    for skips in (True, False)
}


def _replies(*, forwards: bool) -> Spanned:
    which = f"parent = :root AND position {'>' if forwards else '<'} :place AND {_IS_SHOWN}"
    order = "ORDER BY position" if forwards else "ORDER BY position DESC"
    return _spanned(f"{{hidden}}SELECT * FROM messages WHERE {which}{{seen}} {order} LIMIT :limit OFFSET :skip")  # noqa: S608


_REPLIES = {forwards: _replies(forwards=forwards) for forwards in (True, False)}
_IDS_OF = _spanned(
    "{hidden}SELECT id, event_id FROM messages WHERE event_id IN :among{seen}",
    among=("among",),
)
_KNOWN = _spanned("{hidden}SELECT id FROM messages WHERE id IN :among{seen}", among=("among",))
_REPLY_COUNTS = _spanned(
    f"{{hidden}}SELECT parent, count(*) AS number FROM messages WHERE parent IN :among AND {_IS_SHOWN}{{seen}}"  # noqa: S608
    " GROUP BY parent",
    among=("among",),
)
_TALLY = _spanned(
    "{hidden}SELECT found.lane, found.number, messages.decided_ms FROM (SELECT lane, count(*) AS number,"  # noqa: S608
    f" max(position) AS latest FROM messages WHERE lane IN :among AND {_IS_SHOWN}{{seen}} GROUP BY lane) AS found"
    " JOIN messages ON messages.lane = found.lane AND messages.position = found.latest",
    among=("among",),
)
_LAST = 2**63 - 1


class SqlMessages:
    """`ports.Messages`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def put(self, message: Message) -> None:
        """Positions of a lane are dense and given under a lock. What was redacted stays redacted."""
        if message.body is not None and message.state != "open":
            raise ValueError("only a message whose state is open has a body")

        def job(transaction: Transaction) -> None:
            transaction.lock(f"messages/{message.lane}")
            values = {
                "id": message.id,
                "room_id": message.room_id,
                "lane": message.lane,
                "position": message.position,
                "event_id": message.event_id,
                "sender": message.sender,
                "state": message.state,
                "origin_ms": message.origin_ms,
                "received_ms": message.received_ms,
                "decided_ms": message.decided_ms,
                "body": _sealed(transaction, message.room_id, message.event_id, message.body, message.details),
                "thread_root": message.thread_root,
                "replaces": message.replaces,
                "parent": message.parent,
            }
            if transaction.change(_PUT, values):
                reactions = [
                    {"reaction": one.event_id, "event_id": message.event_id} for one in message.details.reactions
                ]
                transaction.change_each(_REACTED, reactions)

        self._desk.later(job)

    async def sent(self, message_id: str, event_id: EventId) -> bool:
        """Sealed anew, since a value is sealed for the event that it belongs to."""
        name = unsent(message_id)

        def job(transaction: Transaction) -> bool:
            row = transaction.row(_BY_EVENT, {"event_id": name})
            if row is None:
                return False
            message = _message(transaction, row)
            body = _sealed(transaction, message.room_id, event_id, message.body, message.details)
            transaction.change(_SENT, {"id": message_id, "event_id": event_id})
            transaction.change(_SEALED_ANEW, {"id": message_id, "body": body})
            transaction.change(_FOLLOW, {"event_id": event_id, "unsent": name})
            return True

        return await self._desk.write(job, few=True)

    async def get(self, message_id: str) -> Message | None:
        """Opened."""
        return await self._one(_BY_ID, {"id": message_id})

    async def by_ids(self, message_ids: Collection[str]) -> Mapping[str, Message]:
        """Opened."""
        return await self._desk.ask(
            lambda transaction: {
                row.id: _message(transaction, row) for row in _each(transaction, _BY_IDS, message_ids)
            }
        )

    async def by_event(self, event_id: EventId) -> Message | None:
        """Opened."""
        found = await self._one(_BY_EVENT, {"event_id": event_id})
        if found is None and (message_id := _id_in(event_id)):
            return await self._one(_BY_ID, {"id": message_id})
        return found

    async def by_events(self, event_ids: Collection[EventId]) -> Mapping[EventId, Message]:
        """Opened."""

        def job(transaction: Transaction) -> Mapping[EventId, Message]:
            found = {
                EventId(row.event_id): _message(transaction, row)
                for row in _each(transaction, _BY_EVENTS, event_ids)
            }
            late = {message_id for one in event_ids if one not in found and (message_id := _id_in(one))}
            for row in _each(transaction, _BY_IDS, late):
                found[unsent(row.id)] = _message(transaction, row)
            return found

        return await self._desk.ask(job)

    async def ids_of(self, event_ids: Collection[EventId], hidden: Hidden = NO_TIME) -> Mapping[EventId, str]:
        """From the plain columns alone."""
        (by_event, values), (by_id, _) = _IDS_OF.hiding(hidden), _KNOWN.hiding(hidden)

        def job(transaction: Transaction) -> Mapping[EventId, str]:
            found = {EventId(row.event_id): str(row.id) for row in _each(transaction, by_event, event_ids, values)}
            late = {message_id for one in event_ids if one not in found and (message_id := _id_in(one))}
            found |= {unsent(row.id): str(row.id) for row in _each(transaction, by_id, late, values)}
            return found

        return await self._desk.ask(job)

    async def page(
        self,
        lane: str,
        after: int = 0,
        limit: int = 500,
        *,
        only_shown: bool = False,
        skip: int = 0,
        hidden: Hidden = NO_TIME,
    ) -> Sequence[Message]:
        """Opened, in the order in which they were decided."""
        values = {"lane": lane, "place": after, "limit": limit} | ({"skip": skip} if skip else {})
        return await self._several(_PAGES[True, only_shown, skip > 0], values, hidden)

    async def latest(
        self,
        lane: str,
        before: int | None = None,
        limit: int = 50,
        *,
        only_shown: bool = True,
        skip: int = 0,
        hidden: Hidden = NO_TIME,
    ) -> Sequence[Message]:
        """Opened, latest first."""
        place = _LAST if before is None else before
        values = {"lane": lane, "place": place, "limit": limit} | ({"skip": skip} if skip else {})
        return await self._several(_PAGES[False, only_shown, skip > 0], values, hidden)

    async def replies(
        self, root: EventId, after: int = 0, limit: int = 500, *, skip: int = 0, hidden: Hidden = NO_TIME
    ) -> Sequence[Message]:
        """Opened, in the order in which they were decided."""
        values = {"root": root, "place": after, "limit": limit, "skip": skip}
        return await self._several(_REPLIES[True], values, hidden)

    async def latest_replies(
        self,
        root: EventId,
        before: int | None = None,
        limit: int = 500,
        *,
        skip: int = 0,
        hidden: Hidden = NO_TIME,
    ) -> Sequence[Message]:
        """Opened, latest first."""
        place = _LAST if before is None else before
        values = {"root": root, "place": place, "limit": limit, "skip": skip}
        return await self._several(_REPLIES[False], values, hidden)

    async def reply_counts(self, roots: Collection[EventId], hidden: Hidden = NO_TIME) -> Mapping[EventId, int]:
        """From the plain columns alone."""
        statement, values = _REPLY_COUNTS.hiding(hidden)
        return await self._desk.ask(
            lambda transaction: {
                EventId(row.parent): int(row.number) for row in _each(transaction, statement, roots, values)
            }
        )

    async def tally(self, lanes: Collection[str], hidden: Hidden = NO_TIME) -> Mapping[str, Tally]:
        """Counted in the index, where nothing is hidden."""
        statement, values = _TALLY.hiding(hidden)

        def job(transaction: Transaction) -> Mapping[str, Tally]:
            rows = _each(transaction, statement, lanes, values)
            found = {row.lane: Tally(row.number, row.decided_ms) for row in rows}
            return {lane: found.get(lane, Tally()) for lane in lanes}

        return await self._desk.ask(job)

    async def of_reaction(self, event_id: EventId) -> Message | None:
        """Also of a reaction that was withdrawn since."""
        return await self._one(_OF_REACTION, {"event_id": event_id})

    async def redact(self, event_id: EventId) -> bool:
        """The row stays, as a place in the conversation."""
        return await self._desk.write(
            lambda transaction: transaction.change(_REDACT, {"event_id": event_id}) > 0, few=True
        )

    async def _one(self, statement: TextClause, values: dict[str, Any]) -> Message | None:
        def job(transaction: Transaction) -> Message | None:
            row = transaction.row(statement, values)
            return None if row is None else _message(transaction, row)

        return await self._desk.ask(job, few=True)

    async def _several(self, spanned: Spanned, values: Values, hidden: Hidden) -> Sequence[Message]:
        statement, more = spanned.hiding(hidden)
        return await self._desk.ask(
            lambda transaction: [_message(transaction, row) for row in transaction.rows(statement, values | more)]
        )


def _each(
    transaction: Transaction, statement: TextClause, wanted: Collection[str], values: Values | None = None
) -> list[Row[Any]]:
    """The rows of all that is wanted, however many."""
    every = list(wanted)
    return [
        row
        for start in range(0, len(every), _BATCH)
        for row in transaction.rows_among(statement, {"among": every[start : start + _BATCH], **(values or {})})
    ]


def _id_in(event_id: str) -> str:
    """The message that an unsent name names; empty for an event of Matrix."""
    return event_id.removeprefix(unsent("")) if event_id.startswith(unsent("")) else ""


_LAYOUT = b"\xff\x01"
"""Stands before details and text. No UTF-8 begins so: what was written before there were details is text alone."""
_LENGTH = 4


def _sealed(
    transaction: Transaction, room_id: str, event_id: str, body: str | None, details: MessageDetails
) -> bytes | None:
    """Text and details as one value; nothing where there is neither."""
    if body is None and details == MessageDetails():
        return None
    packed = encode_details(details)
    text_of = b"" if body is None else b"=" + body.encode("utf-8", "surrogatepass")
    content = _LAYOUT + len(packed).to_bytes(_LENGTH, "big") + packed + text_of
    return transaction.keys.seal(transaction.room_scope(room_id), "message", "messages", event_id, content)


def _opened(transaction: Transaction, event_id: str, sealed: bytes) -> tuple[str | None, MessageDetails]:
    content = transaction.keys.open("messages", event_id, sealed)
    if not content.startswith(_LAYOUT):
        return content.decode("utf-8", "surrogatepass"), MessageDetails()
    head = len(_LAYOUT) + _LENGTH
    end = head + int.from_bytes(content[len(_LAYOUT) : head], "big")
    body = content[end + 1 :].decode("utf-8", "surrogatepass") if len(content) > end else None
    return body, decode_details(content[head:end])


def _message(transaction: Transaction, row: Row[Any]) -> Message:
    body, details = None, MessageDetails()
    if row.body is not None:
        body, details = _opened(transaction, row.event_id, bytes(row.body))
    return Message(
        id=row.id,
        room_id=row.room_id,
        lane=row.lane,
        event_id=row.event_id,
        sender=row.sender,
        state=row.state,
        origin_ms=row.origin_ms,
        received_ms=row.received_ms,
        decided_ms=row.decided_ms,
        body=body,
        position=row.position,
        thread_root=row.thread_root,
        replaces=row.replaces,
        details=details,
    )
