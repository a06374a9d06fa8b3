"""ETB users of the web in a room of the running service, as matrix-js-sdk shows them.

What the web asks for is put into the outbox of the running service, as its own decisions put it there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from etb_appservice.config import load
from etb_appservice.domain.effects import Say
from etb_appservice.domain.ids import IncidentId, RoomId, Username, new_id
from etb_appservice.ops.clock import SystemClock
from etb_appservice.ports import Store
from etb_appservice.store.sql import open_store
from tests.harness.jsclient import JsClient
from tests.harness.scene import Scene, eventually


@asynccontextmanager
async def tables(scene: Scene) -> AsyncIterator[Store]:
    """The service's own database."""
    settings = load(scene.service.config, {}).settings
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, SystemClock()) as store:
        yield store


def ghost(scene: Scene, name: str) -> str:
    return f"@{scene.slot.user_prefix}u_{name}:{scene.synapse.server_name}"


async def web_says(scene: Scene, incident: str, room: str, *said: tuple[str, str]) -> None:
    """People of the web say something, as (username, text)."""
    async with tables(scene) as store, store.work() as work:
        for name, text in said:
            say = Say(room_id=RoomId(room), content=text, speaker=Username(name))
            await work.outbox.add(f"web/{new_id(0)}/say/{new_id(0)}", IncidentId(incident), say)


async def read_clean(person: JsClient, room: str, sender: str, text: str) -> None:
    heard = await person.wait_for(room=room, sender=sender, body=text, type="m.room.message")
    assert (heard.body, heard.content["msgtype"]) == (text, "m.text")
    shield = await person.shield(room, heard.event_id)
    assert shield.clean, (text, shield)


async def test_people_of_the_web_speak_without_a_shield_and_are_shown_once(scene: Scene) -> None:
    alice = await scene.person("alice")
    await alice.exclude_insecure_devices()
    incident = await scene.etb.declare(title="Web and Matrix", reporter="alice", assignee="bob")
    await scene.account("bob")
    room = await scene.join(alice, incident)
    await scene.card(alice, room)
    await web_says(scene, incident["id"], room, ("bob", "from the web"), ("alice", "me too"), ("bob", "again"))
    for name, text in (("bob", "from the web"), ("alice", "me too"), ("bob", "again")):
        await read_clean(alice, room, ghost(scene, name), text)
    order = [one.body for one in await alice.timeline(room) if one.sender.startswith(f"@{scene.slot.user_prefix}")]
    assert [body for body in order if body] == ["from the web", "me too", "again"]
    name = (await alice.room_state(room, "m.room.member", ghost(scene, "bob")))["displayname"]
    assert name.endswith(" (ETB)")
    assert name != "bob (ETB)", "as ETB calls them"
    listed = (await scene.ask(alice, room, "!who")).body
    assert listed.count("alice (") == 1
    assert "also here through ETB's web page" in listed
    await web_says(scene, incident["id"], room, ("bob", "!status"))
    await read_clean(alice, room, ghost(scene, "bob"), "!status")
    again = await scene.ask(alice, room, "!status")
    seen = [one for one in await alice.timeline(room) if one.sender == scene.bot and "INC" in (one.body or "")]
    assert again.event_id in {one.event_id for one in seen}
    await alice.exclude_insecure_devices(on=False)


async def test_whoever_loses_the_right_speaks_no_more(scene: Scene) -> None:
    alice = await scene.person("alice")
    incident = await scene.etb.declare(title="No longer bob's", reporter="alice", assignee="bob")
    room = await scene.join(alice, incident)
    await web_says(scene, incident["id"], room, ("bob", "while I may"))
    await read_clean(alice, room, ghost(scene, "bob"), "while I may")
    await scene.etb.set_clearance("bob", "PUBLIC")
    await scene.etb.patch(incident["id"], category="Security")

    async def is_out() -> bool:
        return (await alice.members(room)).get(ghost(scene, "bob")) == "leave"

    await eventually(is_out, "the ghost to be removed")
    await web_says(scene, incident["id"], room, ("bob", "no more"), ("alice", "the next one"))
    await read_clean(alice, room, ghost(scene, "alice"), "the next one")
    assert not [one for one in await alice.timeline(room) if one.body == "no more"]
    await scene.etb.set_clearance("bob", "CONFIDENTIAL")


async def test_a_killed_service_goes_on_with_the_same_ghost(scene: Scene) -> None:
    alice = await scene.person("alice")
    incident = await scene.etb.declare(title="Killed", reporter="alice", assignee="carol")
    room = await scene.join(alice, incident)
    texts = [f"word {number}" for number in range(12)]
    for number, text in enumerate(texts):
        await web_says(scene, incident["id"], room, ("carol", text))
        if number % 4 == 1:
            await scene.service.kill()
            await scene.service.run()
    for text in texts:
        await read_clean(alice, room, ghost(scene, "carol"), text)
    said = [one.body for one in await alice.timeline(room, last=200) if one.sender == ghost(scene, "carol")]
    assert [body for body in said if body] == texts
    identity = await alice.devices(ghost(scene, "carol"))
    assert [device.signed_by_owner for device in identity.devices] == [True]
    assert not identity.identity_changed
