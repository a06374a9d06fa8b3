"""A room key that comes late: the message is processed when it comes, and the room isn't held up meanwhile."""

from tests.harness.scene import Scene

SECTIONS = {"encryption": {"tell_after_s": 1}}


async def test_a_message_whose_key_is_late_is_answered_when_it_comes_and_holds_nobody_up(
    scene: Scene,
) -> None:
    await scene.account("alice", "carol")
    alice, carol = await scene.person("alice"), await scene.person("carol")
    incident = await scene.etb.declare(title="Cache is cold", reporter="alice", assignee="carol")
    room = await scene.join(alice, incident)
    await scene.join(carol, incident)
    operator, control = await scene.operator()
    await alice.hold_keys()
    early = await alice.send(room, "!status")
    second = await alice.send(room, "!help")
    assert incident["incident_number"] in (await scene.ask(carol, room, "!status")).body
    notice = await alice.wait_for(room=room, sender=scene.bot, body="can't read")
    assert alice.user_id in notice.body
    told = await operator.wait_for(room=control, sender=scene.bot, body="waits for its key")
    assert alice.user_id in told.body
    await alice.hold_keys(on=False)
    for event_id, words in ((early, incident["incident_number"]), (second, "!status")):
        answer = await alice.wait_for(room=room, sender=scene.bot, reply_to=event_id)
        assert words in answer.body
    await scene.ask(alice, room, "!help")
    for event_id in (early, second):
        assert len(await scene.answers(alice, room, event_id)) == 1
    said = [one.body for one in await alice.timeline(room, last=200) if one.sender == scene.bot]
    assert sum("can't read" in body for body in said) == 1


async def test_a_redaction_ends_the_wait_for_a_key(scene: Scene) -> None:
    await scene.account("alice", "carol")
    alice, carol = await scene.person("alice"), await scene.person("carol")
    incident = await scene.etb.declare(title="Cache is cold", reporter="alice", assignee="carol")
    room = await scene.join(alice, incident)
    await scene.join(carol, incident)
    await alice.hold_keys()
    taken_back = await alice.send(room, "!status")
    kept = await alice.send(room, "!help")
    await alice.redact(room, taken_back)
    await scene.ask(carol, room, "!help")
    await alice.hold_keys(on=False)
    await alice.wait_for(room=room, sender=scene.bot, reply_to=kept)
    await scene.ask(alice, room, "!help")
    assert not await scene.answers(alice, room, taken_back)
