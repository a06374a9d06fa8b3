"""What comes in from outside and isn't as it should be: a clear answer, and the next command still works."""

import base64
import hashlib
import hmac
import io
import json
import time
import uuid
from typing import Any

import aiohttp
import pytest

from tests.harness.jsclient import JsClient
from tests.harness.scene import Scene, eventually

ODD = "odd events parked|wrong hs_token"


@pytest.fixture(scope="module")
async def talk(scene: Scene) -> tuple[JsClient, str]:
    await scene.account("alice")
    await scene.person("alice")
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.card(alice, room)
    return alice, room


async def put(scene: Scene, body: bytes | str, *, token: str | None = None, txn: str = "") -> tuple[int, str]:
    """One transaction as the homeserver would send it."""
    headers = {"Content-Type": "application/json"}
    if token != "":
        headers["Authorization"] = f"Bearer {token or scene.slot.hs_token}"
    url = f"{scene.service.url}/_matrix/app/v1/transactions/{txn or uuid.uuid4().hex}"
    async with aiohttp.ClientSession() as http, http.put(url, data=as_file(body), headers=headers) as response:
        return response.status, await response.text()


def as_file(body: bytes | str) -> io.BytesIO:
    """aiohttp warns of large bodies that aren't files."""
    return io.BytesIO(body.encode() if isinstance(body, str) else body)


def refused_clearly(text: str, *words: str) -> None:
    """An error for a program and a person, in which nothing of ours shows."""
    answer = json.loads(text)
    said = answer.get("error") or answer.get("detail")
    assert said
    for word in words:
        assert word in said
    assert "Traceback" not in text
    assert 'File "' not in text


@pytest.mark.complaints(ODD)
async def test_transactions_that_are_not_the_homeserver_s_are_refused(
    scene: Scene, talk: tuple[JsClient, str]
) -> None:
    status, text = await put(scene, "{}", token="wrong")
    assert status == 403
    refused_clearly(text, "hs_token")
    status, text = await put(scene, "{}", token="")
    assert status == 401
    refused_clearly(text, "Authorization")
    status, text = await put(scene, "{'events': [")
    assert status == 400
    refused_clearly(text, "JSON")
    status, text = await put(scene, b"\xff\xfe\x00")
    assert status == 400
    refused_clearly(text, "JSON")
    assert scene.slot.hs_token not in scene.service.log()


def hostile(room: str, sender: str, bot: str) -> list[str]:
    """Bodies of transactions that hold what no homeserver should send."""
    numbers = iter(range(1000))

    def event(**over: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
            "type": "m.room.encrypted",
            "event_id": f"$hostile{next(numbers)}",
            "room_id": room,
            "sender": sender,
            "origin_server_ts": 1,
            "content": {
                "algorithm": "m.megolm.v1.aes-sha2",
                "sender_key": "x",
                "session_id": "y",
                "device_id": "Z",
                "ciphertext": "abc",
            },
        }
        return base | over

    odd_contents: list[Any] = [
        None, [], "text", 7, {}, {"algorithm": 7}, {"algorithm": "m.megolm.v1.aes-sha2"},
        {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": {"a": 1}, "session_id": []},
        {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "\ud800", "session_id": "\x00"},
        {"algorithm": "\x00\ud800", "m.relates_to": [1]},
    ]  # fmt: skip
    message = {"msgtype": "m.text", "body": "!status"}
    events: list[Any] = [
        *(event(content=content) for content in odd_contents),
        *(event(type="m.room.message", content=content) for content in odd_contents),
        event(type="m.room.message", content={"msgtype": 3, "body": ["!status"]}),
        event(type="m.room.message", content=message | {"m.relates_to": {"rel_type": [], "event_id": {}}}),
        event(type="m.room.message", content={"msgtype": "m.text", "body": "\ud800\x00 !status"}),
        event(type="m.room.member", state_key=None, content={"membership": 5}),
        event(type="m.room.member", state_key=bot, content={"membership": []}),
        event(type="m.room.member", state_key=["x"], content={"membership": "join"}),
        event(type="m.room.redaction", redacts={"a": 1}, content={"redacts": 5}),
        event(type=5), event(type=None), event(type="x" * 70_000), event(sender=5), event(sender="nobody"),
        event(sender="@\ud800:x"), event(sender="@a\x00b:x"), event(room_id="!strange\x00room"),
        event(room_id="!stranger:elsewhere"), event(event_id="$nul\x00"), event(event_id="$sur\ud800"),
        event(event_id=None), event(room_id=None), event(origin_server_ts="soon"),
        event(origin_server_ts=10**30), event(origin_server_ts=-5), event(origin_server_ts=None),
        event(unsigned=[1, 2]), event(state_key=7), None, 7, "event", [], {},
    ]  # fmt: skip
    deep = "[" * 100_000 + "]" * 100_000
    big = event(type="m.room.message", content=message | {"filler": "x" * 3_000_000})
    return [
        json.dumps({"events": events}),
        json.dumps({"events": [big]}),
        json.dumps({"events": {}}), json.dumps({"events": None}), json.dumps({"events": "x"}),
        json.dumps({}), "[]", "7", "null", '"text"', json.dumps({"unheard": 1}),
        json.dumps({"events": [], "ephemeral": 5, "de.sorunome.msc2409.to_device": [{"type": 5}]}),
        json.dumps({"events": [], "ephemeral": [
            None, 5, {"type": "m.typing"},
            {"type": "m.typing", "room_id": room, "content": {"user_ids": [5, sender]}},
            {"type": "m.typing", "room_id": "!\ud800", "content": {"user_ids": [sender] * 5000}},
            {"type": "m.receipt", "room_id": room, "content": {"$x": [], "$y": {"m.read": {sender: 5, "x": {}}}}},
            {"type": "m.receipt", "room_id": room,
             "content": {f"${number}": {"m.read": {sender: {}}} for number in range(5000)}},
        ]}),
        json.dumps({"events": [event()], "to_device": {}, "org.matrix.msc3202.device_lists": 7}),
        '{"events": [' + json.dumps(event(type="m.room.message")).replace("abc", "\\ud800\\u0000") + "]}",
        '{"events": [{"event_id": 1' + "0" * 5000 + "}]}",
        '{"events": [{"event_id": "$deep", "room_id": "' + room + '", "content": ' + deep + "}]}",
        '{"events": [NaN, Infinity]}',
    ]  # fmt: skip


@pytest.mark.complaints(ODD)
async def test_whatever_a_transaction_holds_it_is_taken_and_the_next_command_works(
    scene: Scene, talk: tuple[JsClient, str]
) -> None:
    alice, room = talk
    operator, control = await scene.operator()
    for body in hostile(room, alice.user_id, scene.bot):
        status, text = await put(scene, body)
        assert status == 200, (body[:200], text)
    answer = await scene.ask(alice, room, "!status")
    assert "Status" in answer.body
    parked = await scene.ask(operator, control, "!queue")
    assert "parked" in parked.body
    row = next(
        word for word in parked.body.replace("-", " ").split() if word.startswith("i") and word[1:].isdigit()
    )
    assert "dropped" in (await scene.ask(operator, control, f"!queue drop {row}")).body
    assert "no parked row" in (await scene.ask(operator, control, f"!queue drop {row}")).body
    ran = [
        one for one in await alice.timeline(room, last=500) if one.sender == scene.bot and "Status:" in one.body
    ]
    assert [one.event_id for one in ran] == [answer.event_id]


def signed(
    scene: Scene, body: bytes, *, name: str = "", at: float | None = None, secret: str = ""
) -> dict[str, str]:
    """Standard Webhooks headers, made here and not by the library that checks them."""
    name = name or f"msg_{uuid.uuid4().hex}"
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode((secret or scene.service.webhook_secret).removeprefix("whsec_"))
    mac = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": name, "webhook-timestamp": stamp, "webhook-signature": signature}


async def post(scene: Scene, body: bytes, headers: dict[str, str], method: str = "POST") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, scene.service.webhook_url, data=as_file(body), headers=headers) as response,
    ):
        return response.status, await response.text()


