"""A room that is only read, on a real homeserver: members are refused, the bot is not, and it can be undone."""

from collections.abc import AsyncIterator, Callable

import pytest

from etb_appservice.domain.effects import Pin, Say, SetVoice
from etb_appservice.domain.ids import EventId, RoomId
from etb_appservice.domain.rooms import power_levels
from tests.harness.bot import Bot, DictKeepsakes
from tests.harness.hands import Workbench
from tests.harness.http import MatrixError, MatrixUser
from tests.harness.synapse import Slot, Synapse

SEALED = {"algorithm": "m.megolm.v1.aes-sha2"}


@pytest.fixture(scope="module")
async def alice(
    synapse: Synapse, take_slot: Callable[[], Slot], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bot]:
    """A person with keys of her own."""
    person = await Bot.start(synapse.url, take_slot(), tmp_path_factory.mktemp("alice"), DictKeepsakes())
    yield person
    await person.stop()


async def refused(person: MatrixUser, room_id: RoomId, event_id: str) -> list[str]:
    """What the homeserver says to a message, a reaction and the wish to take a message of hers away."""
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "key": "👍", "event_id": event_id}}
    found = []
    for one in (
        person.send(room_id, SEALED, type="m.room.encrypted"),
        person.send(room_id, reaction, type="m.reaction"),
        person.redact(room_id, event_id),
    ):
        try:
            await one
            found.append("taken")
        except MatrixError as error:
            found.append(f"{error.status} {error.errcode}")
    return found


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_members_may_only_read_until_it_is_undone(shared: Workbench, alice: Bot, version: str) -> None:
    spec = shared.spec(100 + int(version), version=version)
    room_id = await shared.open(spec)
    async with shared.as_user(shared.server.user_id) as bot, shared.as_person(alice) as person:
        await bot.invite(room_id, alice.mxid)
        await person.join(room_id)
        said = await person.send(room_id, SEALED, type="m.room.encrypted")
        for number in range(2):
            await shared.do(SetVoice(room_id=room_id, is_read_only=True), f"{version}/off/{number}")
        assert await refused(person, room_id, said) == ["403 M_FORBIDDEN"] * 3
        told = await shared.do(Say(room_id=room_id, content="closed"), f"{version}/say")
        await shared.do(Pin(room_id=room_id, event_id=EventId(str(told.event_id))), f"{version}/pin")
        for number in range(2):
            await shared.do(SetVoice(room_id=room_id, is_read_only=False), f"{version}/on/{number}")
        assert await refused(person, room_id, said) == ["taken"] * 3
        levels = await bot.get_state(room_id, "m.room.power_levels")
        assert {name: levels[name] for name in spec.power_levels} == spec.power_levels


async def test_a_room_of_another_version_than_is_configured_keeps_its_bot(shared: Workbench) -> None:
    """In version 11 the bot's power stands in the levels: written as for version 12, it would lose it."""
    room_id = await shared.open(shared.spec(120, version="11"))
    assert power_levels(shared.policy("12"))["users"] == {}
    for is_read_only in (True, False):
        await shared.do(SetVoice(room_id=room_id, is_read_only=is_read_only), f"other/{is_read_only}")
        levels = await shared.server.state_content(room_id, "m.room.power_levels") or {}
        assert levels["users"] == {shared.server.user_id: 100}
        assert levels["events"]["m.room.tombstone"] == 100
