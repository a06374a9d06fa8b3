"""A house with the chat API in front of it. Its server listens on loopback."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.api import Api, api_of
from tests.harness.kit import House, fast_folder, house, logged, make_house

__all__ = ["fast_folder", "house", "logged", "make_house"]


@pytest.fixture
async def api(house: House) -> AsyncIterator[Api]:
    """In front of the usual house, in which nothing has happened yet."""
    async with api_of(house) as served:
        yield served
