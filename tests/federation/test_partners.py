"""Partner organisations between real homeservers: let in by two people, shut out by one, the others never there.

Carol leads and asks, alice approves. `home` is ours, `partner` is let in and out again, `other` is configured and
never let in. What a server can't read is looked for in its own database.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.harness.ground import Ground
from tests.harness.http import MatrixError, MatrixUser
from tests.harness.jsclient import JsClient, JsError
from tests.harness.sandbox import Sandbox
from tests.harness.scene import PASSWORD, Scene, eventually

ACL = "m.room.server_acl"


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, ground: Ground, etb: Sandbox) -> AsyncIterator[Scene]:
    slot = ground.take_slot()
    async with Scene.open(
        tmp_path_factory.mktemp("service"), ground.home, slot, etb,
        classification={"default": "INTERNAL", "by_category": {"Security": "RESTRICTED"}},
        roles={"meaning": {"Incident Commander": "commander"}},
        partners={
            "cert": {
                "servers": [ground.partner.server_name],
                "people": [ground.partner.mxid(f"ann-{slot.id}")],
                "patterns": ["duty-*"],
                "ceiling": "RESTRICTED",
            },
            "vendor": {"servers": [ground.other.server_name], "ceiling": "INTERNAL"},
        },
    ) as scene:  # fmt: skip
        await etb.set_oncall(None)
        yield scene


@asynccontextmanager
async def ann_of(ground: Ground, scene: Scene) -> AsyncIterator[JsClient]:
    """Whom the partner names, at a device of her own."""
    name = f"ann-{scene.slot.id}"
    try:
        await ground.partner.register(name, PASSWORD)
    except MatrixError as error:
        if error.errcode != "M_USER_IN_USE":
            raise
    async with await JsClient.start(ground.partner.url, name, PASSWORD) as client:
        yield client


async def led_by_carol(scene: Scene, **what: Any) -> tuple[Mapping[str, Any], JsClient, JsClient, str]:
    """An incident, alice and carol in its room, carol its commander."""
    incident = await scene.etb.declare(reporter="alice", assignee="carol", **what)
    alice, room = await scene.enter("alice", incident)
    carol, _ = await scene.enter("carol", incident)
    assert (await scene.ask(carol, room, "!role commander")).body
    return incident, alice, carol, room


async def admit(scene: Scene, alice: JsClient, carol: JsClient, room: str, name: str = "cert") -> str:
    """Carol asks, alice approves; the request as she read it."""
    asked = await carol.send(room, f"!partner admit {name}")
    request = await alice.wait_for(room=room, sender=scene.bot, reply_to=asked, body="Approval needed:")
    found = re.search(r"Approval needed: (\w{4})", request.body)
    assert found
    assert (await scene.ask(alice, room, f"!approve {found[1]}")).body == "Approved. It runs now."
    await carol.wait_for(room=room, sender=scene.bot, body="Let in.", reply_to=asked)
    return request.body


async def comes(person: JsClient, scene: Scene, room: str) -> None:
    """Join as soon as one is invited: the invitation is shown before our own homeserver has stored it."""
    await person.wait_for_invite(room=room, inviter=scene.bot)

    async def join() -> bool:
        try:
            await person.join(room, via=[scene.synapse.server_name])
        except JsError as error:
            if "[403]" not in str(error):
                raise
            return False
        return True

    await eventually(join, f"{person.user_id} in {room}")


async def can_not_join(ground: Ground, user: MatrixUser, room: str) -> None:
    """Their own homeserver asks ours for the room, by its id; it is refused."""
    with pytest.raises(MatrixError) as refusal:
        await user.join(room, via=ground.home.server_name)
    assert refusal.value.status in {403, 404}, refusal.value


async def test_an_admitted_partner_reads_and_asks_and_the_others_can_not_join(
    scene: Scene, ground: Ground
) -> None:
    _, alice, carol, room = await led_by_carol(scene, title="Checkout is slow")
    assert ground.partner.host not in (await alice.room_state(room, ACL))["allow"]
    async with ann_of(ground, scene) as ann, ground.user(ground.other, f"mal-{scene.slot.id}") as mallory:
        with pytest.raises(JsError):
            await ann.join(room, via=[ground.home.server_name])
        shown = await admit(scene, alice, carol, room)
        assert ground.partner.server_name in shown
        assert "They may know up to RESTRICTED; this incident is INTERNAL" in shown
        allowed = (await alice.room_state(room, ACL))["allow"]
        assert (ground.partner.host in allowed, ground.other.host in allowed) == (True, False)

        await comes(ann, scene, room)
        card = await scene.card(ann, room)
        assert "Checkout is slow" in card.current_content["body"]
        assert (await ann.shield(room, card.event_id)).clean
        assert "Checkout is slow" in (await scene.ask(ann, room, "!status")).body
        assert (await scene.ask(ann, room, "!severity low")).body == (
            "This needs the role responder of this incident."
        )
        sent = await ann.send(room, "hello from the partner")
        assert (await alice.wait_for(room=room, event_id=sent)).body == "hello from the partner"

        await can_not_join(ground, mallory, room)
        with pytest.raises(JsError):
            await alice.invite(room, mallory.user_id)
        assert mallory.user_id not in await alice.members(room)
        assert ground.other.stored_events(room) == []


async def test_somebody_else_of_theirs_is_invited_by_name_and_finds_the_incident_alone_with_the_bot(
    scene: Scene, ground: Ground
) -> None:
    incident, alice, carol, room = await led_by_carol(scene, title="Mail is late")
    name = f"duty-{scene.slot.id}"
    await ground.partner.register(name, PASSWORD)
    async with await JsClient.start(ground.partner.url, name, PASSWORD) as duty:
        refused = await scene.ask(alice, room, f"!invite {duty.user_id}")
        assert "which is not let in here" in refused.body
        await admit(scene, alice, carol, room)
        assert "Invited" in (await scene.ask(alice, room, f"!invite {duty.user_id}")).body
        await comes(duty, scene, room)
        # Inviting the bot opens a chat with it alone, on both homeservers and no other.
        mine = await duty.create_room()
        await duty.invite(mine, scene.bot)
        chat = (await duty.wait_for_invite(inviter=scene.bot)).room_id
        await comes(duty, scene, chat)
        listed = await scene.ask(duty, chat, "!incidents")
        assert incident["incident_number"] in listed.body
        allowed = set((await duty.room_state(chat, ACL))["allow"])
        assert allowed == {ground.home.host, ground.home.server_name, ground.partner.host}


async def test_the_revoked_gets_nothing_new(scene: Scene, ground: Ground) -> None:
    _, alice, carol, room = await led_by_carol(scene, title="Search is empty")
    async with ann_of(ground, scene) as ann:
        await admit(scene, alice, carol, room)
        await comes(ann, scene, room)
        await alice.send(room, "said while you are here")
        await ann.wait_for(room=room, body="said while you are here")
        await scene.card(ann, room)
    await all_sent(scene, ground, room, alice, carol)

    def keys() -> int:
        """What lies at her homeserver for her devices, which are all offline."""
        [[count]] = ground.partner.query("SELECT count(*) FROM device_inbox WHERE user_id = ?", ann.user_id)
        return int(count)

    before = keys()
    answer = await scene.ask(carol, room, "!partner revoke cert")
    assert "1 of theirs removed, their homeservers shut out" in answer.body
    assert ground.partner.host not in (await alice.room_state(room, ACL))["allow"]
    said = [
        (await scene.ask(alice, room, "!status")).event_id,
        await alice.send(room, "not for partners"),
        await carol.send(room, "nor this"),
    ]
    await carol.wait_for(room=room, event_id=said[1])
    await all_sent(scene, ground, room, alice, carol)
    assert not {one.get("event_id") for one in ground.partner.stored_events(room)} & set(said)
    assert keys() == before, "a key was sent to a device of hers"

    back = await MatrixUser.login(ground.partner.url, f"ann-{scene.slot.id}", PASSWORD)
    async with back:
        await can_not_join(ground, back, room)
        with pytest.raises(MatrixError):
            await back.send(room, "I am still here")
        assert room not in (await back.sync()).get("rooms", {}).get("invite", {})


async def all_sent(scene: Scene, ground: Ground, room: str, *people: JsClient) -> None:
    """What home had for the partner's homeserver until now, events and keys, has been answered by it.

    Each of `people` has spoken, so that their own clients have given out their keys. The bot says one thing after
    another in a room; and a transaction takes along whatever keys wait: when a later event, of another room, has
    arrived, they have.
    """
    for person in people:
        assert (await scene.ask(person, room, "!status")).body
    async with ground.user(ground.home) as here, ground.user(ground.partner) as there:
        probe = await here.create_room(preset="private_chat")
        await here.invite(probe, there.user_id)
        await there.join(probe, via=ground.home.server_name)
        await ground.answered(ground.home, ground.partner, await here.send(probe, "probe"))


async def test_a_closed_room_is_replaced_by_one_into_which_the_partner_comes(scene: Scene, ground: Ground) -> None:
    incident, alice, carol, before = await led_by_carol(scene, title="Ledger copied", category="Security")
    create = await alice.room_state(before, "m.room.create")
    assert create["m.federate"] is False
    shown = await admit(scene, alice, carol, before)
    assert "a new one takes its place" in shown

    async def moved() -> str:
        async with scene.as_bot() as bot:
            try:
                room = await bot.resolve_alias(scene.alias(incident))
            except MatrixError as error:
                if error.status != 404:
                    raise
                return ""  # freed, and not yet set again
        return room if room != before else ""

    after = await eventually(moved, "another room behind the alias")
    for client in (alice, carol):
        await client.wait_for_invite(room=after, inviter=scene.bot)
        await client.join(after)
    tombstone = await alice.wait_for(room=before, type="m.room.tombstone")
    assert tombstone.content["replacement_room"] == after
    assert (await alice.room_state(after, "m.room.create"))["predecessor"]["room_id"] == before
    assert ground.partner.host in (await alice.room_state(after, ACL))["allow"]
    ann = ground.partner.mxid(f"ann-{scene.slot.id}")

    async def invited() -> bool:
        # The alias leads to the new room before the partner's people are invited into it.
        return (await alice.members(after)).get(ann) == "invite"

    await eventually(invited, "the partner's person invited into the new room")
    # At this level keys go to verified devices only: somebody new, whose first device signs itself.
    name = f"duty-ledger-{scene.slot.id}"
    await ground.partner.register(name, PASSWORD)
    async with await JsClient.start(ground.partner.url, name, PASSWORD) as duty:
        assert "Invited" in (await scene.ask(alice, after, f"!invite {duty.user_id}")).body
        await comes(duty, scene, after)
        card = await scene.card(duty, after)
        assert "Ledger copied" in card.current_content["body"]
        assert "Ledger copied" in (await scene.ask(duty, after, "!status")).body
        with pytest.raises(JsError):
            await duty.join(before, via=[ground.home.server_name])
    assert "Ledger copied" not in str(ground.partner.stored_events(after)), "above INTERNAL servers read a number"
    with pytest.raises(JsError):
        await alice.send(before, "nobody talks past the others here")
    assert (await scene.ask(alice, after, "!status")).body


async def test_above_its_ceiling_a_partner_is_not_let_in(scene: Scene, ground: Ground) -> None:
    _, alice, carol, room = await led_by_carol(scene, title="Keys leaked", category="Security")
    answer = await scene.ask(carol, room, "!partner admit vendor")
    assert "may know incidents up to INTERNAL, and this one is RESTRICTED" in answer.body
    assert (await alice.room_state(room, "m.room.create"))["m.federate"] is False
    assert ground.other.stored_events(room) == []
