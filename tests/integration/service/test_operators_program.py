"""The program as an operator uses it, on both databases: setup, check, recovery, and the service itself."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.harness.etb_parts import ScriptedEtb
from tests.harness.postgres import Postgres
from tests.harness.sandbox import Sandbox
from tests.harness.scene import eventually
from tests.harness.service import Service
from tests.harness.stage import OpenScene
from tests.harness.synapse import Slot, Synapse
from tests.integration.service.test_chat_api import web as pages


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed; never a traceback."""
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    return text


async def well(service: Service, *arguments: str) -> str:
    """What a command printed that must succeed."""
    done = await service.cli(*arguments)
    assert done.returncode == 0, said(done)
    return said(done)


async def failed(service: Service, *arguments: str, status: int = 1) -> str:
    """What a command printed that must fail."""
    done = await service.cli(*arguments)
    assert done.returncode == status, said(done)
    return said(done)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, postgres: Postgres) -> str:
    """The url of an empty database of either kind."""
    return await postgres.fresh_database() if request.param == "postgresql" else "sqlite:///etb.db"


async def lose_crypto_store(service: Service) -> None:
    """What is left when only the main database was saved."""
    url = service.settings()["database"]["url"]
    if url.startswith("sqlite"):
        lost = list(service.folder.glob("etb-crypto.db*"))
        assert lost
        for path in lost:
            path.unlink()
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP SCHEMA crypto CASCADE")
    finally:
        await connection.close()


async def test_setup_twice_then_the_main_job(open_scene: OpenScene, database: str) -> None:
    scene = await open_scene(run=False, database=database)
    await scene.account("alice", "bob", "carol")
    first = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    second = await scene.etb.declare(title="Search is stale", reporter="alice")
    closed = await scene.etb.declare(title="Long over", reporter="alice")
    await scene.etb.patch(closed["id"], status="CLOSED")
    service = scene.service
    for _ in range(2):
        text = await well(service, "setup", "--create-bots", "--create-war-rooms")
        assert re.search(r"bots: 4\b", text), text
        assert re.search(r"rooms: 2\b", text), text
        shown = re.findall(r"^  (\S+)  [A-Z_]+$", text, re.MULTILINE)
    rooms = [await scene.room_of(incident) for incident in (first, second)]
    aliases = scene.synapse.query(
        "SELECT room_alias FROM room_aliases WHERE room_alias LIKE ?", f"#{scene.slot.alias_prefix}%"
    )
    names = ("control", "incidents")
    assert {row[0] for row in aliases} == {scene.alias(one) for one in (first, second, *names)}
    await service.run()
    async with pages(scene) as page:
        assert [one["id"] for one in (await page.get("bob", "chat-bots/"))["results"]] == shown
    alice, room = await scene.enter("alice", first)
    assert room == rooms[0]
    card = await scene.card(alice, room)
    assert (await alice.shield(room, card.event_id)).clean
    assert first["incident_number"] in (await scene.ask(alice, room, "!status")).body
    text = await well(service, "setup", "--create-war-rooms")
    assert re.search(r"rooms: 2\b", text), text
    text = await well(service, "check")
    assert "✗" not in text
    for part in ("settings", "database", "transactions", "etb incidents"):
        assert part in text, text
    await service.stop()
    await service.run()
    operator, control = await scene.operator()
    assert "All is well" in (await scene.ask(operator, control, "!health")).body
    await scene.ask(alice, room, "!status")
    await well(service, "db", "upgrade")
    scene.assert_quiet()


async def test_what_was_sent_while_the_service_was_away_is_answered_once(
    open_scene: OpenScene, database: str
) -> None:
    scene = await open_scene(database=database)
    await scene.account("alice")
    await scene.person("alice")
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.ask(alice, room, "!status")
    device = await alice.devices(scene.bot)
    await scene.service.stop()
    sent = [await alice.send(room, "!status") for _ in range(3)]
    await scene.etb.patch(incident["id"], severity="CRITICAL")
    await scene.service.run()
    for event_id in sent:
        await alice.wait_for(room=room, sender=scene.bot, reply_to=event_id, timeout=45)
    await scene.card(alice, room, body="CRITICAL")
    await scene.ask(alice, room, "!help")
    for event_id in sent:
        assert len(await scene.answers(alice, room, event_id)) == 1
    assert await alice.devices(scene.bot) == device
    scene.assert_quiet()


async def test_a_lost_crypto_store_is_refused_and_recovered_under_the_same_identity(
    open_scene: OpenScene, database: str
) -> None:
    scene = await open_scene(database=database)
    service = scene.service
    await scene.account("alice")
    alice = await scene.person("alice")
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    room = await scene.join(alice, incident)
    card = await scene.card(alice, room)
    await scene.ask(alice, room, "!status")
    before = await alice.devices(scene.bot)
    key = await well(service, "recovery-key")
    assert re.search(r"\bEs[\w ]{40,}", key), key
    await failed(service, "recovery-key")
    assert "another" in (await failed(service, "recover")).lower()
    scene.assert_quiet()
    await service.stop()
    await lose_crypto_store(service)
    await well(service, "db", "upgrade")
    assert "recover" in await failed(service, "run")
    missed = await alice.send(room, "!status")
    assert "new device" in await well(service, "recover")
    await service.run()
    answer = await scene.ask(alice, room, "!help")
    assert (await alice.shield(room, answer.event_id)).clean
    after = await alice.devices(scene.bot)
    assert not after.identity_changed
    assert len(after.devices) == 1
    assert after.devices[0].signed_by_owner
    assert after.devices[0].device_id != before.devices[0].device_id
    await scene.etb.patch(incident["id"], severity="CRITICAL")
    assert (await scene.card(alice, room, body="CRITICAL")).event_id == card.event_id
    assert len(await scene.answers(alice, room, missed)) <= 1
    assert scene.slot.as_token not in service.log()


