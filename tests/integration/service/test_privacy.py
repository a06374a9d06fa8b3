"""What others can read: the homeserver's operator in its database, and whoever gets hold of our own files."""

from pathlib import Path

import pytest

from tests.harness.jsclient import JsError
from tests.harness.scene import Scene
from tests.harness.stage import OpenScene

TITLE = "Zephyrquartz ledger copied"
DESCRIPTION = "Moonstonelane was seen in the cellar"
SAID = "Gallowglass knows the way"
SECRETS = (b"Zephyrquartz", b"Moonstonelane", b"Gallowglass")


@pytest.fixture
async def restricted(open_scene: OpenScene) -> Scene:
    classification = {"default": "INTERNAL", "by_category": {"Security": "RESTRICTED"}}
    return await open_scene(classification=classification)


def held_in(folder: Path, pattern: str) -> bytes:
    """Every byte of the files of a database, its write-ahead log included."""
    files = sorted(folder.glob(pattern))
    assert files
    return b"".join(path.read_bytes() for path in files)


async def test_a_restricted_incident_shows_servers_its_number_and_is_sealed_in_our_own_files(
    restricted: Scene,
) -> None:
    scene = restricted
    await scene.account("alice", "carol", "bob")
    alice = await scene.person("alice")
    incident = await scene.etb.declare(
        title=TITLE, description=DESCRIPTION, severity="HIGH", reporter="alice", category="Security"
    )
    number = incident["incident_number"]
    room = await scene.join(alice, incident)
    await scene.card(alice, room, body=TITLE)
    answer = await scene.ask(alice, room, "!status")
    assert TITLE in answer.body
    await alice.send(room, SAID)
    await scene.ask(alice, room, "!help Gallowglass")
    await scene.etb.patch(incident["id"], severity="CRITICAL", title=TITLE + " twice")
    await scene.card(alice, room, body="twice")

    # The homeserver: its tables, and every byte of its files.
    events = scene.synapse.stored_events(room)
    by_type = {event["type"]: event for event in events if "state_key" in event}
    assert by_type["m.room.create"]["content"]["m.federate"] is False
    assert by_type["m.room.history_visibility"]["content"] == {"history_visibility": "joined"}
    assert by_type["m.room.join_rules"]["content"] == {"join_rule": "invite"}
    assert by_type["m.room.name"]["content"] == {"name": number}
    assert "m.room.avatar" not in by_type
    assert by_type.get("m.room.topic", {"content": {"topic": ""}})["content"]["topic"] == ""
    assert {event["type"] for event in events if "state_key" not in event} == {"m.room.encrypted"}
    aliases = [
        row[0] for row in scene.synapse.query("SELECT room_alias FROM room_aliases WHERE room_id = ?", room)
    ]
    assert aliases == [scene.alias(incident)]
    for (text,) in scene.synapse.query("SELECT json FROM event_json"):
        for secret in SECRETS:
            assert secret.decode() not in text
    kept = held_in(scene.synapse.directory, "homeserver.db*")
    assert number.encode() in kept, "the search finds what is there"
    for secret in (*SECRETS, b"not invited", b"What you can ask me here"):
        assert secret not in kept

    # Only the bot invites.
    levels = by_type["m.room.power_levels"]["content"]
    assert levels["invite"] > levels["users_default"]
    with pytest.raises(JsError) as refusal:
        await alice.invite(room, scene.mxid("carol"))
    assert refusal.value.errcode == "M_FORBIDDEN"

    # Our own files, while the service runs and after.
    scene.assert_quiet()
    await scene.service.stop()
    ours = held_in(scene.service.folder, "*.db*")
    assert room.encode() in ours, "the search finds what is there"
    config = scene.service.settings()
    for secret in (
        *SECRETS,
        answer.body.splitlines()[0].encode(),
        b"What you can ask me here",
        scene.slot.as_token.encode(),
        scene.slot.hs_token.encode(),
        scene.etb.token.encode(),
        scene.service.webhook_secret.encode(),
        config["encryption"]["key"].encode(),
    ):
        assert secret not in ours
    for secret in SECRETS:
        assert secret.decode() not in scene.service.log()


async def test_a_confidential_room_hides_its_title_from_servers_and_an_internal_one_need_not(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene()
    await scene.account("alice")
    closed = await scene.etb.declare(title="Zephyrquartz", reporter="alice", category="Security")
    opened = await scene.etb.declare(title="Coffee is out", reporter="alice")
    async with scene.as_bot() as bot:
        name = await bot.get_state(await scene.room_of(closed), "m.room.name")
        assert name == {"name": closed["incident_number"]}
        name = await bot.get_state(await scene.room_of(opened), "m.room.name")
        assert name == {"name": f"{opened['incident_number']} Coffee is out"}
    scene.assert_quiet()
