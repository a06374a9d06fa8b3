"""What makes a phone ring: pages and notices, with the incident's room on default, mentions only, and muted.

A stand-in push gateway hears what a real Synapse would send to a phone. Push rules run on ciphertext: Synapse sees
neither that a message is a notice nor whom it mentions.
"""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from etb_appservice.domain.ids import UserId, direct_id
from tests.harness.http import MatrixUser
from tests.harness.jsclient import JsClient
from tests.harness.pushes import PushGateway
from tests.harness.scene import Scene

SECTIONS = {"duty": {"look_every_s": 0.5}}
_RULES = "/_matrix/client/v3/pushrules/global"


@pytest.fixture(scope="module")
async def phone(scene: Scene) -> AsyncIterator[PushGateway]:
    """Carol's phone."""
    await scene.account("alice", "carol")
    async with PushGateway.open() as gateway, scene.plain("carol") as carol:
        await gateway.register(carol)
        yield gateway


async def set_room(person: MatrixUser, room: str, setting: str) -> None:
    """As Element sets a room's notifications."""
    match setting:
        case "mentions only":
            await person.request("PUT", f"{_RULES}/room/{quote(room, safe='')}", {"actions": ["dont_notify"]})
        case "muted":
            condition = {"kind": "event_match", "key": "room_id", "pattern": room}
            rule = {"conditions": [condition], "actions": ["dont_notify"]}
            await person.request("PUT", f"{_RULES}/override/{quote(room, safe='')}", rule)


async def mark(scene: Scene, phone: PushGateway) -> None:
    """Something that surely rings: whatever rang before it has rung by then."""
    async with scene.plain("alice") as alice, scene.plain("carol") as carol:
        room = await alice.create_room(is_direct=True, invite=[scene.mxid("carol")])
        await carol.join(room)
        await phone.until(await alice.send(room, "ring"))


async def stage(scene: Scene, setting: str) -> tuple[JsClient, JsClient, str, dict[str, Any]]:
    """Alice and carol in an incident's room, which carol has set so."""
    incident = await scene.etb.declare(title=f"Mail is down ({setting})", reporter="alice", assignee="carol")
    alice, room = await scene.enter("alice", incident)
    carol, _ = await scene.enter("carol", incident)
    await scene.card(carol, room)
    async with scene.plain("carol") as plain:
        await set_room(plain, room, setting)
    return alice, carol, room, incident


async def direct_room(scene: Scene, carol: JsClient) -> str:
    """Carol's chat with the bot; she accepts the invitation if she hasn't yet."""
    room = await scene.room_of(f"direct_{direct_id(UserId(scene.mxid('carol')))}")
    if room not in (await carol.http("GET", "/joined_rooms"))["joined_rooms"]:
        assert (await carol.wait_for_invite(room=room)).inviter == scene.bot
        await carol.join(room)
    return room


async def test_the_first_page_rings_by_the_invitation_to_the_direct_chat(scene: Scene, phone: PushGateway) -> None:
    alice, carol, room, incident = await stage(scene, "muted")
    await scene.ask(alice, room, "!page carol the queue is full")
    direct = await direct_room(scene, carol)
    letter = await carol.wait_for(room=direct, sender=scene.bot, body=incident["incident_number"])
    assert letter.encrypted
    assert "the queue is full" in letter.body
    assert room in letter.body
    await mark(scene, phone)
    invited = [one for one in phone.rung if one["room_id"] == direct and one["type"] == "m.room.member"]
    assert len(invited) == 1


@pytest.mark.parametrize(
    ("setting", "room_rings"), [("default", True), ("mentions only", False), ("muted", False)]
)
async def test_a_page_rings_by_direct_chat_however_the_room_is_set(
    scene: Scene, phone: PushGateway, setting: str, room_rings: bool
) -> None:
    alice, carol, room, incident = await stage(scene, setting)
    page = await alice.send(room, "!page carol please look")
    direct = await direct_room(scene, carol)
    in_room = await carol.wait_for(room=room, sender=scene.bot, body="Acknowledge with")
    alone = await carol.wait_for(room=direct, sender=scene.bot, body=incident["incident_number"])
    assert in_room.content["msgtype"] == "m.text"
    assert in_room.content["m.mentions"] == {"user_ids": [scene.mxid("carol")]}
    await phone.until(alone.event_id)
    answer = await alice.wait_for(room=room, sender=scene.bot, reply_to=page)
    assert "ETB has started an escalation" in answer.body
    await mark(scene, phone)
    assert phone.has_rung(in_room.event_id) is room_rings
    [ring] = [one for one in phone.rung if one["event_id"] == alone.event_id]
    assert ring["prio"] == "high"
    assert ring["type"] == "m.room.encrypted"
    assert "content" not in ring or "body" not in ring["content"]


@pytest.mark.parametrize(
    ("setting", "room_rings"), [("default", True), ("mentions only", False), ("muted", False)]
)
async def test_a_routine_notice_rings_only_where_the_room_is_on_default(
    scene: Scene, phone: PushGateway, setting: str, room_rings: bool
) -> None:
    _alice, carol, room, incident = await stage(scene, setting)
    await scene.etb.put_sla_at(60, incident["id"])
    notice = await carol.wait_for(room=room, sender=scene.bot, body="50 % of its time has passed", timeout=45)
    assert notice.content["msgtype"] == "m.notice"
    assert not notice.content["m.mentions"]
    await mark(scene, phone)
    assert phone.has_rung(notice.event_id) is room_rings
