"""Setting state back, on a real homeserver: after a break-glass account gave somebody more power than is good."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import LetMembersPin, RestoreState, SetVoice
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Refused
from etb_appservice.domain.rooms import incident_room
from tests.harness.hands import Workbench, an_incident
from tests.harness.http import Json, MatrixError, MatrixUser

POWER, NAME, RULES, ACL = "m.room.power_levels", "m.room.name", "m.room.join_rules", "m.room.server_acl"


@asynccontextmanager
async def a_room(
    shared: Workbench, number: int, version: str, power: int, level: Classification = Classification.INTERNAL
) -> AsyncIterator[tuple[RoomId, MatrixUser, MatrixUser]]:
    """A room with a break-glass account, which has given a member `power`."""
    slot, synapse = shared.slot.id, shared.synapse
    async with (
        await synapse.user(f"glass-{number}-{slot}") as glass,
        await synapse.user(f"mod-{number}-{slot}") as mod,
    ):
        policy = shared.policy(version, additional_creators=(UserId(glass.user_id),))
        room_id = await shared.open(incident_room(an_incident(number), level, policy))
        async with shared.as_user(shared.server.user_id) as bot:
            for person in (glass, mod):
                await bot.invite(room_id, person.user_id)
                await person.join(room_id)
        levels = await glass.get_state(room_id, POWER)
        levels["users"] = {**levels.get("users", {}), mod.user_id: power}
        await glass.put_state(room_id, POWER, levels)
        yield room_id, glass, mod


async def restore(shared: Workbench, room_id: RoomId, event_type: str, *others: str) -> Done:
    entitled = (shared.server.user_id, *(UserId(one) for one in others))
    effect = RestoreState(room_id=room_id, event_type=event_type, state_key="", entitled=entitled)
    return await shared.do(effect, f"restore/{room_id}/{event_type}")


async def state_of(user: MatrixUser, room_id: RoomId) -> dict[str, Json]:
    return {kind: await user.get_state(room_id, kind) for kind in (POWER, NAME, RULES)}


@pytest.mark.parametrize("version", ["10", "12"])
async def test_what_a_too_powerful_member_changed_is_set_back_as_it_was(shared: Workbench, version: str) -> None:
    async with a_room(shared, 200 + int(version), version, power=100) as (room_id, glass, mod):
        await shared.do(SetVoice(room_id=room_id, is_read_only=True), f"voice/{room_id}")
        before = await state_of(glass, room_id)
        # Others' power, twice over, and the door opened.
        for level in (40, 60):
            await mod.put_state(room_id, POWER, {**before[POWER], "invite": 0, "users_default": level})
        await mod.put_state(room_id, NAME, {"name": "Free money"})
        await mod.put_state(room_id, RULES, {"join_rule": "public"})
        for kind in (POWER, NAME, RULES):
            assert (await restore(shared, room_id, kind, glass.user_id)).detail == "set back"
            assert await restore(shared, room_id, kind, glass.user_id) == Done(detail="stands as it should")
        # Without voices, as the bot had set it, and with the member's power, which the break-glass account gave.
        assert await state_of(glass, room_id) == before
        assert before[POWER]["events_default"] == 100


async def test_an_acl_is_set_back_to_the_one_that_the_bot_set(shared: Workbench) -> None:
    async with a_room(shared, 224, "12", power=100) as (room_id, glass, mod):
        before = await glass.get_state(room_id, ACL)
        await mod.put_state(room_id, ACL, {"allow": [shared.synapse.server_name, "evil.example"], "deny": []})
        await restore(shared, room_id, ACL)
        assert await glass.get_state(room_id, ACL) == before
        assert before["allow"] == [shared.synapse.server_name]


async def test_an_acl_where_there_was_none_is_opened_again(shared: Workbench) -> None:
    """A room that is closed to other homeservers has none of its own."""
    async with a_room(shared, 220, "12", power=100, level=Classification.RESTRICTED) as (room_id, glass, mod):
        await mod.put_state(room_id, ACL, {"allow": [shared.synapse.server_name], "allow_ip_literals": True})
        await restore(shared, room_id, ACL)
        assert (await glass.get_state(room_id, ACL))["allow"] == ["*"]


async def test_power_is_never_set_back_to_nothing(shared: Workbench) -> None:
    async with a_room(shared, 221, "12", power=100) as (room_id, _, mod):
        await mod.put_state(room_id, POWER, {**await mod.get_state(room_id, POWER), "invite": 0})
        effect = RestoreState(
            room_id=room_id, event_type=POWER, state_key="", entitled=(UserId("@nobody:localhost"),)
        )
        with pytest.raises(Refused, match="break-glass account"):
            await shared.do(effect, "restore/nothing")


@pytest.mark.parametrize("power", [0, 50])
async def test_a_member_pins_and_sets_nothing_else(shared: Workbench, power: int) -> None:
    async with a_room(shared, 222 + 10 * power, "12", power=power) as (room_id, _, mod):
        await mod.put_state(room_id, "m.room.pinned_events", {"pinned": []})
        for kind, content in (
            (NAME, {"name": "x"}),
            (RULES, {"join_rule": "public"}),
            (POWER, {"users": {mod.user_id: 100}}),
            (ACL, {"allow": ["*"]}),
            ("im.vector.modular.widgets", {"url": "https://evil.example"}),
        ):
            with pytest.raises(MatrixError) as refusal:
                await mod.put_state(room_id, kind, content)
            assert refusal.value.status == 403


@pytest.mark.parametrize("version", ["10", "12"])
async def test_members_may_pin_in_a_room_from_before_unless_somebody_chose_otherwise(
    shared: Workbench, version: str
) -> None:
    pins = "m.room.pinned_events"
    async with a_room(shared, 225 + int(version), version, power=0) as (room_id, glass, mod):
        made = await glass.get_state(room_id, POWER)
        assert made["events"][pins] == 0
        for level, then in ((100, 100), (25, 25), (50, 0)):
            before = {**made, "users_default": 0, "events": {**made["events"], pins: level}}
            await glass.put_state(room_id, POWER, before)
            await shared.do(LetMembersPin(room_id=room_id), f"pinners/{room_id}/{level}")
            assert (await glass.get_state(room_id, POWER))["events"] == {**made["events"], pins: then}
        assert (await glass.get_state(room_id, POWER))["users"] == made["users"]
        await mod.put_state(room_id, pins, {"pinned": ["$a"]})
        await shared.do(SetVoice(room_id=room_id, is_read_only=True), f"silence/{room_id}")
        with pytest.raises(MatrixError):
            await mod.put_state(room_id, pins, {"pinned": []})


async def test_a_member_can_not_raise_their_own_power(shared: Workbench) -> None:
    async with a_room(shared, 223, "12", power=0) as (room_id, glass, mod):
        levels = await glass.get_state(room_id, POWER)
        with pytest.raises(MatrixError) as refusal:
            await mod.put_state(room_id, POWER, {**levels, "users": {mod.user_id: 100}})
        assert refusal.value.status == 403
