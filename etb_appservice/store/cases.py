"""What people agreed on in a war room, sealed under the room's key. Only kind, id and state are plain columns."""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import text

from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.case import ADMITTING, Entry, Standing
from etb_appservice.domain.ids import WarRoomId
from etb_appservice.domain.partners import PartnerAdmitted
from etb_appservice.domain.roles import Admitted, Role
from etb_appservice.store.codec import decode_entry, encode_entry
from etb_appservice.store.desk import Desk, Transaction

E = TypeVar("E", bound=Entry)

_PUT = text(
    "INSERT INTO cases (war_room, kind, id, is_open, entry, created_ms, changed_ms)"
    " VALUES (:war_room, :kind, :id, :is_open, :entry, :now, :now)"
    " ON CONFLICT (war_room, kind, id) DO UPDATE SET is_open = excluded.is_open, entry = excluded.entry,"
    " changed_ms = excluded.changed_ms"
)
_GET = text("SELECT id, entry FROM cases WHERE war_room = :war_room AND kind = :kind AND id = :id")
_OF = text("SELECT id, entry FROM cases WHERE war_room = :war_room AND kind = :kind ORDER BY seq")
_OPEN_OF = text("SELECT id, entry FROM cases WHERE war_room = :war_room AND kind = :kind AND is_open ORDER BY seq")
_STANDING = text(
    "SELECT kind, id, entry FROM cases WHERE war_room = :war_room AND is_open"
    " AND kind IN ('Role', 'Admitted', 'BreakGlass', 'PartnerAdmitted') ORDER BY seq"
)
_STAND: dict[str, type[Standing]] = {
    "Role": Role,
    "Admitted": Admitted,
    "BreakGlass": BreakGlass,
    "PartnerAdmitted": PartnerAdmitted,
}
_ALL_OPEN = text("SELECT war_room, id, entry FROM cases WHERE kind = :kind AND is_open ORDER BY seq")
_WHERE_OPEN = text("SELECT DISTINCT war_room FROM cases WHERE kind = :kind AND is_open")


class SqlCases:
    """`ports.Cases`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def put(self, war_room: WarRoomId, entry: Entry) -> None:
        """Sealed for its place: an entry that is moved to another row can't be opened there."""

        def job(transaction: Transaction) -> None:
            place = _place(war_room, entry.kind, entry.id)
            values = {
                "war_room": war_room,
                "kind": entry.kind,
                "id": entry.id,
                "is_open": entry.is_open,
                "entry": transaction.keys.seal(f"room:{war_room}", "case", "cases", place, encode_entry(entry)),
                "now": transaction.now_ms,
            }
            transaction.change(_PUT, values)

        self._desk.later(job)
        if isinstance(entry, ADMITTING):
            self._desk.touch(war_room)

    async def get(self, war_room: WarRoomId, kind: type[E], entry_id: str) -> E | None:
        """Opened."""
        values = {"war_room": war_room, "kind": kind.__name__, "id": entry_id}

        def job(transaction: Transaction) -> E | None:
            row = transaction.row(_GET, values)
            return None if row is None else _opened(transaction, kind, war_room, row.id, bytes(row.entry))

        return await self._desk.ask(job, few=True)

    async def of(self, war_room: WarRoomId, kind: type[E], *, only_open: bool = False) -> Sequence[E]:
        """Opened, in the order in which they were first put."""
        statement = _OPEN_OF if only_open else _OF
        values = {"war_room": war_room, "kind": kind.__name__}
        return await self._desk.ask(
            lambda transaction: [
                _opened(transaction, kind, war_room, row.id, bytes(row.entry))
                for row in transaction.rows(statement, values)
            ]
        )

    async def standing(self, war_room: WarRoomId) -> Sequence[Standing]:
        """Opened, in one question."""

        def job(transaction: Transaction) -> Sequence[Standing]:
            return [
                _opened(transaction, _STAND[row.kind], war_room, row.id, bytes(row.entry))
                for row in transaction.rows(_STANDING, {"war_room": war_room})
            ]

        return await self._desk.ask(job, few=True)

    async def all_open(self, kind: type[E]) -> Sequence[tuple[WarRoomId, E]]:
        """Opened, in the order in which they were first put."""
        return await self._desk.ask(
            lambda transaction: [
                (WarRoomId(row.war_room), _opened(transaction, kind, row.war_room, row.id, bytes(row.entry)))
                for row in transaction.rows(_ALL_OPEN, {"kind": kind.__name__})
            ]
        )

    async def where_open(self, kind: type[E]) -> Sequence[WarRoomId]:
        """From the plain columns alone."""
        return await self._desk.ask(
            lambda transaction: [
                WarRoomId(row.war_room) for row in transaction.rows(_WHERE_OPEN, {"kind": kind.__name__})
            ]
        )


def _place(war_room: str, kind: str, entry_id: str) -> str:
    return f"{war_room}/{kind}/{entry_id}"


def _opened(transaction: Transaction, kind: type[E], war_room: str, entry_id: str, sealed: bytes) -> E:
    entry = decode_entry(transaction.keys.open("cases", _place(war_room, kind.__name__, entry_id), sealed))
    if not isinstance(entry, kind):
        raise TypeError(f"an entry of kind {kind.__name__} holds something else")
    return entry
