"""A house with the chat API in front of it, or with sockets. Their servers listen on loopback."""

from collections.abc import AsyncIterator

import pytest

from etb_appservice.domain.ids import WarRoomId
from tests.harness.api import Api, api_of
from tests.harness.house import House
from tests.harness.kit import fast_folder, house, logged, make_house
from tests.harness.sockets import Scene, scene

__all__ = ["fast_folder", "house", "logged", "make_house"]


@pytest.fixture
async def api(house: House) -> AsyncIterator[Api]:
    """In front of the usual house, in which nothing has happened yet."""
    async with api_of(house) as served:
        yield served


@pytest.fixture
async def opened(house: House) -> House:
    """INC-1 has its room: alice has reported it, bob has it, carol has nothing to do with it."""
    await house.open_for_alice()
    return house


@pytest.fixture
async def here(opened: House) -> AsyncIterator[Scene]:
    async with scene(opened.store, opened.policy, opened.clock) as stand:
        yield stand


@pytest.fixture
async def war_room(opened: House) -> WarRoomId:
    return (await opened.room()).war_room
