"""What can't go on ends at once: the process is gone with a status and a word, and its ports are free.

A process that lingered (a database driver's threads can keep one) would keep its listening socket, and the
homeserver would wait for answers that never come.
"""

import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.harness.sandbox import Sandbox
from tests.harness.scene import Scene
from tests.harness.service import Service
from tests.harness.synapse import Slot, Synapse

ENDS_WITHIN_S = 20
CRYPTO = "etb-crypto.db"


@pytest.fixture(scope="module")
async def kept_scene(
    tmp_path_factory: pytest.TempPathFactory, synapse: Synapse, take_slot: Callable[[], Slot], etb: Sandbox
) -> AsyncIterator[Scene]:
    async with Scene.open(tmp_path_factory.mktemp("service"), synapse, take_slot(), etb) as scene:
        await scene.room_of("control")
        yield scene


@pytest.fixture
async def scene(kept_scene: Scene) -> Scene:
    """The module's service, running."""
    child = kept_scene.service.child
    if child is None or not child.running:
        await kept_scene.service.run()
    return kept_scene


async def said_at_its_end(service: Service) -> str:
    """Wait for a failure's end; the last line it wrote."""
    assert service.child is not None
    assert await service.child.wait(timeout=ENDS_WITHIN_S) == 1
    for port in (service.slot.port, service.public_port):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            probe.listen()
    return service.child.output().strip().splitlines()[-1]


@contextmanager
def spoilt(database: Path, table: str) -> Iterator[None]:
    """A table is gone, for a while."""
    rename(database, table, "gone")
    try:
        yield
    finally:
        rename(database, "gone", table)


def rename(database: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.commit()


async def test_a_database_that_fails_ends_the_service_and_nothing_is_lost(scene: Scene) -> None:
    with spoilt(scene.service.folder / "etb.db", "inbox"):
        incident = await scene.etb.declare(title="While it was broken", reporter="alice")
        last = await said_at_its_end(scene.service)
    assert "the database failed" in last
    assert "inbox" in last
    await scene.service.run()
    assert await scene.room_of(incident)


async def test_a_crypto_database_that_fails_ends_the_service(scene: Scene) -> None:
    operator, room = await scene.operator()
    with spoilt(scene.service.folder / CRYPTO, "etb_to_device_seen"):
        asked = await operator.send(room, "!help")
        last = await said_at_its_end(scene.service)
    assert "the crypto database failed" in last
    assert "etb_to_device_seen" in last
    await scene.service.run()
    await operator.wait_for(room=room, sender=scene.bot, reply_to=asked)


async def test_an_address_in_use_is_named_with_its_setting(scene: Scene) -> None:
    await scene.service.stop()
    with closing(socket.socket()) as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", scene.service.public_port))
        thief.listen()
        await scene.service.run(ready=False)
        assert scene.service.child is not None
        assert await scene.service.child.wait(timeout=ENDS_WITHIN_S) == 1
        assert f"gateway.listen 127.0.0.1:{scene.service.public_port}" in scene.service.child.output()


async def test_a_lost_crypto_store_is_refused_and_the_word_is_recover(scene: Scene) -> None:
    await scene.service.stop()
    for path in scene.service.folder.glob(f"{CRYPTO}*"):
        path.unlink()
    await scene.service.run(ready=False)
    last = await said_at_its_end(scene.service)
    assert "is empty" in last
    assert "etb-appservice recover" in last
