"""Attacks on the wire: a partner's homeserver that keeps to no rule, a stranger's, a member with too much power.

`carol` is an admitted partner in good standing; what is forged in her name is signed by her own homeserver, as its
operator could.
"""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness.forger import Forger, fate
from tests.harness.ground import HOSTS, Ground
from tests.harness.http import MatrixError, MatrixUser
from tests.harness.jsclient import JsClient
from tests.harness.sandbox import Sandbox
from tests.harness.scene import PASSWORD, Scene, eventually, replied_to

GLASS = "breakglass"


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, ground: Ground, etb: Sandbox) -> AsyncIterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("service")
    slot = ground.take_slot()
    async with Scene.open(
        folder, ground.home, slot, etb,
        people={"entries": {"carol": ground.partner.mxid(f"carol-{slot.id}")}},
        rooms={
            "servers": [ground.partner.server_name],
            "additional_creators": [ground.home.mxid(f"{GLASS}-{slot.id}")],
        },
    ) as scene:  # fmt: skip
        await etb.set_oncall(None)
        await scene.account("alice", GLASS)
        yield scene


@pytest.fixture(scope="module")
async def carol(ground: Ground, scene: Scene) -> AsyncIterator[JsClient]:
    """ETB's user carol, at home on the partner's server."""
    name = f"carol-{scene.slot.id}"
    await ground.partner.register(name, PASSWORD)
    async with await JsClient.start(ground.partner.url, name, PASSWORD) as client:
        yield client


@pytest.fixture(scope="module")
def forger(ground: Ground) -> Forger:
    return Forger(ground.partner, HOSTS["home.test"], ground.authority)


async def enter(scene: Scene, carol: JsClient, title: str) -> tuple[JsClient, str, dict[str, Any]]:
    """alice and carol in the room of a new incident; carol has been answered there."""
    incident = await scene.etb.declare(title=title, severity="HIGH", reporter="alice", assignee="carol")
    alice, room = await scene.enter("alice", incident)
    await carol.wait_for_invite(room=room, inviter=scene.bot)
    await carol.join(room, via=[scene.synapse.server_name])
    assert (await scene.ask(carol, room, "!status")).body
    return alice, room, incident


async def decided(ground: Ground, event_id: str) -> str:
    """What home made of a forged event."""

    async def look() -> str:
        found = fate(ground.home, event_id)
        return "" if found in {"waiting", "unknown"} else found

    return await eventually(look, "home's decision about an event")


async def test_a_server_that_ignores_a_ban_is_not_heard(
    ground: Ground, scene: Scene, carol: JsClient, forger: Forger
) -> None:
    operator, control = await scene.operator()
    alice, room, incident = await enter(scene, carol, "Ban is ignored")
    before = forger.look(room)
    async with scene.as_bot() as bot:
        await bot.request("POST", f"/_matrix/client/v3/rooms/{room}/ban", {"user_id": carol.user_id})
        # Its server says that it has not seen the ban, and refers to the room as it was: a command in clear text,
        # and a join, with which somebody who only listens to events would count her in and give her keys.
        command = forger.event(
            before, carol.user_id, "m.room.message", {"msgtype": "m.text", "body": "!severity LOW"}
        )
        join = forger.event(
            before, carol.user_id, "m.room.member", {"membership": "join"}, state_key=carol.user_id
        )
        for forged in (command, join):
            event_id, _ = await forger.send(ground.home, before, forged)
            assert await decided(ground, event_id) == "soft-failed"
            with pytest.raises(MatrixError):
                await bot.request("GET", f"/_matrix/client/v3/rooms/{room}/event/{event_id}")
    told = await operator.wait_for(room=control, sender=scene.bot, body="they are not in the room", timeout=30)
    assert carol.user_id in told.body
    await scene.idle()
    assert (await scene.ask(alice, room, "!status")).body
    # By the tables, from which the bot takes whom it gives keys, she is still out.
    with closing(sqlite3.connect(scene.service.folder / "etb.db", timeout=20)) as tables:
        rows = tables.execute(
            "SELECT membership FROM members WHERE room_id = ? AND user_id = ?", (room, carol.user_id)
        )
        assert rows.fetchall() == [("ban",)]
    assert not [one for one in await alice.timeline(room) if "was not encrypted" in str(one.content)]
    assert (await scene.etb.incident(incident["id"]))["severity"] == "HIGH"


async def test_a_plain_text_command_injected_by_a_homeserver_is_recorded_and_not_run(
    ground: Ground, scene: Scene, carol: JsClient, forger: Forger
) -> None:
    alice, room, incident = await enter(scene, carol, "Plain text")
    view = forger.look(room)
    command = {"msgtype": "m.text", "body": "!severity LOW"}
    event_id, objection = await forger.send(
        ground.home, view, forger.event(view, carol.user_id, "m.room.message", command)
    )
    assert objection == ""
    assert await decided(ground, event_id) == "taken"
    told = await alice.wait_for(room=room, sender=scene.bot, body="was not encrypted", timeout=30)
    assert carol.user_id in told.body
    await scene.idle()
    assert (await scene.etb.incident(incident["id"]))["severity"] == "HIGH"


