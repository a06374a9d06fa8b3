"""One sandbox for all tests here, put back to its first state before each."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.sandbox import Sandbox


@pytest.fixture(scope="session")
async def running_sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with await Sandbox.start(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
async def etb(running_sandbox: Sandbox) -> Sandbox:
    await running_sandbox.reset()
    return running_sandbox
