"""The watch over people who are in rooms: whether ETB still says of them what it said (docs/etb-contract.md 10.3).

    who is in rooms ──► few of ETB's pages hold all of its users? ─yes─► the list ──► who isn't in it, by name
                                                                 └─no──► by name, in turn, so many at each poll
    differs from our copy, or confirmed a while ago ──► UsersSeen, one commit

ETB tells nobody when a clearance or an account changes, so this is how a withdrawal reaches the rooms. At most
`most` questions are asked at each look; where that isn't enough, everybody is looked at once in so many looks.
Must never take an empty or cut list for the absence of anybody: who is missing in it is asked for by name.
"""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.facts import Fact, RightsDoubted, Troubled, UsersSeen
from etb_appservice.domain.ids import Username, new_id, short_hash
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.domain.text import some_of
from etb_appservice.etb import fields, parse
from etb_appservice.etb.client import PAGE_SIZE, EtbClient
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.wire import Unreadable
from etb_appservice.ports import Arrival, Clock, EtbReads, Store

_log = structlog.get_logger(__name__)

USERS_LANE = "users"
_CONFIRM_AGAIN_MS = 240_000
"""How old a confirmation may get; commands ask ETB themselves after five minutes."""
_FRESH_MS = 300_000

PeopleInside = Callable[[], Awaitable[Sequence[Username]]]
"""ETB's names of everybody who is in the room of an incident, or invited to it."""


class PeopleWatch:
    """Call `look` at each poll. `hold_s`: how long ETB's word on a person holds while ETB is away."""

    def __init__(
        self,
        *,
        client: EtbClient,
        modules: Modules,
        reads: EtbReads,
        store: Store,
        clock: Clock,
        encode_fact: Callable[[Fact], bytes],
        inside: PeopleInside,
        most: int = 20,
        hold_s: float = 24 * 3600.0,
        accepted: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._modules = modules
        self._reads = reads
        self._store = store
        self._clock = clock
        self._encode_fact = encode_fact
        self._inside = inside
        self._most = most
        self._hold_ms = round(hold_s * 1000)
        self._accepted = accepted
        self._pages = 0
        """How many pages ETB's list of users had when it was read last; 0: not read yet."""
        self._next: Username | None = None
        """Whose turn it is where not everybody is looked at each time."""
        self._refused_ms: int | None = None

    async def look(self) -> int:
        """Look at people, and accept what is news; answers how many were asked for. Raises Later or Refused."""
        names = sorted(await self._inside())
        if not names:
            return 0
        try:
            seen = await self._ask(names)
        except Failure as failure:
            await self._unanswered(names, failure)
            raise
        self._refused_ms = None
        async with self._store.view() as view:
            copies = await view.incidents.users(list(seen))
        old_ms = self._clock.now_ms() - _CONFIRM_AGAIN_MS
        news = tuple(
            user
            for name, user in seen.items()
            if name not in copies or copies[name][0] != user or copies[name][1] < old_ms
        )
        if news:
            await self._accept(UsersSeen(users=news), USERS_LANE, new_id(self._clock.now_ms()))
        return len(seen)

    async def _ask(self, names: Sequence[Username]) -> dict[Username, EtbUser]:
        seen: dict[Username, EtbUser] = {}
        left = self._most
        if self._pages <= min(self._most // 2, len(names)):
            seen, asked = await self._listed(frozenset(names), self._most // 2 or 1)
            left -= asked
        missing = [name for name in names if name not in seen]
        start = next((at for at, name in enumerate(missing) if self._next and name >= self._next), 0)
        turn = [*missing[start:], *missing[:start]]
        for name in turn[:left]:
            user = await self._reads.user(name)
            # Whom ETB knows no longer is nobody from now on.
            seen[name] = user or EtbUser(name, name, Classification.PUBLIC, is_active=False)
        self._next = turn[left] if len(turn) > left else None
        return seen

    async def _listed(self, wanted: frozenset[Username], most: int) -> tuple[dict[Username, EtbUser], int]:
        """Those who stand on the first pages of ETB's list, and how many pages that were."""
        path = self._modules.paths.path("security.users")
        if self._modules.is_off("security"):
            raise Refused("ETB's module security is not available: see `check`, or set etb.paths", code="off")
        seen: dict[Username, EtbUser] = {}
        pages = 0
        is_all = True
        async for rows in self._client.pages(path, {"ordering": "username"}):
            pages += 1
            for row in rows:
                if row.get("username") in wanted:
                    try:
                        user = parse.user(row)
                    except Unreadable as error:
                        _log.warning("etb shows a user that can't be read", reason=str(error))
                        continue
                    seen[user.username] = user
            if pages >= most or seen.keys() == wanted:
                is_all = seen.keys() == wanted or len(rows) < PAGE_SIZE
                break
        # A list that is too long for us is not read again: then it is cheaper to ask by name.
        self._pages = pages if is_all else self._most
        return seen, pages

    async def _unanswered(self, names: Sequence[Username], failure: Failure) -> None:
        """ETB didn't say: what it said before holds for a while, unless it is our token that it refuses."""
        now_ms = self._clock.now_ms()
        if isinstance(failure, Refused) and failure.code == "401":
            self._refused_ms = self._refused_ms or now_ms
            fact = RightsDoubted(before_ms=now_ms - _FRESH_MS, since_ms=self._refused_ms)
            await self._accept(fact, USERS_LANE, new_id(now_ms))
            return
        async with self._store.view() as view:
            copies = await view.incidents.users(names)
        outdated = sorted(name for name, (_, at_ms) in copies.items() if 0 < at_ms < now_ms - self._hold_ms)
        if not outdated:
            return
        since = min(copies[name][1] for name in outdated)
        shown = some_of([f"`{fields.clean(name)}`" for name in outdated])
        text = (
            f"ETB has not confirmed these people for {self._hold_ms // 3_600_000} hours: {shown}. Until it "
            "does they get no keys of incident rooms and no answers; nobody is removed for it."
        )
        await self._accept(Troubled(key=f"outdated/{since}", text=text), "service", f"outdated/{since}")

    async def _accept(self, fact: Fact, lane: str, key: str) -> None:
        arrival = Arrival(source="own", lane=lane, key=short_hash("people", key), payload=self._encode_fact(fact))
        async with self._store.work() as work:
            new = await work.inbox.accept([arrival])
        if new:
            self._accepted()