async def test_a_ciphertext_of_one_user_sent_by_another_is_not_run(
    ground: Ground, scene: Scene, carol: JsClient, forger: Forger
) -> None:
    alice, room, _ = await enter(scene, carol, "Stolen words")
    sent = await alice.send(room, "!status")
    await alice.wait_for(room=room, sender=scene.bot, reply_to=sent, timeout=30)

    await ground.answered(ground.home, ground.partner, sent)
    [(raw,)] = ground.partner.query("SELECT json FROM event_json WHERE event_id = ?", sent)
    stolen = json.loads(raw)["content"]
    view = forger.look(room)
    event_id, _ = await forger.send(
        ground.home, view, forger.event(view, carol.user_id, "m.room.encrypted", stolen)
    )
    assert await decided(ground, event_id) == "taken"
    told = await alice.wait_for(room=room, sender=scene.bot, body="I could not read a message", timeout=30)
    assert carol.user_id in told.body
    await scene.idle()
    seen = await alice.timeline(room, last=200)
    assert [one.body for one in seen if one.sender == scene.bot and replied_to(one) == event_id] == []
    assert len([one for one in seen if one.sender == scene.bot and replied_to(one) == sent]) == 1


async def test_state_forged_by_a_members_homeserver_is_rejected(
    ground: Ground, scene: Scene, carol: JsClient, forger: Forger
) -> None:
    _, room, _ = await enter(scene, carol, "Power for free")
    view = forger.look(room)
    async with scene.as_bot() as bot:
        levels = await bot.get_state(room, "m.room.power_levels")
        for kind, content in (
            ("m.room.power_levels", {**levels, "users": {carol.user_id: 100}}),
            ("m.room.join_rules", {"join_rule": "public"}),
            ("m.room.server_acl", {"allow": ["*"]}),
        ):
            forged = forger.event(view, carol.user_id, kind, content, state_key="")
            event_id, objection = await forger.send(ground.home, view, forged)
            assert objection or await decided(ground, event_id) == "rejected"
        assert await bot.get_state(room, "m.room.power_levels") == levels
        assert (await bot.get_state(room, "m.room.join_rules"))["join_rule"] == "invite"


async def test_nobody_is_impersonated_by_another_homeserver(
    ground: Ground, scene: Scene, carol: JsClient, forger: Forger
) -> None:
    alice, room, _ = await enter(scene, carol, "Borrowed names")
    view = forger.look(room)
    for victim in (alice.user_id, scene.bot, ground.home.mxid(f"{scene.slot.user_prefix}ghost")):
        forged = forger.event(view, victim, "m.room.message", {"msgtype": "m.text", "body": "!severity LOW"})
        event_id, objection = await forger.send(ground.home, view, forged)
        assert objection
        assert fate(ground.home, event_id) == "unknown"


async def test_nobody_takes_the_bots_name_or_a_ghosts(ground: Ground, scene: Scene) -> None:
    for name in (scene.slot.bot_localpart, f"{scene.slot.user_prefix}helper"):
        with pytest.raises(MatrixError) as refusal:
            await ground.home.register(name, PASSWORD)
        assert refusal.value.errcode in {"M_EXCLUSIVE", "M_INVALID_USERNAME"}
    # On another homeserver the bot's name is free, and means nothing.
    async with ground.user(ground.partner, scene.slot.bot_localpart) as double:
        await declines(ground, scene, double)


async def declines(ground: Ground, scene: Scene, stranger: MatrixUser) -> None:
    """The bot doesn't follow this person into a room."""
    room = await stranger.create_room(invite=[scene.bot], preset="public_chat")

    async def declined() -> bool:
        # At home: a decline that reaches the stranger's homeserver before it has stored its own invitation is
        # refused there (403), and Synapse then declines at home alone.
        asked = "SELECT membership FROM local_current_membership WHERE room_id = ? AND user_id = ?"
        return ground.home.query(asked, room, scene.bot) == [("leave",)]

    await eventually(declined, "the bot to decline")
    assert (await stranger.members(room))[scene.bot] in {"invite", "leave"}


async def test_a_strangers_invitation_of_the_bot_is_declined(ground: Ground, scene: Scene) -> None:
    async with ground.user(ground.other) as mallory:
        await declines(ground, scene, mallory)


async def test_a_member_who_was_given_power_changes_nothing_for_long(scene: Scene) -> None:
    """State forged by a moderator: the break-glass account made one, who renames the room and opens its door."""
    operator, control = await scene.operator()
    incident = await scene.etb.declare(title="Too much power", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    async with scene.plain(GLASS) as glass, scene.plain("alice") as mod, scene.as_bot() as bot:
        await bot.invite(room, glass.user_id)
        await glass.join(room)
        levels = await glass.get_state(room, "m.room.power_levels")
        await glass.put_state(room, "m.room.power_levels", {**levels, "users": {alice.user_id: 100}})
        name = await bot.get_state(room, "m.room.name")
        await mod.put_state(room, "m.room.name", {"name": "Everything is fine"})
        await mod.put_state(room, "m.room.join_rules", {"join_rule": "public"})

        async def set_back() -> bool:
            rule = await bot.get_state(room, "m.room.join_rules")
            return rule["join_rule"] == "invite" and await bot.get_state(room, "m.room.name") == name

        await eventually(set_back, "the state as it was")
        for kind in ("m.room.name", "m.room.join_rules"):
            told = await operator.wait_for(room=control, sender=scene.bot, body=f"has changed {kind}")
            assert alice.user_id in told.body
