"""The watch over ETB: where its modules are, what changed, and who is on call (docs/etb-contract.md 7.5, 8.6, 12).

    settle modules ──> changed incidents (or, where webhooks tell of them, one row) ──> who is on call ──> people,
                                                                                                        legal holds
    cursor - overlap ──> list, newest first ──> one commit per page ──> cursor forward

Modules, people on call, people in rooms (`watched`) and legal holds (`holds`) are looked at also where incidents
come by webhook alone: no webhook tells of them.

The cursor moves only after everything before it is committed, and never beyond our own clock. What the overlap
shows again has the same key, so it is dropped. The poll must outlive every failure of ETB; a failing database is
fatal and passes through.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import structlog

from etb_appservice.domain.facts import Fact, OnCallSeen
from etb_appservice.domain.ids import Username, short_hash
from etb_appservice.domain.outcomes import Failure, Later, Refused
from etb_appservice.etb import fields
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.holds import HoldWatch
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.watched import PeopleWatch
from etb_appservice.etb.wire import JsonObject, Unreadable, read_json, write_json
from etb_appservice.ports import Arrival, Clock, EtbReads, Keepsakes, Store

_log = structlog.get_logger(__name__)

CURSOR = "etb.poll.cursor"
ON_CALL = "etb.poll.oncall"
ON_CALL_LANE = "oncall"
_MOST_WAIT_S = 300.0
_MOST_REMEMBERED = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PollerState:
    """For health: the last round that succeeded (UTC milliseconds, None before), and what is wrong since."""

    last_success_ms: int | None = None
    failures: int = 0
    trouble: str = ""
    on_call_trouble: str = ""
    people_trouble: str = ""
    holds_trouble: str = ""
    keeps_holds: bool = True
    """Whether ETB has a list of legal holds."""
    accepted: int = 0
    """New sightings since start."""
    wait_s: float = 0.0
    """How long ETB asked us to wait in the last round (`Retry-After`)."""


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The newest change that was accepted; `id` is for operators, since overlap and keys make ties safe."""

    updated_ms: int
    id: str


