"""The chat API in front of a house of the kit: the real frame and routes; ETB's profiles are in memory."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from etb_appservice.domain.facts import UsersSeen
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import CommandPolicy
from etb_appservice.flows.pace import Pace
from etb_appservice.gateway.asking import Asking
from etb_appservice.gateway.callers import Callers
from etb_appservice.gateway.doors import Doors
from etb_appservice.gateway.fileroom import FileRoom
from etb_appservice.gateway.frame import Frame, Public
from etb_appservice.gateway.gate import Gate
from etb_appservice.gateway.links import PREFIXES
from etb_appservice.gateway.routes import ROUTES
from etb_appservice.gateway.table import Route
from etb_appservice.gateway.tickets import OwnTickets
from etb_appservice.gateway.writing import WebDesk
from etb_appservice.render.pictures import PillowPictures
from etb_appservice.store.codec import FactJson
from tests.harness.house import House
from tests.harness.web import Signs

_USERS = uuid.UUID("00000000-0000-4000-8000-00000000e7b0")


def id_of(username: str) -> str:
    """ETB's id of somebody."""
    return str(uuid.uuid5(_USERS, username))


def token_of(username: str) -> str:
    """Their token."""
    return f"token-of-{username}"


@dataclass
class FakeProfiles:
    """`ports.Profiles`, over the users of `FakeEtb`. Set `trouble` to have every call raise it."""

    house: House
    revoked: set[str] = field(default_factory=set)
    trouble: Failure | None = None
    asked: int = 0

    async def whose(self, token: str) -> EtbUser | None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        name = Username(token.removeprefix("token-of-"))
        user = self.house.etb.users.get(name)
        if user is None or not token.startswith("token-of-") or name in self.revoked or not user.is_active:
            return None
        return replace(user, id=id_of(name), roles=())


@dataclass
class Answered:
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str]
    raw: bytes


@dataclass
class Api:
    """`await api.get("alice", "war-rooms/")`."""

    house: House
    client: TestClient[Any, Any]
    profiles: FakeProfiles
    frame: Frame
    counted: list[tuple[str, int]]
    working: list[asyncio.Task[None]]
    """What the house is doing for callers; nothing any more when a call has answered."""
    prefix: str = PREFIXES[0]

    async def call(
        self, method: str, who: str | None, path: str, /, *, headers: dict[str, str] | None = None, **more: Any
    ) -> Answered:
        """One request by somebody; `path` below the prefix, or from the root."""
        sent = {} if who is None else {"Authorization": f"Token {token_of(who)}"}
        where = path if path.startswith("/") else self.prefix + path
        async with self.client.request(
            method, where, headers={**sent, **(headers or {})}, allow_redirects=False, **more
        ) as answer:
            raw = await answer.read()
            await asyncio.gather(*self.working)
            is_json = raw and answer.content_type == "application/json"
            return Answered(answer.status, await answer.json() if is_json else None, dict(answer.headers), raw)

    async def get(self, who: str | None, path: str, **params: str | int) -> Answered:
        return await self.call("GET", who, path, params=params)

    async def post(self, who: str | None, path: str, body: Any = None, **more: Any) -> Answered:
        return await self.call("POST", who, path, **({} if body is None else {"json": body}), **more)


@asynccontextmanager
async def api_of(
    house: House,
    *,
    public: Public | None = None,
    per_minute: int = 100_000,
    burst: int = 10_000,
    cache_s: float = 60.0,
    wait_s: float = 15.0,
    routes: Sequence[Route] = ROUTES,
) -> AsyncIterator[Api]:
    """Serve it on a free port of loopback."""
    profiles = FakeProfiles(house)
    counted: list[tuple[str, int]] = []
    policy = house.policy

    def user_id(username: Username) -> UserId | None:
        return policy.people.user_id(username) or policy.ghosts.user_id(username)

    async def learn(user: EtbUser) -> None:
        await house.own(UsersSeen(users=(user,)), lane="users")

    def count(route: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        counted.append((route, status))

    working: list[asyncio.Task[None]] = []
    turn = asyncio.Lock()

    def wake(lanes: Sequence[str]) -> None:
        assert lanes
        working.append(asyncio.create_task(settle()))

    async def settle() -> None:
        async with turn:
            await house.settle()

    asking = Asking(house.db, FactJson(), wake, wait_s=wait_s)
    house.verdict = asking.tell
    desk = WebDesk(
        store=house.db,
        codec=FactJson(),
        policy=policy,
        clock=house.clock,
        waiting=house.waiting,
        wake=wake,
        broadcast=house.news,
        signals=Signs(),
        patience_s=wait_s,
    )
    frame = Frame(
        gate=Gate(
            store=house.db,
            policy=policy,
            clock=house.clock,
            etb=house.etb,
            doors=Doors(house.db, policy),
            asking=asking,
            desk=desk,
            files=FileRoom(media=house.media, pictures=PillowPictures(), places=policy.files.at_once),
        ),
        callers=Callers(
            profiles, house.etb, house.db, policy, house.clock, user_id=user_id, learn=learn, cache_s=cache_s
        ),
        tickets=OwnTickets(house.clock),
        routes=routes,
        public=public or Public(),
        pace=Pace(CommandPolicy(per_minute=per_minute, burst=burst)),
        per_minute=per_minute,
        count=count,
    )
    app = web.Application()
    frame.mount(app)
    async with TestClient(TestServer(app)) as client:
        yield Api(house, client, profiles, frame, counted, working)
