"""What all writes to ETB share: finding out what became of an earlier try.

    first try ──────────────────────────────────────> POST
    any later try ──> look for the reference ──found──> done
                        ├─ can't be read, or doesn't tell ──> Unsure
                        ├─ not there, but ETB may be at work on it yet ──> Later
                        └─ not there, and enough time has passed ──> POST

ETB knows no idempotency key, so a POST must never be repeated on any other way than the last.
"""

from collections.abc import Callable
from typing import TypeVar

from etb_appservice.domain.outcomes import Later, Refused, Unsure
from etb_appservice.etb import fields
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.wire import JsonObject, Unreadable
from etb_appservice.ports import Try

T = TypeVar("T")
Tells = Callable[[JsonObject], bool | None]
"""Whether a row is the one that an earlier try made; None when it doesn't say."""

NOT_HERE = frozenset({"404", "405"})
_MOST_KEPT = 1000
_DAY_MS = 86_400_000


class Desk:
    """One client and the paths that the probe found. `patience_s`: how long ETB may work on what it was sent."""

    def __init__(self, client: EtbClient, modules: Modules, *, patience_s: float) -> None:
        self.client = client
        self.modules = modules
        self.spelling = client.connection.spelling
        self._patience_s = patience_s
        self._reached: dict[str, int] = {}
        """Key to when a try of this process may have reached ETB last; 0 when none has."""

    def need(self, module: str) -> None:
        """Refuse what belongs to a module that is nowhere."""
        if self.modules.is_off(module):
            raise Refused(f"ETB's module {module} is not available here, so that can't be done", code="off")

    async def post(self, path: str, body: JsonObject, attempt: Try) -> JsonObject:
        """Send what may be sent once only. Raises all four outcomes."""
        if len(self._reached) > _MOST_KEPT:
            self._reached.pop(next(iter(self._reached)))
        if not is_repetition(attempt):
            self._reached[attempt.key] = 0
        try:
            answer = await self.client.post(path, body, key=attempt.key, asked=True)
        except Unsure:
            self._reached[attempt.key] = attempt.now_ms
            raise
        except Refused:
            self._reached.pop(attempt.key, None)
            raise
        self._reached[attempt.key] = attempt.now_ms
        return answer

    async def find(
        self, key: str, params: dict[str, str], tells: Tells, attempt: Try, *, time: str
    ) -> JsonObject | None:
        """The row that an earlier try made, in the list `key`, latest first by the field `time`.

        None when there is none now. Later when ETB is away, since nothing was sent in this try; Unsure when it
        can't be read back, or its rows don't tell.
        """
        path = self.modules.paths.path(key)
        since_ms = (attempt.first_tried_ms or attempt.now_ms) - _DAY_MS
        is_dark = False
        try:
            async for rows in self.client.pages(path, {"ordering": f"-{time}", **params}):
                for row in rows:
                    whole, told = row, tells(row)
                    if told is None:  # a list may show less than the detail
                        whole = await self.client.get_object(self.modules.paths.below(key, fields.identifier(row)))
                        told = tells(whole)
                    if told:
                        return whole
                    is_dark = is_dark or told is None
                if rows and all((fields.moment_ms(row, time) or since_ms) < since_ms for row in rows):
                    break
        except (Refused, Unreadable) as no:
            raise Unsure(f"an earlier try may have taken effect and can't be read back: {no}") from None
        if is_dark:
            raise Unsure(f"an earlier try may have taken effect, and ETB's rows at {path} don't tell")
        return None

    def wait_out(self, attempt: Try) -> None:
        """Raise Later while ETB may still be at work on an earlier try: not there yet is not the same as never."""
        last_ms = self._reached.get(attempt.key, attempt.first_tried_ms or 0)
        passed_s = (attempt.now_ms - last_ms) / 1000
        if 0 <= passed_s < self._patience_s:
            raise Later(
                "an earlier try isn't to be seen in ETB, which may still be at work on it",
                after_s=self._patience_s - passed_s,
            )

    async def must_know(self, incident_id: str) -> None:
        """Tell an incident that is gone from anything else that ETB finds fault with."""
        try:
            await self.client.get(self.modules.paths.below("incidents.list", incident_id))
        except Refused as no:
            if no.code == "404":
                raise Refused("ETB knows no such incident", code="404") from None


def is_repetition(attempt: Try) -> bool:
    """Whether an earlier try may have reached ETB."""
    return attempt.attempts > 0 or attempt.first_tried_ms is not None


def understood(read: Callable[[], T], path: str) -> T:
    """An answer to a write, read; one that can't be is Unsure, so that the next try looks what became of it."""
    try:
        return read()
    except Unreadable as error:
        raise Unsure(f"ETB's answer to {path} can't be used: {error}") from None
