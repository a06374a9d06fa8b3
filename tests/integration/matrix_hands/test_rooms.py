"""One room an incident, ours and complete, however createRoom went."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import OpenRoom
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.outcomes import Refused
from etb_appservice.domain.rooms import RoomSpec, control_room, incidents_space
from etb_appservice.matrix.api import Method
from tests.harness.hands import Workbench

ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


async def opened(bench: Workbench, spec: RoomSpec, **more: object) -> Done:
    return await bench.do(OpenRoom(war_room=spec.war_room, spec=spec), f"open/{spec.war_room}", **more)


async def state_of(bench: Workbench, done: Done) -> dict[str, Any]:
    assert done.room_id is not None
    events = await bench.server.state(done.room_id)
    return {event["type"]: event for event in events if event["state_key"] == ""}


async def left_behind(bench: Workbench, spec: RoomSpec, **options: Any) -> RoomId:
    """What Synapse leaves when it is killed during createRoom: a room with our alias and hardly any state."""
    body = {
        "room_alias_name": spec.alias_localpart,
        "creation_content": spec.creation_content,
        "room_version": spec.version,
        "visibility": "private",
    } | options
    return await bench.server.create_room(body)


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_a_room_of_each_version_is_made_as_wanted_and_then_adopted(shared: Workbench, version: str) -> None:
    spec = shared.spec(100 + int(version), version=version)
    made = await opened(shared, spec)
    assert made.detail == "created"
    state = await state_of(shared, made)
    assert state["m.room.create"]["content"]["room_version"] == version
    assert state["m.room.encryption"]["content"]["algorithm"] == "m.megolm.v1.aes-sha2"
    assert state["m.room.join_rules"]["content"] == {"join_rule": "invite"}
    assert state["m.room.history_visibility"]["content"] == {"history_visibility": "joined"}
    assert state["m.room.name"]["content"]["name"] == f"INC-{100 + int(version)}"
    users = state["m.room.power_levels"]["content"]["users"]
    assert users == ({} if version == "12" else {shared.server.user_id: 100})
    assert state["m.room.power_levels"]["content"]["invite"] == 100

    again = await opened(shared, spec, attempts=1)
    assert (again.room_id, again.detail) == (made.room_id, "adopted")
    blind = await opened(shared, spec)
    assert (blind.room_id, blind.detail) == (made.room_id, "adopted")


async def test_the_control_room_and_the_space_are_made_and_adopted(shared: Workbench) -> None:
    for spec in (control_room(shared.policy()), incidents_space(shared.policy())):
        made = await opened(shared, spec)
        assert made.detail == "created"
        assert ("m.room.encryption" in await state_of(shared, made)) is (spec.kind == "control")
        assert (await opened(shared, spec, attempts=1)).detail == "adopted"
    assert (await state_of(shared, made))["m.room.create"]["content"]["type"] == "m.space"


async def test_two_that_open_one_room_at_once_get_the_same_room(shared: Workbench) -> None:
    for number in range(200, 204):
        spec = shared.spec(number)
        first, second, third = await asyncio.gather(*(opened(shared, spec) for _ in range(3)))
        assert first.room_id == second.room_id == third.room_id
        assert "m.room.encryption" in await state_of(shared, first)
        assert {first.detail, second.detail, third.detail} <= {"created", "adopted"}


@pytest.mark.parametrize("version", ["10", "12"])
async def test_a_room_left_behind_without_encryption_is_completed_before_use(
    shared: Workbench, version: str
) -> None:
    spec = shared.spec(300 + int(version), version=version)
    room_id = await left_behind(shared, spec)
    done = await opened(shared, spec, attempts=1)
    assert (done.room_id, done.detail) == (room_id, "completed")
    state = await state_of(shared, done)
    order = [
        event["type"]
        for event in reversed((await shared.server.messages(room_id, limit=100))[0])
        if event["sender"] == shared.server.user_id
    ]
    encrypted_at = order.index("m.room.encryption")
    assert "m.room.encryption" in state
    assert all(order.index(kind) < encrypted_at for kind in ("m.room.create", "m.room.member"))
    assert order.index("m.room.name") > encrypted_at
    for name, value in spec.power_levels.items():
        assert state["m.room.power_levels"]["content"][name] == value
    assert (await opened(shared, spec, attempts=1)).detail == "adopted"


@pytest.mark.parametrize(
    "options",
    [
        {"creation_content": {"m.federate": True, "org.etb.incident": "another", "org.etb.generation": 1}},
        {"creation_content": {}},
        {
            "initial_state": [
                {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "org.example.rot13"}}
            ]
        },
    ],
    ids=["another incident", "no incident", "another algorithm"],
)
async def test_a_room_of_ours_that_can_not_become_the_wanted_one_is_replaced(
    bench: Workbench, options: dict[str, Any]
) -> None:
    spec = bench.spec(400)
    old = await left_behind(bench, spec, **options)
    done = await opened(bench, spec)
    assert done.detail == "replaced"
    assert done.room_id != old
    assert await bench.server.membership(old, bench.server.user_id) == "leave"
    assert await bench.server.resolve(f"#{spec.alias_localpart}:localhost") == done.room_id


async def test_a_federated_room_is_not_adopted_for_an_incident_that_must_not_federate(shared: Workbench) -> None:
    spec = shared.spec(410, level=Classification.RESTRICTED)
    await left_behind(shared, spec, creation_content={**spec.creation_content, "m.federate": True})
    assert (await opened(shared, spec)).detail == "replaced"


async def test_a_squatted_alias_is_freed_and_the_room_made(shared: Workbench) -> None:
    """A user can't take an alias of ours; a ghost of ours, or an older registration, could have."""
    spec = shared.spec(500)
    ghost = f"@{shared.slot.user_prefix}ghost:localhost"
    await shared.server.ask(
        Method.POST,
        "_matrix/client/v3/register",
        {
            "type": "m.login.application_service",
            "username": ghost[1:].partition(":")[0],
            "inhibit_login": True,
        },
    )
    async with shared.as_user(ghost) as squatter:
        theirs = await squatter.create_room(room_alias_name=spec.alias_localpart)
    done = await opened(shared, spec)
    assert done.detail == "replaced"
    assert done.room_id != theirs


