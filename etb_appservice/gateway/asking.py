"""Asks the flows for something and waits for the verdict: one commit into the inbox, decided in the room's lane.

    handler ─► Asking.ask: the fact, accepted ─► Intake decides ─► commit ─► Asking.tell ─► the handler goes on

Whoever waits in vain is told to try again; what was accepted is decided all the same, so asking twice must be
harmless.
"""

import asyncio
from collections.abc import Callable, Sequence

from etb_appservice.domain.facts import (
    FileClassified,
    FileLookedAt,
    FileUploaded,
    FileWithdrawn,
    LinkCodeAsked,
    RoomAsked,
    RoomChangeAsked,
    UnlinkAsked,
)
from etb_appservice.domain.ids import short_hash
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.gateway.problems import Problem, away, conflict, invalid, not_found
from etb_appservice.ports import Arrival, FactCodec, Store

WebFact = (
    RoomAsked
    | RoomChangeAsked
    | LinkCodeAsked
    | UnlinkAsked
    | FileUploaded
    | FileLookedAt
    | FileClassified
    | FileWithdrawn
)
_WAIT_S = 15.0


class Undecided(Problem):
    """No verdict came in time, or none was heard; it is decided all the same, or was."""

    def __init__(self) -> None:
        no = away("busy", "This was accepted and is not decided yet. Look again in a moment.")
        super().__init__(no.status, no.code, no.detail, headers=no.headers)


class Asking:
    """`wake` is told of lanes that have work. Verdicts of other processes never come."""

    def __init__(
        self, store: Store, codec: FactCodec, wake: Callable[[Sequence[str]], None], *, wait_s: float = _WAIT_S
    ) -> None:
        self._store = store
        self._codec = codec
        self._wake = wake
        self._wait_s = wait_s
        self._waiting: dict[str, asyncio.Future[Verdict]] = {}

    def tell(self, verdict: Verdict) -> None:
        """A verdict is committed."""
        waiting = self._waiting.get(verdict.ref)
        if waiting is not None and not waiting.done():
            waiting.set_result(verdict)

    async def ask(self, fact: WebFact, lane: str) -> Verdict:
        """`done` or `there`; raises Problem for every other verdict, Undecided where none came in time.

        The `ref` MUST be the fact's own: of two with the same one only the first is decided, and one asker told.
        """
        waiting: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting[fact.ref] = waiting
        try:
            key = short_hash("web", fact.ref)
            arrival = Arrival(source="own", lane=lane, key=key, payload=self._codec.encode(fact))
            async with self._store.work() as work:
                await work.inbox.accept([arrival])
            self._wake([lane])
            async with asyncio.timeout(self._wait_s):
                verdict = await waiting
        except TimeoutError:
            raise Undecided from None
        finally:
            del self._waiting[fact.ref]
        if verdict.outcome in {"done", "there"}:
            return verdict
        raise _problem(verdict)


def _problem(verdict: Verdict) -> Problem:
    match verdict.outcome:
        case "forbidden":
            return Problem(403, verdict.code, verdict.text)
        case "conflict":
            return conflict(verdict.text)
        case "invalid":
            return invalid(**{verdict.field or "non_field_errors": verdict.text})
        case "too often":
            return Problem(429, "throttled", verdict.text, headers={"Retry-After": str(max(1, verdict.after_s))})
        case "unavailable":
            return away(verdict.code, verdict.text)
        case _:
            return not_found()
