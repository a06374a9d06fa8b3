"""People run an incident from its room: roles, the timeline, tasks, updates, and what reactions do."""

from typing import Any

from tests.harness.scene import Scene, eventually

SECTIONS = {"cadence": {"catch_up_minutes": 0}}


async def _entries(scene: Scene, incident: dict[str, Any], text: str) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]]:
        return [one for one in await scene.etb.timeline(incident["id"]) if text in one["title"]]

    return await eventually(look, f"{text} on ETB's timeline")


async def test_a_message_is_pinned_by_a_reaction_and_withdrawn_with_it(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Search is down", reporter="alice", assignee="carol")
    alice, room = await scene.enter("alice", incident)
    carol, _ = await scene.enter("carol", incident)
    said = await alice.send(room, "The index is corrupt since noon")
    await carol.wait_for(room=room, event_id=said)
    reaction = await carol.react(room, said, "📌\ufe0f")
    told = await alice.wait_for(
        room=room, sender=scene.bot, thread=said, body="On the timeline, put there by carol."
    )
    assert (await alice.shield(room, told.event_id)).clean
    assert told.content["msgtype"] == "m.notice"
    [entry] = await _entries(scene, incident, "The index is corrupt since noon")
    assert entry["event_type"] == "MESSAGE_PINNED"
    assert entry["event_data"]["matrix_event_id"] == said
    shown = (await scene.ask(alice, room, "!timeline")).body
    assert "The index is corrupt since noon" in shown
    assert said in shown
    await alice.react(room, said, "📌")
    own = await alice.react(room, said, "⭐")
    await alice.wait_for(room=room, sender=scene.bot, thread=said, body="Task 1, made by alice")
    await alice.redact(room, own)
    await alice.wait_for(room=room, sender=scene.bot, thread=said, body="Task 1 was withdrawn by alice.")
    await carol.redact(room, reaction)
    assert "The index is corrupt" in (await scene.ask(alice, room, "!timeline")).body, "alice pins it still"


async def test_the_last_pin_that_is_taken_away_corrects_the_record(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Backups fail", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    said = await alice.send(room, "Nobody rotated the tapes")
    reaction = await alice.react(room, said, "📌")
    await alice.wait_for(room=room, sender=scene.bot, thread=said, body="On the timeline")
    await alice.redact(room, reaction)
    await alice.wait_for(room=room, sender=scene.bot, thread=said, body="Withdrawn from the timeline by alice.")
    await _entries(scene, incident, "Withdrawn: alice: Nobody rotated the tapes")
    assert "tapes" not in (await scene.ask(alice, room, "!timeline")).body


async def test_a_role_is_claimed_and_handed_over_to_somebody_who_is_let_in(scene: Scene) -> None:
    await scene.account("frank")
    incident = await scene.etb.declare(title="Payments are slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    frank = await scene.person("frank")
    assert "Incident commander is alice (was nobody)." in (await scene.ask(alice, room, "!role commander")).body
    assert "Incident commander is frank (was alice)." in (await scene.ask(alice, room, "!role ic frank")).body
    await frank.wait_for_invite(room=room, inviter=scene.bot)
    await frank.join(room)
    assert "incident commander" in (await scene.card(frank, room, body="commander")).current_content["body"]
    [entry] = await _entries(scene, incident, "Incident commander: frank (was alice)")
    assert entry["event_data"]["permalink"].startswith(f"https://matrix.to/#/{room}/")


async def test_an_update_and_a_catch_up_for_whoever_joins_later(scene: Scene) -> None:
    incident = await scene.etb.declare(title="VPN drops", severity="HIGH", reporter="alice", assignee="carol")
    alice, room = await scene.enter("alice", incident)
    posted = await scene.ask(alice, room, "!post We know why and are on it")
    assert "Status update by alice" in posted.body
    assert "The next one is due by" in posted.body
    await scene.ask(alice, room, "!task add Tell the branch offices")
    carol = await scene.person("carol")
    mark = await carol.mark()
    await scene.join(carol, incident)

    async def direct() -> str:
        invites = [one for one in await carol.invites() if one.inviter == scene.bot and one.name == "ETB"]
        return await carol.join(invites[0].room_id) if invites else ""

    chat = await eventually(direct, "an invitation to a private chat")
    told = await carol.wait_for(room=chat, sender=scene.bot, body="VPN drops", since=mark)
    for part in ("We know why and are on it", "Tell the branch offices", incident["incident_number"]):
        assert part in told.body
    assert (await carol.shield(chat, told.event_id)).clean


async def test_what_etb_wrote_down_itself_stands_on_the_whole_timeline_once(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Printers jam", severity="LOW", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    card = await scene.card(alice, room)
    await scene.etb.patch(incident["id"], severity="MEDIUM")
    await alice.wait_for(room=room, sender=scene.bot, edit_of=card.event_id, body="MEDIUM")
    await _entries(scene, incident, "everity")
    curated = (await scene.ask(alice, room, "!timeline")).body
    assert "Severity: MEDIUM (was LOW)" in curated
    assert "Chat room opened" not in curated
    await scene.ask(alice, room, "!timeline add Paper is back")
    await _entries(scene, incident, "Paper is back")
    told = (await scene.ask(alice, room, "!timeline all")).body
    for text in ("everity", "Paper is back", "Chat room opened"):
        assert told.count(text) == 1, told