class Poller:
    """Run `run()` as one task. `dice` answers 0..1; `accepted` is called after each commit of news.

    `with_incidents` is off where webhooks tell of incidents and the operator wants no poll beside them.
    """

    def __init__(
        self,
        *,
        client: EtbClient,
        modules: Modules,
        reads: EtbReads,
        decoder: IncidentDecoder,
        store: Store,
        keepsakes: Keepsakes,
        clock: Clock,
        encode_fact: Callable[[Fact], bytes],
        people: PeopleWatch | None = None,
        holds: HoldWatch | None = None,
        with_incidents: bool = True,
        interval_s: float = 30.0,
        overlap_s: float = 120.0,
        accepted: Callable[[], None] = lambda: None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._modules = modules
        self._reads = reads
        self._decoder = decoder
        self._store = store
        self._keepsakes = keepsakes
        self._clock = clock
        self._encode_fact = encode_fact
        self._people = people
        self._holds = holds
        self.with_incidents = with_incidents
        self.interval_s = interval_s
        self._overlap_ms = round(overlap_s * 1000)
        self._accepted = accepted
        self._dice = dice
        self._seen: dict[str, bytes] = {}
        self.state = PollerState()

    async def run(self) -> None:
        """Poll until cancelled; failures of ETB back off and are logged once each."""
        while True:
            await self.round()
            wait_s = self.interval_s
            if self.state.failures:
                wait_s = min(max(_MOST_WAIT_S, wait_s), wait_s * 2.0 ** min(self.state.failures - 1, 10))
            await self._clock.sleep(max(wait_s * (0.9 + 0.2 * self._dice()), self.state.wait_s))

    async def round(self) -> int:
        """One round; answers how many sightings were new. What ETB did wrong is in `state`.

        An ETB that asks us to wait is asked nothing more in this round.
        """
        new = 0
        self.state = replace(self.state, wait_s=0.0)
        try:
            await self._modules.settle()
            if self.with_incidents:
                new = await self.poll_incidents()
            else:
                await self._knock()
        except Failure as failure:
            self._incidents_failed(failure)
            if self.state.wait_s:
                return new
        else:
            if self.state.failures:
                _log.info("etb poll works again", failures=self.state.failures)
            now_ms = self._clock.now_ms()
            self.state = replace(self.state, last_success_ms=now_ms, failures=0, trouble="")
        trouble = await self._look("on-call", self.poll_on_call, self.state.on_call_trouble)
        self.state = replace(self.state, on_call_trouble=trouble)
        if self._people is not None:
            trouble = await self._look("people", self._people.look, self.state.people_trouble)
            self.state = replace(self.state, people_trouble=trouble)
        if self._holds is not None:
            trouble = await self._look("legal holds", self._holds.look, self.state.holds_trouble)
            self.state = replace(self.state, holds_trouble=trouble, keeps_holds=self._holds.is_there)
        return new

    async def _look(self, what: str, look: Callable[[], Awaitable[object]], before: str) -> str:
        """Look at something more; answers what is wrong with it, empty when nothing is."""
        if self.state.wait_s:
            return before
        try:
            await look()
        except Failure as failure:
            if before != str(failure):
                _log.warning(f"etb {what} poll failed", reason=str(failure))
            self.state = replace(self.state, wait_s=_asked_to_wait_s(failure))
            return str(failure)
        return ""

    def _incidents_failed(self, failure: Failure) -> None:
        reason = str(failure)
        if self.state.trouble != reason:
            _log.warning("etb poll failed", reason=reason)
        self.state = replace(
            self.state,
            failures=self.state.failures + 1,
            trouble=reason,
            wait_s=_asked_to_wait_s(failure),
        )

    async def _knock(self) -> None:
        """Ask for one incident, so that it is known whether ETB answers; raises Later or Refused."""
        await self._client.get(self._incidents_path(), {"page_size": "1"})

    # --- incidents ----------------------------------------------------------------------------------------

    async def poll_incidents(self) -> int:
        """Accept what changed since the cursor, the first time every open incident; raises Later or Refused."""
        cursor = await self._cursor()
        since_ms = None if cursor is None else cursor.updated_ms - self._overlap_ms
        newest = cursor
        new = 0
        async for rows in self._changed(since_ms):
            for row in rows:
                changed_ms = _changed_ms(row)
                if changed_ms is not None and (newest is None or changed_ms > newest.updated_ms):
                    newest = _Cursor(changed_ms, str(row.get("id", ""))[:36])
            wanted = [row for row in rows if self._is_wanted(row, since_ms)]
            new += await self._accept(wanted)
        # A change dated beyond our clock must not hide all that comes before it.
        now_ms = self._clock.now_ms()
        if newest is None:
            newest = _Cursor(0, "")
        newest = replace(newest, updated_ms=min(newest.updated_ms, now_ms))
        if newest != cursor:
            await self._keepsakes.put(
                CURSOR, write_json({"updated_ms": newest.updated_ms, "id": fields.clean(newest.id)})
            )
        return new

    async def _changed(self, since_ms: int | None) -> AsyncIterator[list[JsonObject]]:
        """Pages, newest first; ends at the first page that reaches behind `since_ms`.

        A list that isn't in the order we asked for is read to its end, since nothing is known of what follows.
        """
        path = self._incidents_path()
        params = {"ordering": "-updated_at"}
        if since_ms is not None:
            since = _EPOCH + timedelta(milliseconds=max(since_ms, 0))
            params["updated_after"] = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        is_ordered = True
        async for rows in self._client.pages(path, params):
            yield rows
            times = [changed_ms for row in rows if (changed_ms := _changed_ms(row)) is not None]
            is_ordered = is_ordered and len(times) == len(rows) and all(a >= b for a, b in pairwise(times))
            if is_ordered and since_ms is not None and times and times[-1] < since_ms:
                return

    def _incidents_path(self) -> str:
        if self._modules.is_off("incidents"):
            reason = "ETB's incidents are not available: see `check`, or set etb.paths.incidents.list"
            raise Refused(reason, code="off")
        return self._modules.paths.path("incidents.list")

    def _is_wanted(self, row: JsonObject, since_ms: int | None) -> bool:
        if since_ms is None:
            return self._decoder.is_open(row)
        changed_ms = _changed_ms(row)
        return changed_ms is None or changed_ms >= since_ms

    async def _accept(self, rows: list[JsonObject]) -> int:
        """One commit; what this process has accepted before isn't even offered."""
        moment = str(self._clock.now_ms())
        fresh: dict[str, bytes] = {}
        arrivals: list[Arrival] = []
        for row in rows:
            # Without a time of change the key differs each round, so content is what tells a change here.
            mark = short_hash("mark", str(row.get("updated_at")), self._decoder.content(row))
            name = str(row.get("id"))
            if self._seen.get(name) == mark:
                continue
            fresh[name] = mark
            arrivals.append(self._decoder.arrival(row, via="poll", event="", moment=moment))
        if not arrivals:
            return 0
        async with self._store.work() as work:
            new = await work.inbox.accept(arrivals)
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.clear()
        self._seen |= fresh
        if new:
            self.state = replace(self.state, accepted=self.state.accepted + new)
            self._accepted()
        return new

    async def _cursor(self) -> _Cursor | None:
        stored = await self._keepsakes.get(CURSOR)
        match _stored(stored):
            case {"updated_ms": int(updated_ms), "id": str(incident_id)}:
                return _Cursor(updated_ms, incident_id)
            case _:
                if stored is not None:
                    _log.warning("etb poll cursor can't be read; every open incident is looked at again")
                return None

    # --- on call ------------------------------------------------------------------------------------------

    async def poll_on_call(self) -> bool:
        """Note who is on call when that changed; answers whether it did. Raises Later or Refused."""
        if self._modules.is_off("oncall"):
            return False
        rows = await self._reads.on_call()
        usernames = sorted({on_call.username for on_call in rows})
        turns = sorted([on_call.rotation, on_call.username] for on_call in rows)
        match _stored(await self._keepsakes.get(ON_CALL)):
            case {"turns": list(before), "change": int(change)}:
                pass
            case {"usernames": list(names), "change": int(change)}:  # as an earlier version kept it
                before = turns if names == usernames else []
            case _:
                before, change = [], 0
        if turns == before:
            return False
        fact = OnCallSeen(usernames=tuple(Username(name) for name in usernames), on_call=rows)
        # Numbered, since Alice after Bob after Alice is a change each time.
        key = short_hash("oncall", str(change + 1), *(word for turn in turns for word in turn))
        async with self._store.work() as work:
            await work.inbox.accept(
                [Arrival(source="own", lane=ON_CALL_LANE, key=key, payload=self._encode_fact(fact))]
            )
        await self._keepsakes.put(ON_CALL, write_json({"turns": turns, "change": change + 1}))
        self._accepted()
        return True


def _asked_to_wait_s(failure: Failure) -> float:
    return (failure.after_s or 0.0) if isinstance(failure, Later) else 0.0


def _changed_ms(row: JsonObject) -> int | None:
    try:
        return fields.moment_ms(row, "updated_at")
    except Unreadable:
        return None


def _stored(value: bytes | None) -> Any:
    """What a keepsake holds; None when it holds nothing that can be read."""
    if value is None:
        return None
    try:
        return read_json(value)
    except Unreadable:
        return None
