"""Break-glass with real clients: somebody is let in while ETB is away, reads what is said, and is out again."""

import re
import time
from typing import Any

import pytest

from etb_appservice.domain.ids import UserId, direct_id
from tests.harness.http import MatrixError
from tests.harness.jsclient import JsClient
from tests.harness.scene import Scene, eventually

AWAY = "etb|ETB"
QUICK = 0.01
"""In hours: 36 seconds."""


async def ready(scene: Scene) -> tuple[JsClient, str]:
    """The operator holds one role, somebody whom ETB doesn't know the other; that one's chat with the bot."""
    await scene.account("ciso", "dora")
    await scene.service.stop()
    scene.service.change(break_glass={"first": ["operator"], "second": [scene.mxid("ciso")]})
    await scene.service.run()
    ciso = await scene.person("ciso")
    own = await ciso.create_room()
    await ciso.invite(own, scene.bot)
    chat = await scene.room_of(f"direct_{direct_id(UserId(ciso.user_id))}")
    if chat not in (await ciso.http("GET", "/joined_rooms"))["joined_rooms"]:
        await ciso.wait_for_invite(room=chat)
        await ciso.join(chat)
    return ciso, chat


async def let_in(scene: Scene, ciso: JsClient, chat: str, incident: dict[str, Any], hours: float) -> None:
    """Asked in the control room, approved in a chat alone."""
    operator, control = await scene.operator()
    words = f"!breakglass {incident['incident_number']} {scene.mxid('dora')} {hours} She knows the old mail server"
    request = await scene.ask(operator, control, words)
    found = re.search(r"Approval needed: ([A-Z2-9]{4})", request.body.replace("`", "").replace("*", ""))
    assert found, request.body
    answer = await scene.ask(ciso, chat, f"!approve {found[1]}")
    assert "Approved. It runs now." in answer.body
    told = await operator.wait_for(room=control, sender=scene.bot, body=f"{scene.mxid('dora')} is let in until")
    assert "UTC" in told.body


async def session_of(person: JsClient, room: str, event_id: str) -> str:
    """The Megolm session in which an event was sent."""
    event = await person.http("GET", f"/rooms/{room}/event/{event_id}")
    return str(event["content"]["session_id"])


async def becomes(scene: Scene, room: str, membership: str) -> None:
    """Dora's membership, as the homeserver has it."""

    async def look() -> bool:
        async with scene.as_bot() as bot:
            try:
                member = await bot.get_state(room, "m.room.member", scene.mxid("dora"))
            except MatrixError as error:
                if error.status != 404:
                    raise
                return False
        return bool(member["membership"] == membership)

    await eventually(look, f"dora to be {membership}", timeout=90)


@pytest.mark.complaints(AWAY)
async def test_somebody_is_let_in_while_etb_is_away_reads_on_and_gets_no_key_after_the_end(scene: Scene) -> None:
    ciso, chat = await ready(scene)
    incident = await scene.etb.declare(title="Mail is down", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.card(alice, room)
    await scene.etb.fault("error", status=503)
    await let_in(scene, ciso, chat, incident, QUICK)
    assert "is let in until" in (await alice.wait_for(room=room, sender=scene.bot, body="Break-glass")).body
    dora = await scene.person("dora")
    await dora.wait_for_invite(room=room)
    await dora.join(room)
    asked = await scene.ask(dora, room, "!task add Look at the old mail server")
    assert (await dora.shield(room, asked.event_id)).clean
    before = await alice.wait_for(room=room, event_id=asked.event_id)
    over = await alice.wait_for(room=room, sender=scene.bot, body="its time is over", timeout=90)
    assert "They are out." in over.body
    await becomes(scene, room, "leave")
    # What is said from then on is in a session of which she was never given the key.
    assert await session_of(alice, room, over.event_id) != await session_of(alice, room, before.event_id)
    assert over.event_id not in {one.event_id for one in await dora.timeline(room, last=200)}
    await scene.etb.clear_faults()

    async def written() -> bool:
        titles = [str(one["title"]) for one in await scene.etb.timeline(incident["id"])]
        return sum("reak-glass" in title for title in titles) == 2

    await eventually(written, "both entries on ETB's timeline", timeout=60)


@pytest.mark.complaints(AWAY)
async def test_a_service_that_was_down_at_the_end_lets_them_out_when_it_starts(scene: Scene) -> None:
    ciso, chat = await ready(scene)
    incident = await scene.etb.declare(title="Wiki is down", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await let_in(scene, ciso, chat, incident, QUICK)
    dora = await scene.person("dora")
    await dora.wait_for_invite(room=room)
    await dora.join(room)
    said = await scene.ask(dora, room, "!status")
    await scene.service.kill()
    since = await alice.mark()
    ends_ms = (await alice.wait_for(room=room, sender=scene.bot, body="is let in until")).ts + QUICK * 3600 * 1000

    async def is_over() -> bool:
        return bool(await alice.http("GET", "/account/whoami")) and _now_ms() > ends_ms

    await eventually(is_over, "the end of the time", timeout=60)
    await scene.service.run()
    await becomes(scene, room, "leave")
    over = await alice.wait_for(room=room, sender=scene.bot, body="its time is over", since=since, timeout=60)
    assert await session_of(alice, room, over.event_id) != await session_of(alice, room, said.event_id)
    assert over.event_id not in {one.event_id for one in await dora.timeline(room, last=200)}
    operator, control = await scene.operator()
    listed = await scene.ask(operator, control, "!breakglass list")
    assert "not reviewed" in listed.body


def _now_ms() -> float:
    return time.time() * 1000
