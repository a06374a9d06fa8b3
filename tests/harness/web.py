"""Web users of a house of the kit: what they ask of the real desk is decided while they wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from etb_appservice.domain.ids import EventId, RoomId, Username, new_id, war_room_id
from etb_appservice.gateway.callers import Caller
from etb_appservice.gateway.desk import Act, Draft, Order
from etb_appservice.gateway.writing import WebDesk
from etb_appservice.ports import Message
from etb_appservice.store.codec import FactJson
from tests.harness.cast import NO_1, etb_user
from tests.harness.house import House

T = TypeVar("T")


@dataclass
class Signs:
    """`ports.Signals`."""

    typed: list[tuple[Username, bool]] = field(default_factory=list)
    read: list[tuple[Username, EventId]] = field(default_factory=list)

    async def typing(self, room_id: RoomId, username: Username, *, is_typing: bool) -> None:
        assert room_id
        self.typed.append((username, is_typing))

    async def read_up_to(self, room_id: RoomId, username: Username, event_id: EventId) -> None:
        assert room_id
        self.read.append((username, event_id))


@dataclass
class WebUser:
    """`await WebUser(house, "alice").post("Hello")`; answers when it is decided, and the house is at rest."""

    house: House
    name: str
    signs: Signs = field(default_factory=Signs)
    war_room = war_room_id(NO_1)
    patience_s: float = 15.0

    @property
    def caller(self) -> Caller:
        """As ETB has just confirmed them."""
        name = Username(self.name)
        ghost = self.house.policy.ghosts.user_id(name)
        user_id = self.house.policy.people.user_id(name) or ghost
        assert user_id is not None
        user = self.house.etb.users.get(name) or etb_user(self.name)
        return Caller(user=user, user_id=user_id, confirmed_ms=self.house.clock.now_ms())

    def desk(self, wake: Callable[[Sequence[str]], None]) -> WebDesk:
        """On the house's present life."""
        return WebDesk(
            store=self.house.store,
            codec=FactJson(),
            policy=self.house.policy,
            clock=self.house.clock,
            waiting=self.house.waiting,
            wake=wake,
            broadcast=self.house.news,
            signals=self.signs,
            patience_s=self.patience_s,
        )

    def act(self, key: str = "") -> Act:
        """A new one."""
        return Act(new_id(self.house.clock.now_ms()), key)

    async def through(self, call: Callable[[WebDesk], Awaitable[T]], *, settles: bool = True) -> T:
        """Ask, let the house work, and answer what came back."""
        woken = asyncio.Event()
        asked = asyncio.ensure_future(call(self.desk(lambda _: woken.set())))
        accepted = asyncio.ensure_future(woken.wait())
        await asyncio.wait({asked, accepted}, return_when=asyncio.FIRST_COMPLETED)
        accepted.cancel()
        if settles:
            await self.house.settle()
        return await asked

    async def post(self, content: str, key: str = "", **draft: Any) -> str:
        """The message's id."""
        what = Draft(content=content, **draft)
        return await self.through(lambda desk: desk.post(self.caller, self.war_room, self.act(key), what))

    async def edit(self, message_id: str, content: str) -> None:
        await self.through(lambda desk: desk.edit(self.caller, self.war_room, self.act(), message_id, content))

    async def delete(self, message_id: str) -> None:
        await self.through(lambda desk: desk.delete(self.caller, self.war_room, self.act(), message_id))

    async def react(self, message_id: str, emoji: str, *, is_added: bool = True) -> None:
        await self.through(
            lambda desk: desk.react(self.caller, self.war_room, self.act(), message_id, emoji, is_added=is_added)
        )

    async def pin(self, message_id: str, *, is_pinned: bool = True) -> None:
        await self.through(
            lambda desk: desk.pin(self.caller, self.war_room, self.act(), message_id, is_pinned=is_pinned)
        )

    async def run(self, text: str = "", *, message_id: str | None = None, key: str = "", **order: Any) -> str:
        """The id of its run."""
        what = Order(command_text=text, message_id=message_id, **order)
        return await self.through(lambda desk: desk.run(self.caller, self.war_room, self.act(key), what))

    async def message(self, message_id: str) -> Message:
        """As it stands."""
        async with self.house.db.view() as view:
            found = await view.messages.get(message_id)
        assert found is not None
        return found
