"""Files that wait to be sent, in parts sealed under the key of their war room.

A part is sealed for its number and for the number of parts: none can be taken away or moved unseen.
"""

from sqlalchemy import text

from etb_appservice.domain.ids import WarRoomId
from etb_appservice.ports import MOST_DOCUMENT_BYTES, Document, TooLarge
from etb_appservice.store.desk import Desk, Transaction

_PART = 1024 * 1024
_CLASS = "document"

_PUT = text(
    "INSERT INTO documents (id, part, war_room, content, created_ms)"
    " VALUES (:id, :part, :war_room, :content, :now)"
)
_GET = text("SELECT part, war_room, content, upload FROM documents WHERE id = :id ORDER BY part")
_WHERE = text("SELECT war_room FROM documents WHERE id = :id AND part = 0")
_UPLOADED = text("UPDATE documents SET upload = :upload WHERE id = :id AND part = 0")
_FORGET = text("DELETE FROM documents WHERE id = :id")
_COUNT_BEFORE = text("SELECT count(*) FROM documents WHERE part = 0 AND created_ms < :before")
_FORGET_BEFORE = text("DELETE FROM documents WHERE created_ms < :before")


class SqlDocuments:
    """`ports.Documents`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def put(self, document_id: str, war_room: WarRoomId, content: bytes) -> None:
        """Every part under a nonce of its own."""
        if len(content) > MOST_DOCUMENT_BYTES:
            raise TooLarge(f"a document of {len(content)} bytes; at most {MOST_DOCUMENT_BYTES} are kept")

        def job(transaction: Transaction) -> None:
            pieces = [content[start : start + _PART] for start in range(0, len(content), _PART)] or [b""]
            rows = [
                {
                    "id": document_id,
                    "part": number,
                    "war_room": war_room,
                    "content": transaction.keys.seal(
                        _scope(war_room), _CLASS, "documents", _place(document_id, number, len(pieces)), piece
                    ),
                    "now": transaction.now_ms,
                }
                for number, piece in enumerate(pieces)
            ]
            transaction.change_each(_PUT, rows)

        self._desk.later(job)

    async def get(self, document_id: str) -> Document | None:
        """Put together again; raises Tampered where a part is missing."""

        def job(transaction: Transaction) -> Document | None:
            rows = transaction.rows(_GET, {"id": document_id})
            if not rows:
                return None
            content = b"".join(
                transaction.keys.open("documents", _place(document_id, number, len(rows)), bytes(row.content))
                for number, row in enumerate(rows)
            )
            upload = rows[0].upload
            if upload is not None:
                upload = transaction.keys.open("documents", _upload(document_id), bytes(upload))
            return Document(id=document_id, war_room=WarRoomId(rows[0].war_room), content=content, upload=upload)

        return await self._desk.ask(job)

    async def uploaded(self, document_id: str, upload: bytes) -> None:
        """Sealed like the content: it holds the key to what lies on the homeserver."""

        def job(transaction: Transaction) -> None:
            war_room = transaction.value(_WHERE, {"id": document_id})
            if war_room is not None:
                sealed = transaction.keys.seal(_scope(war_room), _CLASS, "documents", _upload(document_id), upload)
                transaction.change(_UPLOADED, {"id": document_id, "upload": sealed})

        self._desk.later(job)

    async def forget(self, document_id: str) -> None:
        """All parts."""
        self._desk.later(lambda transaction: transaction.change(_FORGET, {"id": document_id}))

    async def forget_before(self, before_ms: int) -> int:
        """Counts documents, not parts."""

        def job(transaction: Transaction) -> int:
            count: int = transaction.value(_COUNT_BEFORE, {"before": before_ms})
            if count:
                transaction.change(_FORGET_BEFORE, {"before": before_ms})
            return count

        return await self._desk.write(job)


def _scope(war_room: str) -> str:
    return f"room:{war_room}"


def _place(document_id: str, part: int, parts: int) -> str:
    return f"{document_id}/{part} of {parts}"


def _upload(document_id: str) -> str:
    return f"{document_id}/upload"