async def test_a_recovery_lists_what_can_not_be_read(open_scene: OpenScene) -> None:
    scene = await open_scene(encryption={"tell_after_s": 1})
    await scene.account("alice", "carol")
    incident = await scene.etb.declare(title="Cache is cold", reporter="alice", assignee="carol")
    quiet = await scene.etb.declare(title="All of it is read", reporter="alice")
    alice, carol = await scene.person("alice"), await scene.person("carol")
    room = await scene.join(alice, incident)
    await scene.join(carol, incident)
    other = await scene.join(alice, quiet)
    await scene.ask(alice, other, "!status")
    for person in (alice, carol):
        await person.hold_keys()
        for text in ("!status", "one more with the same key"):
            await person.send(room, text)

    async def both_are_told() -> bool:
        said = [one.body for one in await alice.timeline(room, last=200) if "can't read" in one.body]
        return all(any(person.user_id in body for body in said) for person in (alice, carol))

    await eventually(both_are_told, "a word about the messages of both")
    await scene.service.stop()
    await lose_crypto_store(scene.service)
    await well(scene.service, "db", "upgrade")
    text = " ".join((await well(scene.service, "recover")).split())
    assert re.search(rf"{re.escape(room)}: messages of 2 sessions wait for a key", text), text
    assert other not in text


@pytest.fixture
async def aside() -> AsyncIterator[AsyncExitStack]:
    """What a test starts beside its scene, and what ends with it."""
    async with AsyncExitStack() as stack:
        yield stack


async def test_check_says_what_is_wrong_and_what_to_do(open_scene: OpenScene, aside: AsyncExitStack) -> None:
    scene = await open_scene()
    service = scene.service
    good = service.settings()
    assert "✗" not in await well(service, "check")
    nowhere = await aside.enter_async_context(ScriptedEtb())  # answers 404 everywhere
    faults: list[tuple[dict[str, Any], int, tuple[str, ...]]] = [
        ({"appservice": {"as_token": "wrong-token-wrong"}}, 1, ("as_token",)),
        ({"homeserver": {"url": "http://127.0.0.1:9"}}, 1, ("homeserver",)),
        ({"etb": {"token": "wrong-token-wrong"}}, 1, ("etb", "token")),
        ({"etb": {"base_url": "http://127.0.0.1:9"}}, 1, ("etb",)),
        (
            {"etb": {"base_url": nowhere.url}},
            1,
            ("✗ etb incidents", "✗ etb security", "etb.paths.incidents.list", "etb.base_url", "✓ etb analytics"),
        ),
        ({"rooms": {"alias_prefix": "elsewhere_"}}, 1, ("namespaces.aliases", "rooms.alias_prefix")),
        ({"bot": {"localpart": "somebody-else"}}, 1, ("namespaces.users",)),
        ({"database": {"url": "sqlite:///new.db"}}, 1, ("db upgrade",)),
        ({"encryption": {"key": "AAAA"}}, 2, ("encryption.key", "32 bytes")),
        ({"rooms": {"colour": "red"}}, 2, ("rooms.colour",)),
        ({"etb": {"poll_interval_s": "often"}}, 2, ("poll_interval_s",)),
    ]
    # Side by side: most of the time of a command is its start.
    for number, (change, _, _) in enumerate(faults):
        service.copy(f"fault{number}.yaml", **change)
    done = await asyncio.gather(
        *(service.cli("check", config=f"fault{number}.yaml") for number in range(len(faults)))
    )
    for (change, status, words), one in zip(faults, done, strict=True):
        text = said(one)
        assert one.returncode == status, (change, text)
        for word in words:
            assert word in text, (change, text)
        assert "wrong-token-wrong" not in text
    service.change(database={"url": "sqlite:////nowhere/at/all.db"})
    assert "/nowhere" in await failed(service, "db", "upgrade")
    service.write_settings(good)
    await service.stop()
    assert "✗" not in await well(service, "check")
    service.change(appservice={"hs_token": "wrong-token-wrong"})
    text = await failed(service, "check")
    assert "✗ transactions" in text
    assert "hs_token" in text
    service.write_settings(good)
    port = int(good["appservice"]["listen"].rpartition(":")[2])
    await aside.enter_async_context(TestServer(web.Application(), port=port))
    text = await failed(service, "check")
    assert f"✗ listener: appservice.listen 127.0.0.1:{port} can't be listened on" in text
    for part in ("✓ database", "✓ homeserver", "✗ transactions", "✓ etb incidents"):
        assert part in text, text
    scene.assert_quiet("wrong hs_token")


async def test_init_writes_what_check_accepts_and_never_overwrites(
    tmp_path: Path, synapse: Synapse, slot: Slot, running_sandbox: Sandbox
) -> None:
    token = tmp_path / "token"
    token.write_text(running_sandbox.token)
    token.chmod(0o600)
    service = Service(
        folder=tmp_path, config=tmp_path / "new" / "config.yaml", slot=slot, public_port=0, webhook_secret="",
        is_cold=True,
    )  # fmt: skip
    arguments = (
        "init", "--directory", str(tmp_path / "new"), "--homeserver", synapse.url, "--domain", "localhost",
        "--etb-url", running_sandbox.url, "--etb-token-file", str(token),
    )  # fmt: skip
    await well(service, *arguments)
    for name in ("config.yaml", "registration.yaml"):
        assert (tmp_path / "new" / name).stat().st_mode & 0o077 == 0
    before = service.config.read_text()
    await failed(service, *arguments, status=2)
    assert service.config.read_text() == before
    await well(service, "db", "upgrade")
    text = await failed(service, "check")
    assert "✓ database" in text, text
    assert "registration" in text, text
