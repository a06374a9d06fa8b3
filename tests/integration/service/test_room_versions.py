"""The same job in older room versions, and with people who are mapped one by one."""

import time

from tests.harness.http import MatrixUser
from tests.harness.scene import OPERATOR, Scene, eventually


async def test_the_main_job_in_older_room_versions(scene: Scene) -> None:
    await scene.account("alice")
    alice = await scene.person("alice")
    for version in ("10", "11"):
        await scene.service.stop()
        scene.service.change(rooms={"version": version})
        await scene.service.run()
        incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
        room = await scene.join(alice, incident)
        card = await scene.card(alice, room)
        answer = await scene.ask(alice, room, "!status")
        assert incident["incident_number"] in answer.body
        async with scene.as_bot() as bot:
            assert (await bot.get_state(room, "m.room.create"))["room_version"] == version
            levels = await bot.get_state(room, "m.room.power_levels")
            assert levels["users"] == {scene.bot: 100}
            assert levels["invite"] == 100
            assert (await bot.get_state(room, "m.room.pinned_events"))["pinned"] == [card.event_id]


async def break_in(scene: Scene, room: str, account: str) -> None:
    """What SECURITY.md tells an administrator of Synapse to do; nothing of the service takes part."""
    async with await scene.synapse.user(f"root-{room[1:9].lower()}", admin=True) as root:
        until_ms = int(time.time() * 1000) + 600_000
        token = await root.request(
            "POST", f"/_synapse/admin/v1/users/{scene.bot}/login", {"valid_until_ms": until_ms}
        )
    async with MatrixUser(scene.synapse.url, token["access_token"]) as bot:
        await bot.invite(room, account)


async def test_a_break_glass_account_is_as_powerful_as_the_bot_and_gets_in_with_the_service_down(
    scene: Scene,
) -> None:
    await scene.account("alice", "breakglass", "rescuer")
    glass = scene.mxid("breakglass")
    for version in ("11", "12"):
        await scene.service.stop()
        scene.service.change(rooms={"version": version, "additional_creators": [glass]})
        await scene.service.run()
        incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
        room = await scene.room_of(incident["id"])
        async with scene.as_bot() as bot:
            made = await bot.get_state(room, "m.room.create")
            levels = await bot.get_state(room, "m.room.power_levels")
            assert glass not in await bot.members(room), "in quiet times it isn't there"
        if version == "12":
            assert made["additional_creators"] == [glass]
            assert levels["users"] == {}
        else:
            assert "additional_creators" not in made
            assert levels["users"] == {scene.bot: 100, glass: 100}
        await scene.service.stop()
        await break_in(scene, room, glass)
        async with scene.plain("breakglass") as account:
            await account.join(room)
            await account.invite(room, scene.mxid("rescuer"))
        async with scene.plain("rescuer") as rescuer:
            await rescuer.join(room)


async def test_a_person_without_a_mapping_is_named_with_the_fix(scene: Scene) -> None:
    await scene.service.stop()
    entries = {name: scene.mxid(name) for name in ("alice", OPERATOR)}
    scene.service.change(people={"template": "", "entries": entries})
    await scene.service.run()
    await scene.etb.set_oncall(None)
    operator, control = await scene.operator()
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice", assignee="bob")
    alice, room = await scene.enter("alice", incident)

    async def told() -> str:
        # Incidents of before lose people too, now that their names lead nowhere.
        said = [event.body for event in await operator.timeline(control)]
        return next((text for text in said if incident["incident_number"] in text and "bob" in text), "")

    assert "people.entries" in await eventually(told, "the control room's word about bob")
    assert "no Matrix id" in (await scene.card(alice, room)).body
