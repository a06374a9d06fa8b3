"""What needs an administrator of the homeserver: asked for by operators, approved by others, each call recorded.

    PurgeHistory, DeleteMedia ──outbox──> "admin.call", committed ──> the homeserver ──> "admin.answer", committed

Off unless `homeserver.admin_user` is set; whatever needs it says so then.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from etb_appservice.domain.audit import AuditNote
from etb_appservice.domain.effects import AdminEffect, DeleteMedia, PurgeHistory
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.flows.turn import SERVICE
from etb_appservice.ports import HomeserverAdmin, Store

T = TypeVar("T")
OFF = (
    "The homeserver's administration is off. It needs a user of its own: set `homeserver.admin_user` and "
    "`homeserver.admin_token_file`."
)
_AGE = re.compile(r"(\d{1,4})([dh])")


class RecordedAdmin:
    """`ports.HomeserverAdmin`, with an entry in the audit log before each call and one after it."""

    def __init__(self, admin: HomeserverAdmin, store: Store) -> None:
        self._admin = admin
        self._store = store

    async def is_admin(self) -> bool:
        """As the homeserver says."""
        return await self._recorded("is_admin", "", self._admin.is_admin)

    async def delete_media(self, mxc: str) -> int:
        """As the port says."""
        return await self._recorded("delete_media", mxc, lambda: self._admin.delete_media(mxc))

    async def purge_history(self, room_id: RoomId, before_ms: int) -> bool:
        """As the port says."""
        return await self._recorded(
            "purge_history", room_id, lambda: self._admin.purge_history(room_id, before_ms), before_ms=before_ms
        )

    async def _recorded(self, what: str, subject: str, call: Callable[[], Awaitable[T]], **details: int) -> T:
        await self._note("admin.call", subject, {"call": what, **details})
        try:
            answer = await call()
        except BaseException as error:
            outcome = type(error).__name__.lower() if isinstance(error, Failure) else "broken"
            await self._note("admin.answer", subject, {"call": what, "outcome": outcome})
            raise
        await self._note("admin.answer", subject, {"call": what, "outcome": "done", "result": int(bool(answer))})
        return answer

    async def _note(self, tag: str, subject: str, details: dict[str, str | int | bool | None]) -> None:
        async with self._store.work() as work:
            await work.audit.append(
                AuditNote(tag=tag, actor=SERVICE, subject=subject, details=details, contents={})
            )


async def carry_out(admin: HomeserverAdmin | None, effect: AdminEffect) -> Done:
    """One effect; all four outcomes. Repeating is safe: what is gone is gone."""
    if admin is None:
        raise Refused(OFF, code="off")
    match effect:
        case PurgeHistory(room_id=room_id, before_ms=before_ms):
            return Done(detail="purged" if await admin.purge_history(room_id, before_ms) else "nothing to purge")
        case DeleteMedia(mxc=mxc):
            return Done(detail="deleted" if await admin.delete_media(mxc) else "was gone")


def read_before(word: str, now_ms: int) -> int | None:
    """A day such as 2026-11-30 (its begin, UTC) or an age such as 30d or 12h as a moment; None for anything else.

    >>> read_before("1970-01-02", 0), read_before("2h", 7_200_000), read_before("soon", 0)
    (86400000, 0, None)
    """
    if found := _AGE.fullmatch(word.casefold()):
        hours = int(found[1]) * (24 if found[2] == "d" else 1)
        return now_ms - int(timedelta(hours=hours).total_seconds() * 1000)
    try:
        day = datetime.strptime(word, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(day.timestamp() * 1000)
