"""Fixtures with scenes, for folders whose conftest imports them. One sandbox for all, emptied for each module."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.harness.sandbox import Sandbox
from tests.harness.scene import Scene
from tests.harness.synapse import Slot, Synapse


@pytest.fixture(scope="session")
async def running_sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with await Sandbox.start(tmp_path_factory.mktemp("etb"), incidents=False) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
async def etb(running_sandbox: Sandbox) -> Sandbox:
    """An ETB with people and rules, and no incident yet."""
    await running_sandbox.reset(incidents=False)
    return running_sandbox


@pytest.fixture(scope="module")
async def scene(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    synapse: Synapse,
    take_slot: Callable[[], Slot],
    etb: Sandbox,
) -> AsyncIterator[Scene]:
    """The module's own running service; what the module names `SECTIONS` is laid over its configuration."""
    sections = getattr(request.module, "SECTIONS", {})
    async with Scene.open(tmp_path_factory.mktemp("service"), synapse, take_slot(), etb, **sections) as scene:
        yield scene


@pytest.fixture(autouse=True)
def no_complaint(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test on the module's service fails when the service complained; the mark `complaints` says what may be."""
    yield
    if "scene" in request.fixturenames:
        allowed = [text for mark in request.node.iter_markers("complaints") for text in mark.args]
        scene: Scene = request.getfixturevalue("scene")
        scene.assert_quiet(*allowed)


OpenScene = Callable[..., Awaitable[Scene]]


@pytest.fixture
async def open_scene(
    tmp_path: Path, synapse: Synapse, take_slot: Callable[[], Slot], running_sandbox: Sandbox
) -> AsyncIterator[OpenScene]:
    """`await open_scene(rooms={"version": "10"})`: a service of the test's own on an emptied ETB."""
    async with AsyncExitStack() as stack:
        numbers = itertools.count(1)

        async def make(**options: Any) -> Scene:
            await running_sandbox.reset(incidents=False)
            given = {"synapse": synapse, "slot": None, **options}
            slot = given.pop("slot") or take_slot()
            folder = tmp_path / f"service{next(numbers)}"
            homeserver = given.pop("synapse")
            return await stack.enter_async_context(Scene.open(folder, homeserver, slot, running_sandbox, **given))

        yield make
