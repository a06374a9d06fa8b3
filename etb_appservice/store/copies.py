"""Rooms and who is in them, and our last copies of what ETB owns.

Room names, cards, incidents, users and on-call lists are sealed; ids, levels and states stand plain, since they
are asked for.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Row, SmallInteger, Text, bindparam, text

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import EtbUser, OnCall
from etb_appservice.domain.rooms import RoomKind
from etb_appservice.ports import ON_CALL, USERS, Known, Room
from etb_appservice.store.codec import (
    Shown,
    decode_known,
    decode_on_call,
    decode_shown,
    decode_user,
    encode_known,
    encode_on_call,
    encode_shown,
    encode_user,
)
from etb_appservice.store.desk import Desk, Transaction, Values

_ROOM = (
    "war_room, generation, kind, incident_id, room_id, classification, visibility, keys_to_invited, encrypted,"
    " is_current, card_event"
)
_PUT_ROOM = text(
    f"INSERT INTO rooms ({_ROOM}, shown, created_ms)"  # noqa: S608 - constants
    " VALUES (:war_room, :generation, :kind, :incident_id, :room_id, :classification, :visibility,"
    " :keys_to_invited, :encrypted, :is_current, :card_event, :shown, :now)"
    " ON CONFLICT (war_room, generation) DO UPDATE SET kind = excluded.kind, incident_id = excluded.incident_id,"
    " room_id = excluded.room_id, classification = excluded.classification, visibility = excluded.visibility,"
    " keys_to_invited = excluded.keys_to_invited, encrypted = excluded.encrypted,"
    " is_current = excluded.is_current, card_event = excluded.card_event, shown = excluded.shown"
)
_RETIRE = text(
    "UPDATE rooms SET is_current = false WHERE war_room = :war_room AND generation <> :generation AND is_current"
)
_SINCE = "(SELECT min(first.created_ms) FROM rooms first WHERE first.war_room = rooms.war_room) AS since_ms"
_READ = f"SELECT {_ROOM}, {_SINCE}, shown FROM rooms"  # noqa: S608 - constants
_OF_INCIDENT = text(f"{_READ} WHERE incident_id = :incident_id AND is_current")
_BY_WAR_ROOM = text(f"{_READ} WHERE war_room = :war_room AND is_current")
_BY_ID = text(f"{_READ} WHERE room_id = :room_id")
_FORMER = text(
    "SELECT room_id FROM rooms WHERE war_room = :war_room AND NOT is_current AND room_id IS NOT NULL"
    " ORDER BY generation"
)
_ALL = text(f"SELECT {_ROOM}, {_SINCE} FROM rooms WHERE is_current ORDER BY created_ms, war_room")  # noqa: S608 - constants
_COUNT = text("SELECT count(*) FROM rooms WHERE is_current")
_MEMBERSHIP = text("SELECT membership FROM members WHERE room_id = :room_id AND user_id = :user_id")
_SET_MEMBER = text(
    "INSERT INTO members (room_id, user_id, membership) VALUES (:room_id, :user_id, :membership)"
    " ON CONFLICT (room_id, user_id) DO UPDATE SET membership = excluded.membership"
)
_MEMBERS = text(
    "SELECT user_id FROM members WHERE room_id = :room_id AND (membership = :one OR membership = :other)"
)
_PRESENT = text(
    "SELECT user_id, membership FROM members WHERE room_id = :room_id AND membership IN ('join', 'invite')"
)
_INSIDE = text(
    "SELECT DISTINCT members.user_id FROM members JOIN rooms ON rooms.room_id = members.room_id"
    " WHERE rooms.kind = :kind AND members.membership IN ('join', 'invite') ORDER BY members.user_id"
)
_JOINED = text(
    "SELECT members.room_id, members.user_id FROM members JOIN rooms ON rooms.room_id = members.room_id"
    " WHERE rooms.is_current AND rooms.encrypted AND rooms.classification IN :levels"
    " AND members.membership = 'join'"
).bindparams(bindparam("levels", expanding=True, type_=SmallInteger()))
_SHARED = text(
    "SELECT rooms.room_id FROM members JOIN rooms ON rooms.room_id = members.room_id"
    " WHERE members.user_id = :user_id AND members.membership IN ('join', 'invite') AND rooms.encrypted"
    " ORDER BY rooms.created_ms, rooms.room_id"
)


class SqlRooms:
    """`ports.Rooms`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def put(self, room: Room) -> None:
        """A generation that becomes current retires the others of its war room."""

        def job(transaction: Transaction) -> None:
            if room.is_current and room.generation > 1:
                transaction.change(_RETIRE, {"war_room": room.war_room, "generation": room.generation})
            shown = transaction.keys.seal(
                f"room:{room.war_room}",
                "card",
                "rooms",
                f"{room.war_room}/{room.generation}",
                encode_shown(
                    Shown(room.name, room.card, room.card_holders, room.person, room.federates, room.hosts)
                ),
            )
            transaction.change(
                _PUT_ROOM,
                {
                    "war_room": room.war_room,
                    "generation": room.generation,
                    "kind": room.kind,
                    "incident_id": room.incident_id,
                    "room_id": room.room_id,
                    "classification": int(room.classification),
                    "visibility": room.visibility,
                    "keys_to_invited": room.keys_to_invited,
                    "encrypted": room.encrypted,
                    "is_current": room.is_current,
                    "card_event": room.card_event,
                    "shown": shown,
                    "now": transaction.now_ms,
                },
            )

        self._desk.later(job)

    async def of_incident(self, incident_id: IncidentId) -> Room | None:
        """With its card."""
        return await self._desk.ask(
            lambda transaction: _room(transaction, transaction.row(_OF_INCIDENT, {"incident_id": incident_id})),
            few=True,
        )

    async def by_war_room(self, war_room: WarRoomId) -> Room | None:
        """With its card."""
        return await self._desk.ask(
            lambda transaction: _room(transaction, transaction.row(_BY_WAR_ROOM, {"war_room": war_room})),
            few=True,
        )

    async def by_id(self, room_id: RoomId) -> Room | None:
        """Any generation, with its card."""
        return await self._desk.ask(
            lambda transaction: _room(transaction, transaction.row(_BY_ID, {"room_id": room_id})),
            few=True,
        )

    async def former(self, war_room: WarRoomId) -> Sequence[RoomId]:
        """By generation."""
        return await self._desk.ask(
            lambda transaction: [RoomId(row[0]) for row in transaction.rows(_FORMER, {"war_room": war_room})]
        )

    async def all_current(self) -> Sequence[Room]:
        """Without names and cards, so that ten thousand rooms are one statement and no decryption."""
        return await self._desk.ask(lambda transaction: [_plain(row) for row in transaction.rows(_ALL)])

    async def count(self) -> int:
        """Current rooms."""
        return await self._desk.ask(lambda transaction: int(transaction.value(_COUNT)))

    async def set_member(self, room_id: RoomId, user_id: UserId, membership: str) -> str:
        """Answers the membership before."""
        who = {"room_id": room_id, "user_id": user_id}

        def job(transaction: Transaction) -> str:
            before = transaction.value(_MEMBERSHIP, who)
            if before != membership:
                transaction.change(_SET_MEMBER, {**who, "membership": membership})
            return before or "leave"

        return await self._desk.write(job, few=True)

    async def members(self, room_id: RoomId, *memberships: str) -> Sequence[UserId]:
        """Sorted by code point, on every database."""
        if not memberships:
            return []
        one, other = memberships if len(memberships) > 1 else memberships * 2
        values = {"room_id": room_id, "one": one, "other": other}
        return await self._desk.ask(
            lambda transaction: sorted(row[0] for row in transaction.rows(_MEMBERS, values)), few=True
        )

    async def present(self, room_id: RoomId) -> Mapping[UserId, str]:
        """In one question, and without SQLAlchemy: it is asked for each message."""
        return await self._desk.ask(
            lambda transaction: {
                UserId(row.user_id): row.membership for row in transaction.rows(_PRESENT, {"room_id": room_id})
            },
            few=True,
        )

    async def inside(self, kind: RoomKind) -> Sequence[UserId]:
        """Each once."""
        return await self._desk.ask(
            lambda transaction: [UserId(row.user_id) for row in transaction.rows(_INSIDE, {"kind": kind})]
        )

    async def membership(self, room_id: RoomId, user_id: UserId) -> str:
        """`leave` where we know of none."""
        who = {"room_id": room_id, "user_id": user_id}
        return await self._desk.ask(lambda transaction: transaction.value(_MEMBERSHIP, who) or "leave", few=True)

    async def joined(self, levels: Collection[Classification]) -> Mapping[RoomId, Sequence[UserId]]:
        """Rooms without anybody are left out."""

        def job(transaction: Transaction) -> Mapping[RoomId, Sequence[UserId]]:
            found: dict[RoomId, list[UserId]] = defaultdict(list)
            for row in transaction.rows_among(_JOINED, {"levels": [int(level) for level in levels]}):
                found[row.room_id].append(row.user_id)
            return {room_id: sorted(people) for room_id, people in found.items()}

        return await self._desk.ask(job)

    async def shared_with(self, user_id: UserId) -> Sequence[RoomId]:
        """All generations."""
        return await self._desk.ask(
            lambda transaction: [row[0] for row in transaction.rows(_SHARED, {"user_id": user_id})], few=True
        )


