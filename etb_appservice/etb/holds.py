"""The watch over legal holds: which incidents ETB names in one (docs/etb-contract.md 10.1).

    holds in force, listed ─► names an incident of which that isn't known ────────────► HoldsSeen, in its lane
    known, and listed no more ─► asked for by its id ─► over, or other incidents ─────► HoldsSeen
                                                     └► not there, twice, minutes apart ─► HoldsSeen

No webhook tells of them. Must never take a list that is empty, cut or silent for the end of a hold, and never an
unknown word for its status: what isn't surely over goes on.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from etb_appservice.domain.facts import Fact, HoldsSeen, Troubled
from etb_appservice.domain.holds import HOLD, LegalHold
from etb_appservice.domain.ids import IncidentId, short_hash, war_room_id
from etb_appservice.domain.outcomes import Refused
from etb_appservice.domain.text import code, plain
from etb_appservice.etb import fields
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.wire import JsonObject, Unreadable
from etb_appservice.ports import Arrival, Clock, Store

_OVER = frozenset({"RELEASED", "EXPIRED", "DRAFT"})
_GONE_AFTER_S = 300.0
"""How long a hold must be unknown to ETB, while the list of them is answered, before it is over."""
_ALL = 1 << 30
_MOST_ASKED = 20
"""How many holds are asked for by their ids at each look."""
_SERVICE_LANE = "service"
_NO_SUCH_CHOICE = "400"
_GONE = "404"
_NOT_HERE = frozenset({"404", "405"})


class HoldWatch:
    """Call `look` at each poll."""

    def __init__(
        self,
        *,
        client: EtbClient,
        modules: Modules,
        store: Store,
        clock: Clock,
        encode_fact: Callable[[Fact], bytes],
        accepted: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._modules = modules
        self._store = store
        self._clock = clock
        self._encode_fact = encode_fact
        self._accepted = accepted
        self._spelling = client.connection.spelling
        self._gone_since: dict[str, float] = {}
        """Holds that ETB doesn't know (any more), by `Clock.monotonic`."""
        self._empty: set[str] = set()
        """Holds of no incident that the operators were told of by this process."""
        self.is_there = True
        """False while ETB keeps no legal holds: it has no such list, and none was ever known."""

    async def look(self) -> int:
        """Look at the holds, and accept what is news; answers of how many incidents. Raises Later or Refused."""
        if self._modules.is_off("compliance"):
            self.is_there = False
            return 0
        async with self._store.view() as view:
            known = {entry.incident_id: entry for _, entry in await view.cases.all_open(LegalHold)}
        try:
            standing, unread = await self._listed()
        except Refused as no:
            if no.code in _NOT_HERE and not known:
                self.is_there = False
                return 0
            raise
        self.is_there = True
        missing = {
            (one, hold) for one, entry in known.items() for hold in entry.holds if hold not in standing[one]
        }
        # What began is accepted also where nobody can say what has ended.
        for incident_id, hold_id in missing:
            standing[incident_id].add(hold_id)
        changed = await self._accept(known, standing)
        over = await self._over(missing)
        for incident_id, hold_id in over:
            standing[incident_id].remove(hold_id)
        if over:
            changed = await self._accept(known, standing)
        if unread:
            raise Refused(f"a legal hold can't be read: {unread}", code="shape")
        return changed

    async def _listed(self) -> tuple[dict[IncidentId, set[str]], str]:
        """By incident, the holds in force; and what is wrong with a row that can't be read."""
        path = self._modules.paths.path("compliance.legal_holds")
        asked = {"status": self._spelling.write("hold_status", "ACTIVE")}
        try:
            rows = await self._rows(path, asked)
        except Refused as no:
            if no.code != _NO_SUCH_CHOICE:
                raise
            rows = await self._rows(path, {})
        found: dict[IncidentId, set[str]] = defaultdict(set)
        unread = ""
        for row in rows:
            try:
                hold_id = fields.identifier(row)
                kept = self._kept(row)
                for incident_id in kept or ():
                    found[incident_id].add(hold_id)
            except Unreadable as error:
                unread = str(error)
                continue
            if kept is not None and not kept:
                await self._tell_of_empty(hold_id, fields.line(row, "name", limit=fields.NAME_LIMIT))
        return found, unread

    async def _rows(self, path: str, asked: Mapping[str, str]) -> list[JsonObject]:
        return [row async for rows in self._client.pages(path, asked) for row in rows]

    def _kept(self, row: JsonObject) -> frozenset[IncidentId] | None:
        """The incidents that a hold keeps; None where it is over."""
        word = fields.line(row, "status", limit=fields.WORD_LIMIT, needed=True)
        if self._spelling.read("hold_status", word) in _OVER:
            return None
        named = fields.names(row, "incidents", most=_ALL, inside=("id", "incident_id"))
        return frozenset(fields.identifier({"id": one}) for one in named)

    async def _tell_of_empty(self, hold_id: str, name: str) -> None:
        """Whoever placed it may think that it keeps something here."""
        if hold_id in self._empty:
            return
        text = (
            f"ETB has a legal hold in force that names no incident: **{plain(name) or code(hold_id)}**. "
            "Nothing is kept here by it; name its incidents in ETB."
        )
        key = f"hold of nothing/{hold_id}"
        payload = self._encode_fact(Troubled(key=key, text=text))
        arrival = Arrival(source="own", lane=_SERVICE_LANE, key=short_hash(key), payload=payload)
        async with self._store.work() as work:
            new = await work.inbox.accept([arrival])
        self._empty.add(hold_id)
        if new:
            self._accepted()

    async def _over(self, missing: Iterable[tuple[IncidentId, str]]) -> list[tuple[IncidentId, str]]:
        """Of incidents and holds that the list doesn't show: those that are over."""
        by_hold: dict[str, list[IncidentId]] = defaultdict(list)
        for incident_id, hold_id in missing:
            by_hold[hold_id].append(incident_id)
        for forgotten in self._gone_since.keys() - by_hold.keys():
            del self._gone_since[forgotten]
        # Those that ETB doesn't know come last, so that the others have their turn.
        turn = sorted(by_hold, key=lambda one: (self._gone_since.get(one, 0.0), one))
        found = []
        for hold_id in turn[:_MOST_ASKED]:
            kept = await self._kept_by(hold_id)
            found += [(one, hold_id) for one in by_hold[hold_id] if kept is not None and one not in kept]
        return found

    async def _kept_by(self, hold_id: str) -> frozenset[IncidentId] | None:
        """The incidents that a hold keeps; None where nobody knows."""
        path = self._modules.paths.below("compliance.legal_holds", hold_id)
        try:
            return self._kept(await self._client.get_object(path)) or frozenset()
        except Unreadable as error:
            raise Refused(f"ETB's answer to GET {path}: {error}", code="shape") from None
        except Refused as no:
            if no.code != _GONE:
                raise
        now_s = self._clock.monotonic()
        is_gone = now_s - self._gone_since.setdefault(hold_id, now_s) >= _GONE_AFTER_S
        return frozenset() if is_gone else None

    async def _accept(self, known: Mapping[IncidentId, LegalHold], standing: Mapping[IncidentId, set[str]]) -> int:
        """Accept of which incidents the holds are others now; answers how many they are."""
        before = {incident_id: entry.holds for incident_id, entry in known.items()}
        after = {incident_id: tuple(sorted(holds)) for incident_id, holds in standing.items()}
        arrivals = []
        async with self._store.view() as view:
            for incident_id, holds in after.items():
                if holds == before.get(incident_id, ()):
                    continue
                entry = await view.cases.get(war_room_id(incident_id), LegalHold, HOLD)
                # Numbered, since each may come back; the same until it is decided.
                change = str(entry.changes if entry else 0)
                key = short_hash("holds", incident_id, change, *holds)
                payload = self._encode_fact(HoldsSeen(incident_id=incident_id, holds=holds))
                arrivals.append(Arrival(source="own", lane=incident_id, key=key, payload=payload))
        if not arrivals:
            return 0
        async with self._store.work() as work:
            new = await work.inbox.accept(arrivals)
        if new:
            self._accepted()
        return len(arrivals)
