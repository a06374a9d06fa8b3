"""Attackers who come in between: a device added in the middle of a share, a removed one that asks for keys."""

from typing import Any

import pytest

from etb_appservice.matrix.results import Decrypted, KeyMissing
from tests.harness.keyserver import KeyServer
from tests.unit.matrix.conftest import ROOM, Actor, MakeActor, event, text


async def _said(bot: Actor, *people: Actor) -> dict[str, Any]:
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("hello"), [one.mxid for one in people])
    return event(bot.mxid, sealed.content)


async def _laptop(actor: MakeActor, server: KeyServer, owner: Actor) -> tuple[Actor, dict[str, Any]]:
    """Another device of `owner`, signed by the same identity, which its server doesn't show yet; and its keys."""
    laptop = await actor("laptop", start=False)
    laptop.mxid = owner.mxid
    record = owner.keepsakes.values[f"matrix.identity.{owner.mxid}"]
    laptop.keepsakes.values[f"matrix.identity.{owner.mxid}"] = record
    before = dict(server.devices[owner.mxid])
    laptop.established = await (await laptop.open()).recover()
    await laptop.sync()
    hidden = dict(server.devices[owner.mxid])
    server.devices[owner.mxid] = before
    return laptop, hidden


@pytest.mark.parametrize("at", ["keys/claim", "sendToDevice"])
async def test_a_device_added_in_the_middle_of_a_share_gets_the_next_key_and_not_this_one(
    actor: MakeActor, server: KeyServer, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    await bot.sync()
    laptop, hidden = await _laptop(actor, server, alice)
    came: list[str] = []
    answer = server.answer

    def between(mxid: str, device_id: str, method: Any, path: str, body: Any) -> Any:
        if mxid == bot.mxid and at in path and not came:
            came.append(path)
            server.devices[alice.mxid] = {**hidden, **server.devices[alice.mxid]}
        return answer(mxid, device_id, method, path, body)

    monkeypatch.setattr(server, "answer", between)
    # Whom the key is for was decided; then the device appears.
    first = await _said(bot, alice)
    assert came
    # The homeserver's word on it is still on its way: the same session, made for the same devices.
    second = await _said(bot, alice)
    assert second["content"]["session_id"] == first["content"]["session_id"]
    assert server.inbox[laptop.mxid, laptop.device_id] == []
    # Now it is known: a session of its own, and nothing of what was said before.
    await bot.sync(changed=(alice.mxid,))
    third = await _said(bot, alice)
    assert third["content"]["session_id"] != first["content"]["session_id"]
    for one in (alice, laptop):
        await one.sync()
        assert isinstance(await one.cipher.decrypt(third), Decrypted)
    for said in (first, second):
        assert isinstance(await alice.cipher.decrypt(said), Decrypted)
        assert isinstance(await laptop.cipher.decrypt(said), KeyMissing)


async def test_a_removed_device_gets_no_key_however_it_asks(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    laptop, hidden = await _laptop(actor, server, alice)
    server.devices[alice.mxid] |= hidden
    await bot.sync(changed=(alice.mxid,))
    before = await _said(bot, alice)
    await laptop.sync()
    assert isinstance(await laptop.cipher.decrypt(before), Decrypted)
    server.devices[alice.mxid].pop(laptop.device_id)
    await bot.sync(changed=(alice.mxid,))
    after = await _said(bot, alice)
    assert after["content"]["session_id"] != before["content"]["session_id"]
    for number, said in enumerate((before, after)):
        body = {
            "room_id": ROOM,
            "session_id": said["content"]["session_id"],
            "algorithm": "m.megolm.v1.aes-sha2",
            "sender_key": said["content"]["sender_key"],
        }
        request = {
            "action": "request",
            "request_id": str(number),
            "requesting_device_id": laptop.device_id,
            "body": body,
        }
        server.inbox[bot.mxid, bot.device_id].append(
            {"type": "m.room_key_request", "sender": alice.mxid, "content": request}
        )
    assert (await bot.sync()).key_requests_refused == 2
    await bot.cipher.retry_refused()
    assert server.inbox[laptop.mxid, laptop.device_id] == []
    assert isinstance(await laptop.cipher.decrypt(after), KeyMissing)
