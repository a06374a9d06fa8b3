"""What others can read: the homeserver's operator in its database, and whoever gets hold of our own files."""

from pathlib import Path

import pytest

from tests.harness.jsclient import JsError
from tests.harness.scene import Scene

TITLE = "Zephyrquartz ledger copied"
DESCRIPTION = "Moonstonelane was seen in the cellar"
SAID = "Gallowglass knows the way"
SECRETS = (b"Zephyrquartz", b"Moonstonelane", b"Gallowglass")


FEDERATES = {"CONFIDENTIAL": True, "RESTRICTED": False, "TOP_SECRET": False}
"""The levels above `INTERNAL`."""
CATEGORIES = {"CONFIDENTIAL": "Data", "RESTRICTED": "Security", "TOP_SECRET": "Integration"}
BY_CATEGORY = {category: level for level, category in CATEGORIES.items()}
SECTIONS = {"classification": {"default": "INTERNAL", "by_category": BY_CATEGORY}}


def held_in(folder: Path, pattern: str) -> bytes:
    """Every byte of the files of a database, its write-ahead log included."""
    files = sorted(folder.glob(pattern))
    assert files
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.parametrize("level", FEDERATES)
async def test_above_internal_servers_are_shown_the_number_and_our_own_files_are_sealed(
    scene: Scene, level: str
) -> None:
    await scene.account("alice", "carol", "bob")
    await scene.etb.set_clearance("alice", "TOP_SECRET")
    if scene.service.child is None or not scene.service.child.running:
        await scene.service.run()
    alice = await scene.person("alice")
    incident = await scene.etb.declare(
        title=TITLE, description=DESCRIPTION, severity="HIGH", reporter="alice", category=CATEGORIES[level]
    )
    number = incident["incident_number"]
    room = await scene.join(alice, incident)
    card = await scene.card(alice, room, body=TITLE)
    assert f"Classification: {level.replace('_', ' ')}" in card.body
    answer = await scene.ask(alice, room, "!status")
    assert TITLE in answer.body
    await alice.send(room, SAID)
    await scene.ask(alice, room, "!help Gallowglass")
    await scene.etb.patch(incident["id"], severity="CRITICAL", title=TITLE + " twice")
    await scene.card(alice, room, body="twice")

    # The homeserver: its tables, and every byte of its files.
    events = scene.synapse.stored_events(room)
    by_type = {event["type"]: event for event in events if "state_key" in event}
    assert by_type["m.room.create"]["content"]["m.federate"] is FEDERATES[level]
    assert by_type["m.room.history_visibility"]["content"] == {"history_visibility": "joined"}
    assert by_type["m.room.join_rules"]["content"] == {"join_rule": "invite"}
    assert by_type["m.room.name"]["content"] == {"name": number}
    assert "m.room.avatar" not in by_type
    assert by_type.get("m.room.topic", {"content": {"topic": ""}})["content"]["topic"] == ""
    assert {event["type"] for event in events if "state_key" not in event} == {"m.room.encrypted"}
    aliases = scene.synapse.query("SELECT room_alias FROM room_aliases WHERE room_id = ?", room)
    assert aliases == [(scene.alias(incident),)]
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