async def test_a_room_the_bot_has_left_is_replaced(shared: Workbench) -> None:
    spec = shared.spec(510)
    old = await shared.open(spec)
    await shared.server.act(old, "leave")
    done = await opened(shared, spec, attempts=1)
    assert done.detail == "replaced"
    assert done.room_id != old


async def test_changed_power_levels_and_join_rules_are_put_right_when_adopting(shared: Workbench) -> None:
    spec = shared.spec(520)
    room_id = await shared.open(spec)
    await shared.server.put_state(room_id, "m.room.join_rules", "", {"join_rule": "public"})
    await shared.server.put_state(room_id, "m.room.power_levels", "", {**spec.power_levels, "invite": 0})
    done = await opened(shared, spec, attempts=1)
    assert (done.room_id, done.detail) == (room_id, "completed")
    state = await state_of(shared, done)
    assert state["m.room.join_rules"]["content"] == {"join_rule": "invite"}
    assert state["m.room.power_levels"]["content"]["invite"] == 100


async def test_an_adopted_or_completed_room_names_who_is_in_it(shared: Workbench) -> None:
    spec = shared.spec(525)
    room_id = await shared.open(spec)
    guest = await shared.synapse.user(f"guest-{shared.slot.id}")
    guest_id = shared.synapse.mxid(f"guest-{shared.slot.id}")
    try:
        await shared.server.act(room_id, "invite", {"user_id": guest_id})
        there = {(shared.server.user_id, "join"), (guest_id, "invite")}
        assert set((await opened(shared, spec, attempts=1)).members) == there
        await shared.server.put_state(room_id, "m.room.join_rules", "", {"join_rule": "public"})
        done = await opened(shared, spec, attempts=1)
        assert (done.detail, set(done.members)) == ("completed", there)
        await shared.server.act(room_id, "kick", {"user_id": guest_id})
        assert (await opened(shared, spec, attempts=1)).members == ((shared.server.user_id, "join"),)
    finally:
        await guest.close()


async def test_a_room_of_an_older_configured_version_is_kept(shared: Workbench) -> None:
    old = await shared.open(shared.spec(530, version="10"))
    done = await opened(shared, shared.spec(530, version="12"), attempts=1)
    assert (done.room_id, done.detail) == (old, "adopted")


async def test_an_alias_outside_the_namespace_is_refused_with_the_cause(shared: Workbench) -> None:
    spec = replace(shared.spec(540), alias_localpart="not-ours")
    with pytest.raises(Refused, match="alias namespace"):
        await opened(shared, spec)


async def test_a_room_with_a_successor_is_replaced_and_stays_readable(shared: Workbench) -> None:
    spec = shared.spec(550)
    old = await shared.open(spec)
    await shared.server.put_state(old, "m.room.tombstone", "", {"body": "moved", "replacement_room": "!x"})
    assert (await opened(shared, spec, attempts=1)).detail == "replaced"
    assert await shared.server.membership(old, shared.server.user_id) == "join"
