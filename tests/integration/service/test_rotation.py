"""Every secret is replaced while messages flow: nothing is lost, nothing is done twice, nobody signs in again."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from tests.harness.jsclient import JsClient
from tests.harness.sandbox import Sandbox
from tests.harness.scene import Scene, eventually

AWAY = r"sync failed|can't be reached|not reached|homeserver"
REFUSED = r"wrong hs_token"
SECRETS = ("hs-token", "as-token", "webhook-secret", "encryption-key", "recovery-key")
SECRET_VALUE = re.compile(r'"((?:whsec_)?[\w+/=-]{43,})"')
RECOVERY_KEY = re.compile(r"\bEs[\w ]{40,}")
EVER: set[str] = set()
"""Every secret that the service has had."""


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, running_sandbox: Sandbox) -> AsyncIterator[Scene]:
    """A scene with a homeserver of its own, that may be restarted."""
    async with Scene.alone(tmp_path_factory.mktemp("rotation"), running_sandbox) as scene:
        yield scene


@pytest.fixture(scope="module")
async def talk(scene: Scene) -> tuple[JsClient, str]:
    """Alice in an incident's room."""
    await scene.account("alice")
    await scene.person("alice")
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.operator()
    await scene.card(alice, room)
    return alice, room


@asynccontextmanager
async def talking(scene: Scene, alice: JsClient, room: str) -> AsyncIterator[None]:
    """Commands flow meanwhile; at the end each has exactly one answer."""
    sent: list[str] = []
    is_over = asyncio.Event()

    async def talk() -> None:
        while not is_over.is_set():
            # A client keeps what its homeserver could not take, and so does this one by asking again.
            with suppress(Exception):
                sent.append(await alice.send(room, "!status"))
            with suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), 0.8)

    talker = asyncio.create_task(talk())
    try:
        yield
    finally:
        is_over.set()
        await talker
    assert len(sent) > 1

    async def all_answered() -> bool:
        return set(sent) <= set(answers_of(scene, room))

    await eventually(all_answered, "an answer to every command", timeout=60)
    await scene.ask(alice, room, "!help")
    answers = answers_of(scene, room)
    assert [answers.count(event_id) for event_id in sent] == [1] * len(sent)


def answers_of(scene: Scene, room: str) -> list[str]:
    """The commands to which the bot has replied, by what the homeserver stores: the relation isn't encrypted."""
    return [
        event["content"].get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id", "")
        for event in scene.synapse.stored_events(room)
        if event["sender"] == scene.bot
    ]


async def until_one_more_is_answered(scene: Scene, alice: JsClient, room: str) -> None:
    """By what the homeserver stores: a client that was cut off skips what a busy room said meanwhile."""
    sent = await alice.send(room, "!help")

    async def look() -> bool:
        return sent in answers_of(scene, room)

    await eventually(look, "an answer", timeout=45)


async def rotate(scene: Scene, what: str, *more: str) -> str:
    """Run the command; it shows no secret, old or new."""
    before = json.dumps(scene.service.settings())
    EVER.update(SECRET_VALUE.findall(before))
    registration = ("--registration", str(scene.slot.registration_path)) if what.endswith("-token") else ()
    done = await scene.service.cli("rotate", what, *registration, *more)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    for value in SECRET_VALUE.findall(before + json.dumps(scene.service.settings())):
        assert value not in said
    return said