def _plain(row: Row[tuple[object, ...]]) -> Room:
    return Room(
        war_room=row.war_room,
        generation=row.generation,
        kind=row.kind,
        incident_id=row.incident_id,
        classification=Classification(row.classification),
        visibility=row.visibility,
        keys_to_invited=bool(row.keys_to_invited),
        encrypted=bool(row.encrypted),
        room_id=row.room_id,
        is_current=bool(row.is_current),
        card_event=row.card_event,
        created_ms=row.since_ms,
    )


def _room(transaction: Transaction, row: Row[tuple[object, ...]] | None) -> Room | None:
    if row is None:
        return None
    room = _plain(row)
    opened = transaction.keys.open("rooms", f"{room.war_room}/{room.generation}", bytes(row.shown))
    shown = decode_shown(opened)
    return replace(
        room,
        name=shown.name,
        card=shown.card,
        card_holders=shown.holders,
        person=shown.person,
        federates=shown.federates,
        hosts=shown.hosts,
    )


# --- copies of what ETB owns ------------------------------------------------------------------------------

_SCOPE = "etb"
_BATCH = 500
_PUT_INCIDENT = text(
    "INSERT INTO incidents (id, is_open, copy, confirmed_ms, first_ms)"
    " VALUES (:id, :is_open, :copy, :confirmed, :now)"
    " ON CONFLICT (id) DO UPDATE SET is_open = excluded.is_open, copy = excluded.copy,"
    " confirmed_ms = excluded.confirmed_ms"
)
_INCIDENT = text("SELECT copy FROM incidents WHERE id = :id")
_OPEN = text("SELECT id FROM incidents WHERE is_open ORDER BY first_ms, id")
_PUT_COPY = text(
    "INSERT INTO etb_copies (kind, id, copy, confirmed_ms) VALUES (:kind, :id, :copy, :confirmed)"
    " ON CONFLICT (kind, id) DO UPDATE SET copy = excluded.copy, confirmed_ms = excluded.confirmed_ms"
)
_CONFIRM = text("UPDATE etb_copies SET confirmed_ms = :confirmed WHERE kind = :kind AND id = :id")
_DOUBT = text("UPDATE etb_copies SET confirmed_ms = 0 WHERE kind = :kind AND confirmed_ms < :before")
_COPIES = text("SELECT id, copy, confirmed_ms FROM etb_copies WHERE kind = :kind AND id IN :ids").bindparams(
    bindparam("ids", expanding=True, type_=Text())
)
_COPY = text("SELECT copy, confirmed_ms FROM etb_copies WHERE kind = :kind AND id = :id")


