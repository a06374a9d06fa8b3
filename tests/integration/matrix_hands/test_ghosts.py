"""Ghosts on a real homeserver, and what matrix-js-sdk makes of what they say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mautrix.api import Method

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import LeaveRoom, React, Redact, Remove, Say
from etb_appservice.domain.facts import Done, MessageReceived
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username
from etb_appservice.domain.outcomes import Refused
from tests.conftest import Person
from tests.harness.bot import DictKeepsakes
from tests.harness.hands import Workbench
from tests.harness.jsclient import JsClient
from tests.harness.scene import eventually
from tests.harness.synapse import Slot, Synapse

DAY_MS = 86_400_000
WITHHELD = "MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE"


def ghost_of(bench: Workbench, name: str) -> UserId:
    return UserId(f"@{bench.slot.user_prefix}u_{name}:localhost")


async def room_with(
    bench: Workbench, number: int, *people: JsClient, ghosts: tuple[str, ...] = (), level: str = "INTERNAL"
) -> RoomId:
    """A room with these people; the ghosts may come, and aren't there yet."""
    room_id = await bench.open(bench.spec(number, level=Classification[level]))
    for name in ghosts:
        await bench.member(room_id, ghost_of(bench, name), "leave")
    for one in people:
        await bench.server.act(room_id, "invite", {"user_id": one.user_id})
        await one.wait_for_invite(room=room_id)
        await one.join(room_id)
        await bench.member(room_id, one.user_id, "join")
    return room_id


async def says(bench: Workbench, room_id: RoomId, name: str, text: str, **more: Any) -> Done:
    return await bench.do(Say(room_id=room_id, content=text, speaker=Username(name)), f"say/{text}", **more)


async def is_clean(person: JsClient, room_id: RoomId, done: Done, text: str) -> None:
    heard = await person.wait_for(room=room_id, event_id=str(done.event_id), type="m.room.message")
    assert heard.body == text
    shield = await person.shield(room_id, heard.event_id)
    assert shield.clean, (text, shield)


@pytest.mark.parametrize("excludes", [False, True])
async def test_what_two_ghosts_and_the_bot_say_is_read_without_a_shield(
    shared: Workbench, person: Person, excludes: bool
) -> None:
    alice = await person("alice")
    await alice.exclude_insecure_devices(on=excludes)
    room_id = await room_with(shared, 1 + excludes, alice, ghosts=("bea", "carl"))
    for turn in range(2):
        for name in ("bea", "carl"):
            text = f"{name} {excludes} {turn}"
            await is_clean(alice, room_id, await says(shared, room_id, name, text), text)
        done = await shared.do(Say(room_id=room_id, content=f"bot {turn}"), f"bot/{excludes}/{turn}")
        await is_clean(alice, room_id, done, f"bot {turn}")
    assert (await alice.members(room_id))[ghost_of(shared, "bea")] == "join"
    identity = await alice.devices(ghost_of(shared, "bea"))
    assert identity.cross_signing
    assert [device.signed_by_owner for device in identity.devices] == [True]
    assert [event.sender for event in await alice.timeline(room_id) if event.body == f"bea {excludes} 0"] == [
        ghost_of(shared, "bea")
    ]


async def test_what_a_ghost_says_comes_back_as_what_it_was(shared: Workbench) -> None:
    room_id = await room_with(shared, 3, ghosts=("dora",))
    done = await says(shared, room_id, "dora", "!status, please")
    event = await shared.server.event(room_id, EventId(str(done.event_id)))
    read = await shared.decoder.decode(json.dumps(event).encode())
    assert isinstance(read, MessageReceived)
    assert (read.sender, read.effect_key) == (ghost_of(shared, "dora"), "say/!status, please")
    assert (read.body, read.msgtype) == ("!status, please", "m.text")


async def test_a_ghost_is_called_as_etb_calls_the_person(shared: Workbench) -> None:
    room_id = await room_with(shared, 4, ghosts=("emil",))
    await says(shared, room_id, "emil", "it is me")
    async with shared.as_user(ghost_of(shared, "emil")) as http:
        assert (await http.get_state(room_id, "m.room.member", ghost_of(shared, "emil")))["displayname"] == "emil"


async def test_who_may_not_be_in_the_room_says_nothing_there(shared: Workbench) -> None:
    room_id = await room_with(shared, 5)
    with pytest.raises(Refused, match="may not be in the room"):
        await says(shared, room_id, "mallory", "let me in")
    assert await shared.server.membership(room_id, ghost_of(shared, "mallory")) == "leave"


async def test_a_ghost_s_key_is_kept_from_whom_the_bot_s_is_kept_from(shared: Workbench, person: Person) -> None:
    alice, eve = await person("alice"), await person("eve", cross_signing=False)
    room_id = await room_with(shared, 6, alice, eve, ghosts=("bea",), level="CONFIDENTIAL")
    done = await says(shared, room_id, "bea", "for verified devices")
    await is_clean(alice, room_id, done, "for verified devices")
    assert (await eve.wait_for(room=room_id, event_id=str(done.event_id), failure=True)).failure == WITHHELD


