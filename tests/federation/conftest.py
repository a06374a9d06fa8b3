"""Fixtures with scenes of the whole service, and three homeservers (`tests/harness/ground.py`) for the session."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.ground import Ground
from tests.harness.stage import etb, no_complaint, open_scene, running_sandbox, scene

__all__ = ["etb", "ground", "no_complaint", "open_scene", "running_sandbox", "scene"]


@pytest.fixture(scope="session")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """home, partner and other, with names of their own."""
    async with Ground.open(tmp_path_factory.mktemp("ground")) as ground:
        yield ground
