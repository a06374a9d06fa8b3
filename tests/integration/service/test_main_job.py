"""The main job, end to end: an incident becomes an encrypted room in which people ask and the bot answers."""

from tests.harness.scene import Scene, eventually, replied_to


async def test_an_incident_becomes_a_room_with_its_people_and_its_card(scene: Scene) -> None:
    await scene.account("alice", "bob", "carol")
    alice = await scene.person("alice")
    incident = await scene.etb.declare(
        title="Checkout is slow", severity="HIGH", reporter="alice", assignee="carol", category="Application"
    )
    room = await scene.join(alice, incident)
    card = await scene.card(alice, room)
    assert card.encrypted
    for shown in (incident["incident_number"], "Checkout is slow", "HIGH", "alice", "carol", "bob", "UTC"):
        assert shown in card.body, shown
    assert (await alice.shield(room, card.event_id)).clean
    async with scene.as_bot() as bot:
        members = await bot.members(room)
        assert members == {
            scene.bot: "join",
            scene.mxid("alice"): "join",
            scene.mxid("bob"): "invite",
            scene.mxid("carol"): "invite",
        }
        assert await bot.get_state(room, "m.room.name")
        space = await scene.room_of("incidents")
        child = await bot.get_state(space, "m.space.child", room)
        assert child["via"] == [scene.synapse.server_name]
        create = await bot.get_state(room, "m.room.create")
        assert create["room_version"] == "12"


async def test_status_is_answered_however_it_is_typed(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Search is stale", severity="MEDIUM", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    for typed in ("!status", "/status", "  !status", "//status", "!STATUS"):
        answer = await scene.ask(alice, room, typed)
        assert incident["incident_number"] in answer.body, typed
        assert "MEDIUM" in answer.body
        assert (await alice.shield(room, answer.event_id)).clean


async def test_a_question_in_a_thread_is_answered_in_it(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Login loops", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    root = await alice.send(room, "let us gather what we know")
    answer = await scene.ask(alice, room, "!status", thread=root)
    assert answer.relates_to is not None
    assert (answer.relates_to["rel_type"], answer.relates_to["event_id"]) == ("m.thread", root)


async def test_a_change_in_etb_edits_the_card_in_place(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Payments fail", severity="LOW", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    card = await scene.card(alice, room)
    assert "LOW" in card.body
    await scene.etb.patch(incident["id"], severity="CRITICAL")
    edit = await alice.wait_for(room=room, sender=scene.bot, edit_of=card.event_id, body="CRITICAL")
    assert (await alice.shield(room, edit.event_id)).clean
    shown = await alice.wait_for(room=room, event_id=card.event_id)
    assert "CRITICAL" in shown.current_content["body"]
    assert (await scene.card(alice, room)).event_id == card.event_id
    answer = await scene.ask(alice, room, "!status")
    assert "CRITICAL" in answer.body


async def test_editing_a_command_does_not_run_it_again_and_each_runs_once(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Queue is stuck", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    first = await alice.send(room, "!status")
    await alice.wait_for(room=room, sender=scene.bot, reply_to=first)
    before = await alice.mark()
    edit = await alice.edit(room, first, "!status again")
    talk = await alice.send(room, "thanks")
    fence = await alice.send(room, "!help")
    await alice.wait_for(room=room, sender=scene.bot, reply_to=fence)
    since = [one for one in await alice.timeline(room, last=200) if one.seq > before and one.sender == scene.bot]
    assert [replied_to(one) for one in since if one.type == "m.room.message"] == [fence]
    for event_id, count in ((first, 1), (edit, 0), (talk, 0), (fence, 1)):
        assert len(await scene.answers(alice, room, event_id)) == count


async def test_a_mistyped_command_gets_a_suggestion_and_a_wrong_argument_its_usage(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Mail is late", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    assert "!status" in (await scene.ask(alice, room, "!stauts")).body
    assert "Usage: " in (await scene.ask(alice, room, "!status of everything")).body
    listed = (await scene.ask(alice, room, "!help")).body
    assert "!status" in listed
    assert "!queue" not in listed
    assert "Example" in (await scene.ask(alice, room, "!help help")).body


async def test_whoever_becomes_assignee_or_on_call_later_is_invited_at_once(scene: Scene) -> None:
    await scene.account("frank", "grace")
    incident = await scene.etb.declare(title="Certificates expire", reporter="alice")
    _alice, room = await scene.enter("alice", incident)
    frank, grace = await scene.person("frank"), await scene.person("grace")
    await scene.etb.patch(incident["id"], assignee="frank")
    await frank.wait_for_invite(room=room, inviter=scene.bot)
    await frank.join(room)
    await scene.card(frank, room, body="frank")
    await scene.etb.set_oncall("grace")
    try:
        await grace.wait_for_invite(room=room, inviter=scene.bot)
    finally:
        await scene.etb.set_oncall("bob")


async def test_the_chat_room_is_in_etb_timeline_once(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Disk is full", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.etb.patch(incident["id"], severity="LOW")
    await alice.wait_for(room=room, sender=scene.bot, body="LOW")

    async def look() -> list[dict[str, object]]:
        return [one for one in await scene.etb.timeline(incident["id"]) if one["title"] == "Chat room opened"]

    (entry,) = await eventually(look, "the entry in ETB's timeline")
    assert room in str(entry["event_data"])


async def test_a_person_without_clearance_is_named_in_the_control_room(scene: Scene) -> None:
    await scene.account("carol", "dave")
    operator, control = await scene.operator()
    incident = await scene.etb.declare(
        title="Stolen laptop", reporter="carol", assignee="dave", category="Security"
    )
    room = await scene.room_of(incident)
    told = await operator.wait_for(room=control, sender=scene.bot, body=incident["incident_number"])
    assert "dave" in told.body
    assert "not cleared" in told.body
    assert (await operator.shield(control, told.event_id)).clean
    async with scene.as_bot() as bot:
        assert scene.mxid("dave") not in await bot.members(room)


async def test_the_control_room_answers_its_operators(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Cache is cold", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    operator, control = await scene.operator()
    listed = (await scene.ask(operator, control, "!help")).body
    for name in ("health", "rooms", "queue"):
        assert f"!{name}" in listed
    assert "Nothing is parked" in (await scene.ask(operator, control, "!queue")).body
    assert incident["incident_number"] in (await scene.ask(operator, control, "!rooms")).body
    health = (await scene.ask(operator, control, "!health")).body
    assert "All is well" in health, health
    assert "Usage: " in (await scene.ask(operator, control, "!queue explode")).body
    assert "no parked row" in (await scene.ask(operator, control, "!queue retry o999999")).body
    assert "don't know" in (await scene.ask(alice, room, "!queue")).body


async def test_a_confidential_room_hides_its_title_from_servers_and_an_internal_one_need_not(
    scene: Scene,
) -> None:
    await scene.account("alice")
    closed = await scene.etb.declare(title="Zephyrquartz", reporter="alice", category="Security")
    opened = await scene.etb.declare(title="Coffee is out", reporter="alice")
    async with scene.as_bot() as bot:
        name = await bot.get_state(await scene.room_of(closed), "m.room.name")
        assert name == {"name": closed["incident_number"]}
        name = await bot.get_state(await scene.room_of(opened), "m.room.name")
        assert name == {"name": f"{opened['incident_number']} Coffee is out"}
