"""Acts of web users: who asked is hashed into the key, what was asked isn't here."""

from sqlalchemy import text

from etb_appservice.domain.web import Ruling
from etb_appservice.store.codec import decode_ruling, encode_ruling
from etb_appservice.store.desk import Desk, Transaction

_FIRST = text("SELECT id FROM acts WHERE key = :key AND accepted_ms >= :since ORDER BY accepted_ms LIMIT 1")
_ADD = text("INSERT INTO acts (id, key, accepted_ms) VALUES (:id, :key, :now) ON CONFLICT (id) DO NOTHING")
_DECIDE = text("UPDATE acts SET ruling = :ruling WHERE id = :id AND ruling IS NULL")
_RULING = text("SELECT ruling FROM acts WHERE id = :id")
_FORGET = text("DELETE FROM acts WHERE accepted_ms < :before AND ruling IS NOT NULL")


class SqlActs:
    """`ports.Acts`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def accept(self, act: str, key: bytes | None, since_ms: int) -> str:
        """Under a lock of the key."""

        def job(transaction: Transaction) -> str:
            if key is not None:
                transaction.lock(f"acts/{key.hex()}")
                first = transaction.value(_FIRST, {"key": key, "since": since_ms})
                if first is not None:
                    return str(first)
            transaction.change(_ADD, {"id": act, "key": key, "now": transaction.now_ms})
            return act

        return await self._desk.write(job)

    async def decide(self, act: str, ruling: Ruling) -> None:
        """As JSON, in clear: it holds ids and sentences of ours."""
        values = {"id": act, "ruling": encode_ruling(ruling)}
        self._desk.later(lambda transaction: transaction.change(_DECIDE, values))

    async def ruling(self, act: str) -> Ruling | None:
        """As of the commit that decided it."""
        found = await self._desk.ask(lambda transaction: transaction.value(_RULING, {"id": act}), few=True)
        return None if found is None else decode_ruling(str(found))

    async def forget(self, before_ms: int) -> int:
        """What is undecided stays."""
        return await self._desk.write(lambda transaction: transaction.change(_FORGET, {"before": before_ms}))