async def test_who_is_no_longer_permitted_can_t_read_a_ghost(shared: Workbench, person: Person) -> None:
    alice, eve = await person("alice"), await person("eve")
    room_id = await room_with(shared, 7, alice, eve, ghosts=("bea",))
    await is_clean(eve, room_id, await says(shared, room_id, "bea", "with eve"), "with eve")
    await shared.do(Remove(room_id=room_id, user_id=UserId(eve.user_id), reason="x"), "out/7")
    await shared.member(room_id, eve.user_id, "leave")
    done = await says(shared, room_id, "bea", "without eve")
    await is_clean(alice, room_id, done, "without eve")
    events, _ = await shared.server.messages(room_id)
    sessions = [one["content"]["session_id"] for one in events if one["type"] == "m.room.encrypted"]
    assert len(set(sessions)) == len(sessions) == 2


async def test_a_ghost_has_the_same_device_after_a_restart(
    synapse: Synapse, take_slot: Callable[[], Slot], tmp_path: Path, person: Person
) -> None:
    alice, slot, keepsakes = await person("alice"), take_slot(), DictKeepsakes()
    bench = await Workbench.start(synapse, slot, tmp_path, keepsakes)
    room_id = await room_with(bench, 8, alice, ghosts=("bea",))
    await is_clean(alice, room_id, await says(bench, room_id, "bea", "before"), "before")
    await bench.member(room_id, ghost_of(bench, "bea"), "join")
    first = await alice.devices(ghost_of(bench, "bea"))
    await bench.stop()
    bench = await Workbench.start(synapse, slot, tmp_path, keepsakes)
    done = await says(bench, room_id, "bea", "after")
    await is_clean(alice, room_id, done, "after")
    again = await says(bench, room_id, "bea", "after", first_tried_ms=bench.clock.now_ms() - 1000)
    long_ago = await says(bench, room_id, "bea", "after", first_tried_ms=bench.clock.now_ms() - DAY_MS)
    assert done.event_id == again.event_id == long_ago.event_id
    assert long_ago.detail == "found"
    identity = await alice.devices(ghost_of(bench, "bea"))
    assert [one.device_id for one in identity.devices] == [one.device_id for one in first.devices]
    assert not identity.identity_changed
    await bench.stop()


async def test_a_ghost_s_mailbox_is_emptied_and_its_device_comes_and_goes(
    shared: Workbench, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await person("alice")
    room_id = await room_with(shared, 9, alice, ghosts=("fred",))
    await says(shared, room_id, "fred", "hello")
    await alice.wait_for(room=room_id, body="hello")
    await alice.send(room_id, "a key goes to fred's device, too")
    fred = ghost_of(shared, "fred")
    identity = shared.bot.identity_of(fred, shared.bot.cipher)
    client = await identity.mailbox()
    assert client is not None

    async def waiting(limit: int) -> int:
        # Another filter each time: Synapse answers a first /sync from a cache for a while.
        query = {"timeout": "0", "filter": json.dumps({"presence": {"limit": limit}})}
        answer = await client.api.request(Method.GET, "_matrix/client/v3/sync", query_params=query)
        return len(answer.get("to_device", {}).get("events", ()))

    assert await waiting(1) == 1
    await shared.ghosts.tend()
    assert await waiting(2) == 0
    before = await alice.devices(fred)
    with monkeypatch.context() as later:
        now_ms = shared.clock.now_ms() + 31 * DAY_MS
        later.setattr(shared.clock, "now_ms", lambda: now_ms)
        await shared.ghosts.tend()

        async def is_gone() -> bool:
            return not (await alice.devices(fred)).devices

        await eventually(is_gone, "alice to know that the device is gone")
        await shared.ghosts.tend()
    await alice.exclude_insecure_devices()
    await is_clean(alice, room_id, await says(shared, room_id, "fred", "here again"), "here again")
    assert await alice.devices(fred) == before


async def test_a_ghost_reacts_takes_back_and_leaves(shared: Workbench) -> None:
    room_id = await room_with(shared, 10, ghosts=("gina",))
    gina = Username("gina")
    said = (await says(shared, room_id, "gina", "a slip")).event_id
    assert said is not None
    react = React(room_id=room_id, event_id=said, emoji="👍", speaker=gina)
    put = await shared.do(react, "react/1")
    assert (await shared.do(react, "react/2")).detail == "was there"
    for number, event_id in enumerate((put.event_id, said)):
        assert event_id is not None
        await shared.do(Redact(room_id=room_id, event_id=event_id, speaker=gina), f"redact/{number}")
        event = await shared.server.event(room_id, event_id)
        assert event is not None
        assert not event["content"]
        assert event["unsigned"]["redacted_because"]["sender"] == ghost_of(shared, "gina")
    assert (await shared.do(LeaveRoom(room_id=room_id, speaker=gina), "leave/1")).detail == "left"
    assert (await shared.do(LeaveRoom(room_id=room_id, speaker=Username("hugo")), "leave/2")).detail == "was out"
    # By tables that don't know it yet it is there still.
    await shared.member(room_id, ghost_of(shared, "gina"), "join")
    assert (await says(shared, room_id, "gina", "back again")).event_id
