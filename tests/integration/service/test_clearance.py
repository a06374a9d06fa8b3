"""What ETB takes away, and who comes where they may not be: out within one poll, and without the next key."""

import pytest

from tests.harness.scene import Scene, eventually


async def is_out(scene: Scene, room: str, username: str) -> bool:
    async with scene.as_bot() as bot:
        return (await bot.members(room)).get(scene.mxid(username)) == "leave"


async def reads_nothing_new(scene: Scene, room: str, username: str) -> None:
    """The bot speaks, and whoever was put out gets neither the message nor its key."""
    alice, gone = scene.people["alice"], scene.people[username]
    answer = await scene.ask(alice, room, "!status")
    seen = [one for one in await gone.timeline(room, last=200) if one.event_id == answer.event_id]
    assert seen == []


@pytest.mark.parametrize("what", ["clearance", "account"])
async def test_what_etb_takes_away_is_gone_from_every_room_within_one_poll(scene: Scene, what: str) -> None:
    first = await scene.etb.declare(title="Mail is down", severity="LOW", reporter="alice", assignee="carol")
    second = await scene.etb.declare(title="Web is down", severity="LOW", reporter="alice", assignee="carol")
    _, one = await scene.enter("alice", first)
    _, two = await scene.enter("alice", second)
    for incident in (first, second):
        await scene.enter("carol", incident)
    operator, control = await scene.operator()
    await scene.idle()
    try:
        if what == "clearance":
            await scene.etb.set_clearance("carol", "PUBLIC")
        else:
            await scene.etb.set_user("carol", is_locked=True)
        for room in (one, two):
            await eventually(lambda room=room: is_out(scene, room, "carol"), "carol to be removed")  # type: ignore[misc]
            await reads_nothing_new(scene, room, "carol")
        told = await operator.wait_for(room=control, sender=scene.bot, body="was removed from the room")
        assert "carol" in told.body
    finally:
        await scene.etb.set_user("carol", is_locked=False, clearance="RESTRICTED")


async def test_whoever_is_in_a_room_without_being_permitted_is_put_out_at_once(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Mail is down", severity="LOW", reporter="alice")
    _, room = await scene.enter("alice", incident)
    await scene.account("mallory")
    async with scene.as_bot() as bot:
        # As an administrator of the homeserver could: an invitation that the service has not decided.
        await bot.request("POST", f"/_matrix/client/v3/rooms/{room}/invite", {"user_id": scene.mxid("mallory")})
    await eventually(lambda: is_out(scene, room, "mallory"), "mallory to be removed")


async def test_a_raised_level_removes_by_name_and_before_anything_is_said(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Mail is down", severity="LOW", reporter="alice", assignee="bob")
    alice, room = await scene.enter("alice", incident)
    await scene.enter("bob", incident)
    await scene.ask(alice, room, "!role commander")
    preview = await scene.ask(alice, room, "!classify restricted")
    assert scene.mxid("bob") in preview.body
    await alice.send(room, "yes")  # answered below the command
    await eventually(lambda: is_out(scene, room, "bob"), "bob to be removed")
    assert (await scene.etb.incident(incident["id"]))["data_classification"] == "RESTRICTED"
    await reads_nothing_new(scene, room, "bob")
