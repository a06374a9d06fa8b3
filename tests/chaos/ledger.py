"""The ledger: what a homeserver, ETB and a person's client hold once the service has come back from the dead.

Each side is asked for itself, and each must show every thing once.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.chaos.doomed import Doomed
from tests.harness.jsclient import JsClient
from tests.harness.scene import Scene
from tests.harness.synapse import Synapse

INCIDENT = "org.etb.incident"
_STATE = (
    "m.room.create",
    "m.room.encryption",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.canonical_alias",
    "m.room.name",
)


def events(synapse: Synapse, room: str, kind: str, *, sender: str) -> list[dict[str, Any]]:
    """A room's events of a type by a sender, oldest first, as the homeserver stores them."""
    found = synapse.query(
        "SELECT events.event_id, json FROM event_json JOIN events USING (event_id)"
        " WHERE events.room_id = ? AND events.type = ? AND events.sender = ? ORDER BY stream_ordering",
        room,
        kind,
        sender,
    )
    return [{**json.loads(text), "event_id": event_id} for event_id, text in found]


def rooms_of(synapse: Synapse, bot: str, incident_id: str = "") -> list[str]:
    """Every room that the bot made (for an incident, if one is named), used or not."""
    found = synapse.query(
        "SELECT events.room_id, json FROM event_json JOIN events USING (event_id)"
        " WHERE events.type = 'm.room.create' AND events.sender = ? ORDER BY stream_ordering",
        bot,
    )
    return [room for room, text in found if incident_id in {"", json.loads(text)["content"].get(INCIDENT)}]


def invites(synapse: Synapse, room: str, bot: str) -> Counter[str]:
    """How often the bot invited whom."""
    return Counter(
        event["state_key"]
        for event in events(synapse, room, "m.room.member", sender=bot)
        if event["content"]["membership"] == "invite"
    )


def is_member(synapse: Synapse, room: str, user: str) -> bool:
    """Whether somebody is joined."""
    found = synapse.query(
        "SELECT membership FROM current_state_events"
        " WHERE room_id = ? AND type = 'm.room.member' AND state_key = ?",
        room,
        user,
    )
    return found == [("join",)]


def state_types(synapse: Synapse, room: str) -> Counter[str]:
    """How often each type of state was set, over the room's whole life."""
    found = synapse.query(
        "SELECT events.type FROM events JOIN state_events USING (event_id) WHERE events.room_id = ?", room
    )
    return Counter(kind for (kind,) in found)


def masters(synapse: Synapse, user: str) -> list[str]:
    """Every master key that was ever published for a user."""
    found = synapse.query(
        "SELECT keydata FROM e2e_cross_signing_keys WHERE user_id = ? AND keytype = 'master' ORDER BY stream_id",
        user,
    )
    return [next(iter(json.loads(text)["keys"].values())) for (text,) in found]


def devices(synapse: Synapse, user: str) -> list[str]:
    """A user's devices, without the homeserver's own hidden rows for cross-signing keys."""
    found = synapse.query("SELECT device_id FROM devices WHERE user_id = ? AND NOT hidden", user)
    return [device for (device,) in found]


def room_is_there(scene: Scene, incident: Mapping[str, Any]) -> str:
    """The id of the incident's room once its card is pinned and it hangs in the Space; empty before."""
    made = rooms_of(scene.synapse, scene.bot, incident["id"])
    for room in made:
        if state_types(scene.synapse, room)["m.room.pinned_events"]:
            return room
    return ""


async def assert_one_room(
    doomed: Doomed, incident: Mapping[str, Any], invited: set[str], *, may_replace: bool = False
) -> str:
    """An incident has become one complete room; its id. Nobody has joined it yet."""
    scene, synapse, bot = doomed.scene, doomed.scene.synapse, doomed.scene.bot
    made = rooms_of(synapse, bot, incident["id"])
    async with scene.as_bot() as user:
        room = await user.resolve_alias(scene.alias(incident))
        state = await user.state(room)
    assert room in made, "the alias names a room that isn't the incident's"
    others = [other for other in made if other != room]
    if may_replace:
        assert not [other for other in others if is_member(synapse, other, bot)], "an orphan of ours is still used"
    else:
        assert others == [], "the incident has more than one room"
    for other in others:
        assert events(synapse, other, "m.room.encrypted", sender=bot) == [], "something was said in an orphan"
    kinds = {event["type"] for event in state}
    assert set(_STATE) <= kinds, f"the room lacks {set(_STATE) - kinds}"
    levels = next(event["content"] for event in state if event["type"] == "m.room.power_levels")
    assert levels["invite"] > levels["users_default"], "not only the bot can invite"
    assert invites(synapse, room, bot) == dict.fromkeys(invited, 1), "not everybody was invited exactly once"
    cards = events(synapse, room, "m.room.encrypted", sender=bot)
    assert len(cards) == 1, f"{len(cards)} messages where one card belongs"
    pins = events(synapse, room, "m.room.pinned_events", sender=bot)
    assert [pin["content"]["pinned"] for pin in pins] == [[cards[0]["event_id"]]], "the card isn't pinned once"
    space = await scene.room_of("incidents")
    children = [one for one in events(synapse, space, "m.space.child", sender=bot) if one["state_key"] == room]
    assert len(children) == 1, f"the room hangs in the Space {len(children)} times"
    entries = [one for one in await scene.etb.timeline(incident["id"]) if one["title"] == "Chat room opened"]
    assert len(entries) == 1, f"{len(entries)} entries in ETB's timeline"
    assert room in str(entries[0]["event_data"]), "ETB was told of another room"
    return room


async def assert_answered_once(
    doomed: Doomed, person: JsClient, room: str, asked: Mapping[str, str], *, said_before: int
) -> None:
    """Each of the messages `asked` (event id to a word of the answer) has one answer that everybody can read.

    `said_before` is how many messages of the bot were in the room before; there are as many more as questions.
    """
    scene = doomed.scene
    for event_id, word in asked.items():
        answer = await person.wait_for(room=room, sender=scene.bot, reply_to=event_id)
        assert word in answer.body, f"an answer without {word}"
        answers = await scene.answers(person, room, event_id)
        assert len(answers) == 1, f"{len(answers)} answers to one command"
        assert (await person.shield(room, answer.event_id)).clean, "the answer has a shield"
    said = events(scene.synapse, room, "m.room.encrypted", sender=scene.bot)
    new = len(said) - said_before
    assert new == len(asked), f"{new} messages where {len(asked)} answers belong"


def said(doomed: Doomed, room: str) -> int:
    """How many encrypted messages of the bot a room holds."""
    return len(events(doomed.scene.synapse, room, "m.room.encrypted", sender=doomed.scene.bot))
