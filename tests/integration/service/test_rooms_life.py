"""A room ends with its incident, and comes back with it, as people at their clients see it."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.harness.http import MatrixError, MatrixUser
from tests.harness.scene import Scene, eventually

FETCHED = r"events fetched that the homeserver had not sent"
"""The bot comes into a room that others made: what was said there before is fetched."""
SECTIONS = {"closing": {"read_only_after_hours": 0}}


async def _is_linked(scene: Scene, room: str) -> bool:
    """Whether the Space shows the room."""
    space = await scene.room_of("incidents")
    async with scene.as_bot() as bot:
        try:
            return bool((await bot.get_state(space, "m.space.child", room)).get("via"))
        except MatrixError as error:
            if error.status != 404:
                raise
            return False


async def _becomes(scene: Scene, room: str, *, linked: bool) -> None:
    async def look() -> bool:
        return await _is_linked(scene, room) is linked

    await eventually(look, f"a room that is {'in' if linked else 'out of'} the Space")


async def _levels(bot: MatrixUser, room: str) -> dict[str, Any]:
    return await bot.get_state(room, "m.room.power_levels")


async def test_a_closed_room_can_be_read_and_is_back_when_the_incident_is_reopened(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Wiki is down", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await _becomes(scene, room, linked=True)
    await scene.etb.patch(incident["id"], status="CLOSED")
    told = await alice.wait_for(room=room, sender=scene.bot, body="is closed")
    assert "From now on it can be read, and nobody but me writes here." in told.body
    assert (await alice.shield(room, told.event_id)).clean
    await _becomes(scene, room, linked=False)
    async with scene.as_bot() as bot:

        async def look() -> bool:
            return int((await _levels(bot, room))["events_default"]) == 100

        await eventually(look, "a room that is only read")
    with pytest.raises(Exception, match=r"403|FORBIDDEN"):
        await alice.send(room, "one more thing")
    await scene.etb.patch(incident["id"], status="OPEN")
    await alice.wait_for(room=room, sender=scene.bot, body="is open again")
    await _becomes(scene, room, linked=True)
    answer = await scene.ask(alice, room, "!status")
    assert "Wiki is down" in answer.body


async def test_a_duplicate_leads_to_its_original(scene: Scene) -> None:
    original = await scene.etb.declare(title="Mail is down", reporter="alice")
    incident = await scene.etb.declare(title="No mail", reporter="alice")
    alice, _ = await scene.enter("alice", original)
    _, room = await scene.enter("alice", incident)
    there = await scene.room_of(original)
    await scene.etb.patch(incident["id"], is_duplicate=True, original_incident_id=original["id"])
    told = await alice.wait_for(room=room, sender=scene.bot, body="is a duplicate of")
    assert original["incident_number"] in told.body
    assert there in str(told.content.get("formatted_body"))
    await _becomes(scene, room, linked=False)

    async def look() -> list[str]:
        rows = await scene.etb.timeline(original["id"])
        return [one["title"] for one in rows if "is a duplicate of this incident" in one["title"]]

    await eventually(look, "an entry on the original's timeline")


async def _break_glass(scene: Scene, version: str) -> None:
    """The service runs on, with a break-glass account in every new room's creators."""
    await scene.account("breakglass")
    await scene.service.stop()
    scene.service.change(rooms={"version": version, "additional_creators": [scene.mxid("breakglass")]})
    await scene.service.run()


async def _upgrade(scene: Scene, glass: MatrixUser, room: str, **more: Any) -> str:
    """As a client does it: the homeserver makes the successor, then people are invited there."""
    async with scene.as_bot() as bot:
        await bot.invite(room, scene.mxid("breakglass"))
    await glass.join(room)
    path = f"/_matrix/client/v3/rooms/{quote(room, safe='')}/upgrade"
    answer = await glass.request("POST", path, {"new_version": "12", **more})
    return str(answer["replacement_room"])


@pytest.mark.complaints(FETCHED)
@pytest.mark.parametrize("version", ["11", "12"])
async def test_a_room_upgraded_by_the_break_glass_account_is_followed(scene: Scene, version: str) -> None:
    await _break_glass(scene, version)
    incident = await scene.etb.declare(title=f"Proxy of {version} is down", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    async with scene.plain("breakglass") as glass:
        creators = {"additional_creators": [scene.bot]}
        new = await _upgrade(scene, glass, room, **creators)
        await glass.invite(new, scene.bot)
        invite = await alice.wait_for_invite(room=new, timeout=90)
        assert invite.inviter == scene.bot
        await alice.join(new)
    answer = await scene.ask(alice, new, "!status")
    assert f"Proxy of {version} is down" in answer.body
    await scene.card(alice, new)
    async with scene.as_bot() as bot:
        assert await bot.resolve_alias(scene.alias(incident)) == new
        alias = await bot.get_state(new, "m.room.canonical_alias")
        assert alias["alias"] == scene.alias(incident)
    await _becomes(scene, room, linked=False)
    await _becomes(scene, new, linked=True)


@pytest.mark.complaints(FETCHED)
async def test_a_successor_in_which_the_bot_has_no_power_is_waited_for(scene: Scene) -> None:
    await _break_glass(scene, "12")
    incident = await scene.etb.declare(title="Cache is cold", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    async with scene.plain("breakglass") as glass:
        new = await _upgrade(scene, glass, room)
        await glass.invite(new, scene.bot)

        async def joined() -> bool:
            return (await glass.members(new)).get(scene.bot) == "join"

        await eventually(joined, "the bot in the successor", timeout=60)
        assert await scene.room_of(incident) in {room, new}
        levels = await glass.get_state(new, "m.room.power_levels")
        await glass.put_state(new, "m.room.power_levels", {**levels, "users": {scene.bot: 100}})
        await alice.wait_for_invite(room=new, timeout=90)