async def test_webhooks_that_can_not_be_trusted_or_read_are_refused_with_a_word(
    scene: Scene, talk: tuple[JsClient, str]
) -> None:
    good = json.dumps({"event": "incident.updated", "incident": {"id": str(uuid.uuid4()), "title": "x"}}).encode()
    other = "whsec_" + base64.b64encode(b"x" * 32).decode()
    cases: list[tuple[bytes, dict[str, str], int, str]] = [
        (good, signed(scene, good, secret=other), 401, "signature"),
        (good, signed(scene, good + b" "), 401, "signature"),
        (good, signed(scene, good, at=time.time() - 3600), 401, "timestamp"),
        (good, signed(scene, good, at=time.time() + 3600), 401, "timestamp"),
        (good, {}, 401, "webhook-id"),
        (good, signed(scene, good) | {"webhook-timestamp": "soon"}, 401, ""),
        (good, signed(scene, good) | {"webhook-signature": "v1,%%%"}, 401, "signature"),
    ]
    unreadable = [
        b"no json",
        b"[]",
        b"{}",
        b'{"event": 5, "incident": {}}',
        b'{"event": "x", "incident": {"id": 5}}',
    ]
    cases += [(body, signed(scene, body), 400, "can't be read") for body in unreadable]
    big = b'{"event": "x", "incident": {"id": "' + b"a" * 1_100_000 + b'"}}'
    cases.append((big, signed(scene, big), 413, "larger"))
    for body, headers, status, words in cases:
        got, text = await post(scene, body, headers)
        assert got == status, (body[:80], text)
        refused_clearly(text, words)
    assert (await post(scene, b"", {}, "GET"))[0] == 405


async def test_a_webhook_that_comes_again_changes_nothing(scene: Scene, talk: tuple[JsClient, str]) -> None:
    alice, _ = talk
    incident = await scene.etb.declare(title="Webhook twice", reporter="alice")
    body = json.dumps({"event": "incident.created", "incident": incident}).encode()
    headers = signed(scene, body, name="msg_again")
    for _ in range(3):
        assert (await post(scene, body, headers))[0] == 200
    assert (await post(scene, body, signed(scene, body)))[0] == 200
    room = await scene.join(alice, incident)
    await scene.card(alice, room)
    await scene.ask(alice, room, "!help")
    cards = [
        one
        for one in await alice.timeline(room, last=200)
        if one.sender == scene.bot and "Webhook twice" in one.body
    ]
    assert len(cards) == 1


async def test_the_public_side_serves_nothing_but_the_webhook(scene: Scene, talk: tuple[JsClient, str]) -> None:
    async with aiohttp.ClientSession() as http:
        for path in ("/metrics", "/ready", "/health", "/_matrix/app/v1/transactions/1"):
            async with http.get(f"http://127.0.0.1:{scene.service.public_port}{path}") as response:
                assert response.status == 404

        async def measured() -> bool:
            async with http.get(f"{scene.service.url}/metrics") as response:
                return response.status == 200 and "etb_queue_depth" in await response.text()

        await eventually(measured, "metrics")
