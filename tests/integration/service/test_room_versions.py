"""The same job in older room versions, and with people who are mapped one by one."""

import pytest

from tests.harness.scene import OPERATOR
from tests.harness.stage import OpenScene


@pytest.mark.parametrize("version", ["10", "11"])
async def test_the_main_job_in_older_room_versions(open_scene: OpenScene, version: str) -> None:
    scene = await open_scene(rooms={"version": version})
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    card = await scene.card(alice, room)
    answer = await scene.ask(alice, room, "!status")
    assert incident["incident_number"] in answer.body
    async with scene.as_bot() as bot:
        assert (await bot.get_state(room, "m.room.create"))["room_version"] == version
        levels = await bot.get_state(room, "m.room.power_levels")
        assert levels["users"] == {scene.bot: 100}
        assert levels["invite"] == 100
        assert (await bot.get_state(room, "m.room.pinned_events"))["pinned"] == [card.event_id]
    scene.assert_quiet("alias|invite")


async def test_a_person_without_a_mapping_is_named_with_the_fix(open_scene: OpenScene) -> None:
    entries: dict[str, str] = {}
    scene = await open_scene(people={"template": "", "entries": entries}, run=False)
    entries |= {"alice": scene.mxid("alice"), OPERATOR: scene.mxid(OPERATOR)}
    scene.service.change(people={"template": "", "entries": entries})
    await scene.service.run()
    await scene.etb.set_oncall(None)
    operator, control = await scene.operator()
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice", assignee="bob")
    alice, room = await scene.enter("alice", incident)
    told = await operator.wait_for(room=control, sender=scene.bot, body="bob")
    assert incident["incident_number"] in told.body
    assert "people.entries" in told.body
    assert "no Matrix id" in (await scene.card(alice, room)).body
    scene.assert_quiet()
