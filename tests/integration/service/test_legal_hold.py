"""A legal hold of ETB's: neither side can delete anything of the incident until ETB releases it."""

from typing import Any

import pytest

from tests.harness.jsclient import JsError
from tests.harness.scene import Scene, eventually
from tests.integration.service.test_both_ways import begun
from tests.integration.service.test_chat_api import web

HOLDS = "/api/compliance/legal-holds/"
THUMB = "\N{THUMBS UP SIGN}"


async def test_under_a_legal_hold_neither_side_deletes_anything(scene: Scene) -> None:
    async with web(scene) as page:
        both = await begun(scene, page, "Somebody read the mail of others")
        alice, room = both.alice, both.room
        sent = await alice.send(room, "I found this in the log")
        message = await both.by_text("I found this in the log")
        reaction = await alice.react(room, sent, THUMB)
        posted = await both.post("So did I")
        await both.heard("So did I")

        async def detail() -> Any:
            return await page.get("bob", f"war-rooms/{both.war_room}/")

        async def is_held() -> bool:
            return bool((await detail())["legal_hold"])

        assert not await is_held()
        incident = (await detail())["incident"]
        status, hold = await scene.etb.call(
            "POST", HOLDS, {"name": "Mail", "case_number": "1 O 17/26", "incident_ids": [incident]}
        )
        assert status == 201
        await alice.wait_for(room=room, sender=scene.bot, body="is under legal hold.")
        assert await is_held()
        for event_id in (sent, reaction):
            with pytest.raises(JsError, match="permission"):
                await alice.redact(room, event_id)
        path = f"war-room-messages/{posted['id']}/"
        status, answer = await page.call("bob", "DELETE", path)
        assert (status, answer["code"]) == (423, "legal_hold")
        await alice.edit(room, sent, "I found this in the log of mail")
        await both.until(message["id"], "the edit", lambda one: one["is_edited"])
        await both.do("PATCH", f"{posted['id']}/", {"content": "So did I, twice"})
        await alice.wait_for(room=room, sender=both.ghost, body="* So did I, twice")

        assert (await scene.etb.call("POST", f"{HOLDS}{hold['id']}/release/"))[0] == 200
        await alice.wait_for(room=room, sender=scene.bot, body="was released")
        assert not await is_held()
        await alice.redact(room, sent)
        assert (await page.call("bob", "DELETE", path))[0] == 200

        async def both_gone() -> bool:
            seen = await alice.timeline(room, last=50)
            gone = {one.event_id for one in seen if one.redacted}
            status, _ = await page.call("bob", "GET", f"war-room-messages/{message['id']}/")
            return sent in gone and len(gone) > 1 and status == 404

        await eventually(both_gone, "both messages to go on both sides")