async def hs_status(scene: Scene, token: str) -> int:
    """How the service answers a homeserver with this token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{scene.service.url}/_matrix/app/v1/ping", json={}) as response,
    ):
        return response.status


async def until_answered(scene: Scene, token: str, status: int) -> None:
    async def look() -> bool:
        return await hs_status(scene, token) == status

    await eventually(look, f"an answer {status}", timeout=60)


def token(scene: Scene, name: str) -> str:
    return str(scene.service.settings()["appservice"][name])


@pytest.mark.complaints(AWAY, REFUSED)
async def test_the_hs_token_is_rotated_while_messages_flow(scene: Scene, talk: tuple[JsClient, str]) -> None:
    alice, room = talk
    old = token(scene, "hs_token")
    async with talking(scene, alice, room):
        await rotate(scene, "hs-token", "--overlap", "0.01")
        new = token(scene, "hs_token")
        assert new != old
        await until_answered(scene, new, 200)
        assert await hs_status(scene, old) == 200
        await scene.service.stop()
        await scene.service.run()
        assert [await hs_status(scene, one) for one in (old, new, "x" * 64)] == [200, 200, 403]
        await scene.synapse.restart()
        await until_answered(scene, old, 403)
        assert await hs_status(scene, new) == 200
    await until_told(scene, "hs_token was rotated")
    await until_told(scene, "only the new hs_token")


async def until_told(scene: Scene, words: str) -> None:
    """Wait until the control room reads these words."""
    operator, control = await scene.operator()

    async def look() -> bool:
        await operator.scrollback(control)  # what came while the homeserver was away may have been skipped
        said = [one.body.replace("*", "") for one in await operator.timeline(control, last=200)]
        return any(words in one for one in said)

    await eventually(look, f"the control room to read: {words}", timeout=90)


@pytest.mark.complaints(AWAY)
async def test_the_as_token_is_rotated_while_messages_flow(scene: Scene, talk: tuple[JsClient, str]) -> None:
    alice, room = talk
    old = token(scene, "as_token")
    async with talking(scene, alice, room):
        await rotate(scene, "as-token", "--overlap", "0")
        new = token(scene, "as_token")
        assert new != old
        await until_one_more_is_answered(scene, alice, room)
        await scene.synapse.restart()
        scene.slot = replace(scene.slot, as_token=new)
        await until_one_more_is_answered(scene, alice, room)
    await until_told(scene, "only the new as_token")
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {old}"}) as http,
        http.get(f"{scene.synapse.url}/_matrix/client/v3/account/whoami") as response,
    ):
        assert response.status == 401
    done = await scene.service.cli("check")
    assert done.returncode == 0, done.stdout


async def push(scene: Scene, secret: str, incident: Mapping[str, Any]) -> int:
    """Send a webhook that is signed with `secret`; how it is answered."""
    body = json.dumps({"event": "incident.updated", "incident": incident}).encode()
    name, stamp = f"msg_{uuid.uuid4().hex}", str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": name,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(scene.service.webhook_url, data=body) as response,
    ):
        return response.status


async def test_the_webhook_secret_is_rotated_while_messages_flow(scene: Scene, talk: tuple[JsClient, str]) -> None:
    alice, room = talk
    incident = await scene.etb.declare(title="Search is stale", reporter="alice")
    old = scene.service.webhook_secret
    async with talking(scene, alice, room):
        await rotate(scene, "webhook-secret", "--overlap", "0.002")
        new = scene.service.settings()["webhook"]["secrets"][0]

        async def taken() -> bool:
            return await push(scene, new, incident) == 200

        await eventually(taken, "the new secret to be taken")
        assert await push(scene, old, incident) == 200

        async def over() -> bool:
            return await push(scene, old, incident) == 401

        await eventually(over, "the end of the overlap")
        assert await push(scene, new, incident) == 200
        await scene.service.stop()
        await scene.service.run()
        assert [await push(scene, one, incident) for one in (old, new)] == [401, 200]


async def test_the_encryption_key_is_rotated_while_messages_flow(scene: Scene, talk: tuple[JsClient, str]) -> None:
    alice, room = talk
    old = scene.service.settings()["encryption"]["key"]
    async with talking(scene, alice, room):
        said = await rotate(scene, "encryption-key", "--overlap", "0.005")
        assert "encryption.key" in said
        new = scene.service.settings()["encryption"]["key"]
        assert new != old
        # A room that is met only now: its key is the first that the new one wraps.
        incident = await scene.etb.declare(title="Cache is cold", reporter="alice")
        other = await scene.join(alice, incident)
        await scene.ask(alice, other, "!status")
        scene.service.copy("former.yaml", encryption={"key": old})
        done = await scene.service.cli("check", config="former.yaml")
        assert "former" in done.stdout + done.stderr
        assert done.returncode == 1
        await scene.service.stop()
        await scene.service.run()
        await scene.ask(alice, other, "!status")
        await until_told(scene, "only the new encryption_key")
        done = await scene.service.cli("check", config="former.yaml")
        assert "is a former one: it was replaced on" in done.stdout + done.stderr
    await until_told(scene, "encryption_key was rotated")


async def test_the_recovery_key_is_rotated_while_messages_flow(scene: Scene, talk: tuple[JsClient, str]) -> None:
    alice, room = talk
    first = RECOVERY_KEY.search((await scene.service.cli("recovery-key")).stdout)
    before = await alice.devices(scene.bot)
    async with talking(scene, alice, room):
        second = RECOVERY_KEY.search(await rotate(scene, "recovery-key", "--overlap", "24"))
        third = RECOVERY_KEY.search(await rotate(scene, "recovery-key", "--overlap", "0"))
    assert first
    assert second
    assert third
    assert len({one[0] for one in (first, second, third)}) == 3
    after = await alice.devices(scene.bot)
    assert not after.identity_changed
    assert after == before
    assert (await scene.service.cli("recovery-key")).returncode == 1, "shown once"
    EVER.update(one[0] for one in (first, second, third))


async def test_no_secret_that_was_ever_used_is_written_in_the_clear(scene: Scene) -> None:
    """The last test here: all rotations have run."""
    config = scene.service.settings()
    ever = {
        *EVER,
        *(config["appservice"][name] for name in ("as_token", "hs_token")),
        *config["webhook"]["secrets"],
        config["encryption"]["key"],
    }
    assert len(ever) > len(SECRETS)
    _, metrics = await scene.service.get("/metrics")
    _, health = await scene.service.get("/health")
    _, ready = await scene.service.get("/ready")
    done = await scene.service.cli("check")
    said = f"{scene.service.log()}\n{metrics}\n{health}\n{ready}\n{done.stdout}\n{done.stderr}"
    raw = b"".join(path.read_bytes() for path in scene.service.folder.glob("*.db*"))
    assert b"Rotated" in raw, "the search finds what is there"
    for secret in ever:
        assert secret not in said
        assert secret.encode() not in raw
