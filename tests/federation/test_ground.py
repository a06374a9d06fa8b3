"""The ground itself: what a server ACL does between real homeservers. Rooms made by a plain user of home."""

import pytest

from tests.harness.ground import Ground, acl
from tests.harness.http import Json, MatrixError, MatrixUser
from tests.harness.scene import eventually


async def _says(user: MatrixUser, room: str, text: str) -> Json | None:
    """The message with this text, if this user's server has it."""
    found = (event for event in await user.messages(room) if event["content"].get("body") == text)
    return next(found, None)


async def _room(user: MatrixUser, *invited: MatrixUser, rule: Json | None = None) -> str:
    state = [{"type": "m.room.server_acl", "state_key": "", "content": rule}] if rule else []
    room = await user.create_room(preset="private_chat", initial_state=state)
    for one in invited:
        await user.invite(room, one.user_id)
    return room


async def test_an_admitted_partner_joins_and_each_hears_the_other(ground: Ground) -> None:
    async with ground.user(ground.home) as alice, ground.user(ground.partner) as carol:
        room = await _room(alice, carol, rule=acl(ground.home, ground.partner))
        await carol.join(room, via=ground.home.server_name)
        await alice.send(room, "from home")
        await eventually(lambda: _says(carol, room, "from home"), "what home said, at the partner's")
        await carol.send(room, "from the partner")
        heard = await eventually(lambda: _says(alice, room, "from the partner"), "what the partner said, at home")
        assert heard["sender"] == carol.user_id
        assert ground.partner.host == "partner.test" != ground.home.host


async def test_a_server_that_the_acl_does_not_name_can_not_join(ground: Ground) -> None:
    async with ground.user(ground.home) as alice, ground.user(ground.other) as mallory:
        room = await _room(alice, rule=acl(ground.home, ground.partner))
        await alice.put_state(room, "m.room.join_rules", {"join_rule": "public"})
        with pytest.raises(MatrixError) as refusal:
            await mallory.join(room, via=ground.home.server_name)
        assert refusal.value.status == 403
        assert mallory.user_id not in await alice.members(room)


async def test_a_server_that_was_put_out_of_the_acl_sends_and_hears_nothing_more(ground: Ground) -> None:
    async with (
        ground.user(ground.home) as alice,
        ground.user(ground.partner) as carol,
        ground.user(ground.other) as mallory,
    ):
        room = await _room(alice, carol, mallory)
        for far in (carol, mallory):
            await far.join(room, via=ground.home.server_name)
        await mallory.send(room, "while it was open")
        await eventually(lambda: _says(alice, room, "while it was open"), "the message at home")
        rule = await alice.put_state(room, "m.room.server_acl", acl(ground.home, ground.partner))
        await ground.answered(ground.home, ground.partner, rule)
        # Their own server takes it from them, whatever the ACL says; the others don't take it from their server.
        refused = await mallory.send(room, "though it is closed")
        for server in (ground.home, ground.partner):
            await ground.answered(ground.other, server, refused)
        assert await _says(alice, room, "though it is closed") is None
        assert await _says(carol, room, "though it is closed") is None
        # An ACL doesn't keep what is said from a server that still has somebody in the room: only removal does.
        heard = await alice.send(room, "said at home after it")
        await ground.answered(ground.home, ground.other, heard)
        await alice.kick(room, mallory.user_id)
        told = await alice.send(room, "said after the removal")
        await ground.answered(ground.home, ground.partner, told)
        assert await _says(carol, room, "said after the removal")
        assert "said after the removal" not in str(ground.other.stored_events(room))


async def test_a_room_that_does_not_federate_lets_nobody_else_in(ground: Ground) -> None:
    async with ground.user(ground.home) as alice, ground.user(ground.partner) as carol:
        room = await alice.create_room(preset="public_chat", creation_content={"m.federate": False})
        with pytest.raises(MatrixError):
            await alice.invite(room, carol.user_id)
        with pytest.raises(MatrixError):
            await carol.join(room, via=ground.home.server_name)