class SqlIncidents:
    """`ports.Incidents`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def put(self, known: Known) -> None:
        """Replaces the copy before."""
        incident = known.incident

        def job(transaction: Transaction) -> None:
            copy = transaction.keys.seal(_SCOPE, "incident", "incidents", incident.id, encode_known(known))
            transaction.change(
                _PUT_INCIDENT,
                {
                    "id": incident.id,
                    "is_open": incident.is_open,
                    "copy": copy,
                    "confirmed": known.confirmed_ms,
                    "now": transaction.now_ms,
                },
            )

        self._desk.later(job)
        self._desk.touch(incident.id)

    async def get(self, incident_id: IncidentId) -> Known | None:
        """Opened."""

        def job(transaction: Transaction) -> Known | None:
            copy = transaction.value(_INCIDENT, {"id": incident_id})
            if copy is None:
                return None
            return decode_known(transaction.keys.open("incidents", incident_id, bytes(copy)))

        return await self._desk.ask(job, few=True)

    async def open_ids(self) -> Sequence[IncidentId]:
        """In the order in which they were first seen."""
        return await self._desk.ask(lambda transaction: [row[0] for row in transaction.rows(_OPEN)])

    async def put_user(self, user: EtbUser, confirmed_ms: int) -> None:
        """Replaces the copy before."""
        self._put("user", user.username, encode_user(user), confirmed_ms, USERS)

    async def user(self, username: Username) -> tuple[EtbUser, int] | None:
        """Opened."""
        found = await self._get("user", username)
        return None if found is None else (decode_user(found[0]), found[1])

    async def put_on_call(self, on_call: Sequence[OnCall], confirmed_ms: int) -> None:
        """Replaces the copy before."""
        self._put("on-call", "all", encode_on_call(tuple(on_call)), confirmed_ms, ON_CALL)

    async def on_call(self) -> tuple[Sequence[OnCall], int] | None:
        """Opened."""
        found = await self._get("on-call", "all")
        return None if found is None else (decode_on_call(found[0]), found[1])

    async def users(self, usernames: Collection[Username]) -> Mapping[Username, tuple[EtbUser, int]]:
        """Opened, in one question."""
        if not usernames:
            return {}

        def job(transaction: Transaction) -> Mapping[Username, tuple[EtbUser, int]]:
            found = {}
            names = list(usernames)
            for start in range(0, len(names), _BATCH):
                values: Values = {"kind": "user", "ids": names[start : start + _BATCH]}
                for row in transaction.rows_among(_COPIES, values):
                    opened = transaction.keys.open("etb_copies", f"user/{row.id}", bytes(row.copy))
                    found[Username(row.id)] = decode_user(opened), row.confirmed_ms
            return found

        return await self._desk.ask(job)

    async def doubt_users(self, before_ms: int) -> None:
        """The copies stay, as unconfirmed as if they had never been."""
        values = {"kind": "user", "before": before_ms}
        self._desk.later(lambda transaction: transaction.change(_DOUBT, values))
        self._desk.touch(USERS)

    def _put(self, kind: str, name: str, plaintext: bytes, confirmed_ms: int, scope: str) -> None:
        def job(transaction: Transaction) -> None:
            before = transaction.row(_COPY, {"kind": kind, "id": name})
            if before is not None:
                opened = transaction.keys.open("etb_copies", f"{kind}/{name}", bytes(before.copy))
                if opened == plaintext:
                    values = {"kind": kind, "id": name, "confirmed": confirmed_ms}
                    transaction.change(_CONFIRM, values)
                    return
            self._desk.touch(scope)
            copy = transaction.keys.seal(_SCOPE, kind, "etb_copies", f"{kind}/{name}", plaintext)
            values = {"kind": kind, "id": name, "copy": copy, "confirmed": confirmed_ms}
            transaction.change(_PUT_COPY, values)

        self._desk.later(job)

    async def _get(self, kind: str, name: str) -> tuple[bytes, int] | None:
        def job(transaction: Transaction) -> tuple[bytes, int] | None:
            row = transaction.row(_COPY, {"kind": kind, "id": name})
            if row is None:
                return None
            return transaction.keys.open("etb_copies", f"{kind}/{name}", bytes(row.copy)), row.confirmed_ms

        return await self._desk.ask(job, few=True)
