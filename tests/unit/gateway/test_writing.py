"""What web users do is decided once, kept, told, and said in Matrix by their ghosts."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.closing import Closing
from etb_appservice.domain.effects import Pin, React, Redact, Say, SendFile
from etb_appservice.domain.ids import EventId, Username
from etb_appservice.domain.news import (
    MessageAdded,
    MessageDeleted,
    MessagePinned,
    MessageUpdated,
    Notified,
    ReactionChanged,
    ReadUpTo,
    Typing,
)
from etb_appservice.domain.outcomes import Broken, Later, Refused
from etb_appservice.domain.past import Levels, Step
from etb_appservice.domain.pins import Pins
from etb_appservice.gateway.desk import Draft, Refusal, Undecided
from tests.harness.cast import ALICE, BOB, GHOSTS, NO_1, STRANGER
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.web import WebUser

THUMB = "\N{THUMBS UP SIGN}"
CHECK = "\N{WHITE HEAVY CHECK MARK}"
ALICES_GHOST = GHOSTS.user_id(Username("alice"))


@pytest.fixture
async def alice(house: House) -> WebUser:
    await house.open_for_alice()
    return WebUser(house, "alice")


@pytest.fixture
async def bob(alice: WebUser) -> WebUser:
    return WebUser(alice.house, "bob")


def said(house: House) -> list[Say]:
    """What ghosts said, in order."""
    return [say for _, say in house.world.said if say.speaker]


def done(house: House, kind: type[Any]) -> list[Any]:
    """Effects of a kind that took effect."""
    return [one for one in house.world.order if isinstance(one, kind)]


async def refused(call: Any) -> Refusal:
    """Why something was not done."""
    with pytest.raises(Refusal) as caught:
        await call
    return caught.value


async def accepted(web: WebUser, content: str, key: str) -> None:
    """A message is taken, and nothing is decided yet: nobody waits for it."""
    web.patience_s = 0
    with pytest.raises(Undecided):
        await web.through(
            lambda desk: desk.post(web.caller, web.war_room, web.act(key), Draft(content=content)), settles=False
        )


# --- saying -----------------------------------------------------------------------------------------------


async def test_a_message_is_kept_told_and_said_by_its_ghost(alice: WebUser) -> None:
    message_id = await alice.post("**Hello** `world`", client_id="c1")
    [say] = said(alice.house)
    assert (say.content, say.speaker, say.notify) == ("**Hello** `world`", "alice", True)
    kept = await alice.message(message_id)
    assert (kept.sender, kept.body, kept.details.username) == (ALICES_GHOST, "**Hello** `world`", "alice")
    assert kept.event_id.startswith("$"), "Matrix has named it"
    [added] = [one for one in alice.house.news.of(MessageAdded) if one.message_id == message_id]
    assert added.client_id == "c1"
    [entry] = [one for one in await alice.house.audit() if one.subject == message_id]
    assert (entry.tag, entry.actor, entry.details["trust"]) == ("message.received", ALICES_GHOST, "etb token")


async def test_until_matrix_knows_it_a_message_goes_by_its_own_name(alice: WebUser) -> None:
    alice.house.world.fail(Say, Later("away"), only=lambda say: say.speaker == "alice")
    first = await alice.post("one")
    assert (await alice.message(first)).event_id == f"~{first}"
    await alice.react(first, THUMB)
    await alice.pin(first)
    second = await alice.post("two", reply_to=first)
    await alice.house.advance(10)
    kept, answer = await alice.message(first), await alice.message(second)
    assert kept.event_id.startswith("$")
    assert answer.thread_root == kept.event_id
    assert [one.event_id for one in done(alice.house, React)] == [kept.event_id]
    assert [one.event_id for one in done(alice.house, Pin)][-1] == kept.event_id
    assert said(alice.house)[-1].thread_root == kept.event_id
    [reaction] = kept.details.reactions
    assert reaction.event_id.startswith("$")


async def test_a_command_is_kept_as_one_and_not_run(alice: WebUser) -> None:
    message_id = await alice.post("/status")
    assert (await alice.message(message_id)).details.message_type == "COMMAND"
    assert "command.run" not in await alice.house.tags()
    assert alice.house.answers((await alice.message(message_id)).event_id) == []


async def test_an_answer_goes_into_the_thread_of_what_it_answers(alice: WebUser, bob: WebUser) -> None:
    await alice.house.says(ALICE, "a root", event_id="$root")
    await alice.house.settle()
    async with alice.house.db.view() as view:
        root = await view.messages.by_event(EventId("$root"))
    assert root is not None
    first = await bob.post("first", reply_to=root.id)
    second = await alice.post("second", reply_to=first)
    kept, again = await alice.message(first), await alice.message(second)
    assert (kept.thread_root, kept.details.reply_to) == ("$root", None)
    assert (again.thread_root, again.details.reply_to) == ("$root", kept.event_id)
    assert [(say.thread_root, say.reply_to) for say in said(alice.house)] == [
        ("$root", None),
        ("$root", kept.event_id),
    ]


async def test_who_may_be_there_is_mentioned_and_nobody_else(alice: WebUser) -> None:
    alice.house.know("dave")
    message_id = await alice.post("@bob, ask @dave or `@alice`")
    kept = await alice.message(message_id)
    assert kept.details.mentioned == ("bob",)
    assert said(alice.house)[0].mentions == (BOB,)
    [notice] = alice.house.news.of(Notified)
    assert (notice.notice, notice.usernames, notice.message_id) == ("MENTION", ("bob",), message_id)


async def test_people_are_mentioned_by_etbs_id_too(alice: WebUser) -> None:
    async with alice.house.db.work() as work:
        user = replace(alice.house.etb.users[Username("bob")], id="b0b")
        await work.incidents.put_user(user, alice.house.clock.now_ms())
    kept = await alice.message(await alice.post("Hello", mentioned=("B0B",)))
    assert kept.details.mentioned == ("bob",)
    no = await refused(alice.post("Hello", mentioned=("nobody",)))
    assert (no.code, no.field) == ("validation_error", "mentioned_user_ids")


async def test_what_no_event_can_hold_becomes_a_file(alice: WebUser) -> None:
    text = "line of a log\n" * 3000
    message_id = await alice.post(text)
    assert said(alice.house) == []
    [(event_id, sent, content)] = alice.house.world.sent
    assert content.decode() == text
    assert (sent.filename, sent.mime, sent.speaker) == ("message.md", "text/markdown", "alice")
    assert "message.md" in sent.caption
    kept = await alice.message(message_id)
    assert (kept.details.message_type, kept.body, kept.event_id) == ("FILE", sent.caption, event_id)
    async with alice.house.db.view() as view:
        file = await view.files.get(kept.details.files[0])
        assert await view.documents.get(sent.document) is None
    assert file is not None
    assert (file.message_id, file.event_id, file.details.size) == (message_id, event_id, len(text))


@pytest.mark.parametrize(
    ("draft", "code", "field"),
    [
        ({"content": "  \n"}, "validation_error", "content"),
        ({"content": "x", "message_type": "FILE"}, "validation_error", "attachment_ids"),
        ({"content": "x", "reply_to": "00000000-0000-7000-8000-000000000000"}, "not_found", "reply_to_id"),
        ({"content": "x", "attachments": ("none",)}, "not_found", "attachment_ids"),
    ],
)
async def test_what_is_no_message_is_refused_and_nothing_is_kept(
    alice: WebUser, draft: dict[str, Any], code: str, field: str
) -> None:
    tags, news = await alice.house.tags(), len(alice.house.news.all)
    no = await refused(alice.post(**draft))
    assert (no.code, no.field) == (code, field)
    assert await alice.house.tags() == tags
    assert len(alice.house.news.all) == news


async def test_what_was_deleted_is_answered_by_nobody(alice: WebUser) -> None:
    message_id = await alice.post("Hello")
    await alice.delete(message_id)
    no = await refused(alice.post("x", reply_to=message_id))
    assert (no.code, no.field) == ("not_found", "reply_to_id")


async def test_signs_that_nobody_sees_are_left_out(alice: WebUser) -> None:
    message_id = await alice.post("a\x00b\r\nc\ud800")
    assert (await alice.message(message_id)).body == "ab\nc\N{REPLACEMENT CHARACTER}"


# --- who may ----------------------------------------------------------------------------------------------


async def test_whoever_may_not_be_in_the_room_finds_none(alice: WebUser) -> None:
    alice.house.know("dave")
    alice.house.know("erin", clearance=Classification.PUBLIC)
    await alice.house.let_in("erin")
    for name in ("dave", "erin"):
        no = await refused(WebUser(alice.house, name).post("Hello"))
        assert no.code == "not_found"
    assert said(alice.house) == []


async def test_a_right_that_went_between_asking_and_deciding_counts(alice: WebUser) -> None:
    user = alice.house.etb.users[Username("bob")]
    caller = WebUser(alice.house, "bob").caller
    alice.house.clock.advance(1)
    async with alice.house.db.work() as work:
        await work.incidents.put_user(replace(user, is_active=False), alice.house.clock.now_ms())
    bob = WebUser(alice.house, "bob")
    act = bob.act()
    no = await refused(bob.through(lambda desk: desk.post(caller, bob.war_room, act, Draft(content="x"))))
    assert no.code == "not_found"


async def test_a_room_that_is_only_read_is_closed_for_all_of_it(alice: WebUser) -> None:
    message_id = await alice.post("Hello")
    room = await alice.house.room()
    async with alice.house.db.work() as work:
        await work.cases.put(room.war_room, Closing(how="closed", ended_ms=1, is_read_only=True))
    for call in (
        alice.post("x"),
        alice.edit(message_id, "x"),
        alice.delete(message_id),
        alice.react(message_id, THUMB),
        alice.pin(message_id),
        alice.run("/status"),
    ):
        assert (await refused(call)).code == "room_closed"


async def test_what_was_said_above_ones_clearance_is_not_there(alice: WebUser) -> None:
    message_id = await alice.post("Hello")
    alice.house.know("erin", clearance=Classification.INTERNAL)
    await alice.house.let_in("erin")
    room = await alice.house.room()
    async with alice.house.db.work() as work:
        await work.cases.put(room.war_room, Levels(steps=(Step(0, Classification.RESTRICTED),)))
    erin = WebUser(alice.house, "erin")
    for call in (erin.react(message_id, THUMB), erin.pin(message_id), erin.post("x", reply_to=message_id)):
        assert (await refused(call)).code == "not_found"


# --- editing and deleting ---------------------------------------------------------------------------------


async def test_ones_own_message_is_edited_by_the_same_ghost(alice: WebUser) -> None:
    message_id = await alice.post("helo @bob")
    event_id = (await alice.message(message_id)).event_id
    await alice.edit(message_id, "hello @bob and @alice")
    kept = await alice.message(message_id)
    assert (kept.body, kept.event_id, kept.details.mentioned) == (
        "hello @bob and @alice",
        event_id,
        ("bob", "alice"),
    )
    assert kept.details.edited_ms is not None
    edit = said(alice.house)[-1]
    assert (edit.edits, edit.speaker, edit.mentions) == (event_id, "alice", (ALICE,))
    # Named by Matrix, and edited.
    assert [one.message_id for one in alice.house.news.of(MessageUpdated)] == [message_id] * 2


async def test_somebody_elses_message_is_edited_by_nobody(alice: WebUser, bob: WebUser) -> None:
    message_id = await alice.post("mine")
    no = await refused(bob.edit(message_id, "yours"))
    assert no.code == "forbidden"
    assert (await alice.message(message_id)).body == "mine"
    assert "web.refused" in await alice.house.tags()


async def test_what_was_written_in_matrix_is_edited_there(alice: WebUser) -> None:
    await alice.house.says(ALICE, "native", event_id="$1")
    await alice.house.settle()
    async with alice.house.db.view() as view:
        found = await view.messages.by_event(EventId("$1"))
    assert found is not None
    no = await refused(alice.edit(found.id, "x"))
    assert (no.code, ALICE in no.detail) == ("forbidden", True)


async def test_an_edit_must_fit_into_one_event(alice: WebUser) -> None:
    message_id = await alice.post("short")
    no = await refused(alice.edit(message_id, "long " * 8000))
    assert (no.code, no.field) == ("validation_error", "content")


async def test_ones_own_message_is_deleted_everywhere(alice: WebUser) -> None:
    message_id = await alice.post("oops")
    event_id = (await alice.message(message_id)).event_id
    await alice.delete(message_id)
    await alice.delete(message_id)
    kept = await alice.message(message_id)
    assert (kept.state, kept.body) == ("redacted", None)
    [redact] = done(alice.house, Redact)
    assert (redact.event_id, redact.speaker) == (event_id, "alice")
    assert [one.message_id for one in alice.house.news.of(MessageDeleted)] == [message_id]


async def test_what_is_deleted_before_matrix_has_it_is_taken_away_there_as_well(alice: WebUser) -> None:
    alice.house.world.fail(Say, Later("away"), only=lambda say: say.speaker == "alice")
    message_id = await alice.post("oops")
    await alice.delete(message_id)
    assert done(alice.house, Redact) == []
    await alice.house.advance(10)
    kept = await alice.message(message_id)
    assert kept.state == "redacted"
    assert [one.event_id for one in done(alice.house, Redact)] == [kept.event_id]


async def test_what_became_a_file_and_is_deleted_on_its_way_is_taken_away_once(alice: WebUser) -> None:
    alice.house.world.fail(SendFile, Later("away"))
    message_id = await alice.post("line of a log\n" * 3000)
    await alice.delete(message_id)
    await alice.house.advance(10)
    kept = await alice.message(message_id)
    assert [(one.event_id, one.speaker) for one in done(alice.house, Redact)] == [(kept.event_id, "alice")]


async def test_a_moderator_deletes_what_others_said_and_nobody_else_does(make_house: MakeHouse) -> None:
    house = await make_house()
    await house.open_for_alice()
    alice, bob = WebUser(house, "alice"), WebUser(house, "bob")
    message_id = await alice.post("rude")
    no = await refused(bob.delete(message_id))
    assert (no.code, "commander" in no.detail) == ("forbidden", True)
    await house.ask(ALICE, "!role commander bob")
    await house.advance(1)
    await bob.delete(message_id)
    assert (await alice.message(message_id)).state == "redacted"
    [redact] = done(house, Redact)
    assert redact.speaker == "", "a ghost takes back only its own"


async def test_what_the_service_says_is_deleted_by_nobody(alice: WebUser) -> None:
    await alice.house.ask(ALICE, "!status")
    async with alice.house.db.view() as view:
        ours = [one for one in await view.messages.page(NO_1) if one.details.message_type == "BOT"]
    assert (await refused(alice.delete(ours[-1].id))).code == "forbidden"


# --- reactions and pins -----------------------------------------------------------------------------------


async def test_a_reaction_counts_once_however_often_it_is_given(alice: WebUser, bob: WebUser) -> None:
    message_id = await alice.post("Hello")
    await asyncio.gather(*(alice.react(message_id, THUMB) for _ in range(3)))
    await bob.react(message_id, THUMB)
    kept = await alice.message(message_id)
    assert [(one.username, one.emoji) for one in kept.details.reactions] == [("alice", THUMB), ("bob", THUMB)]
    assert len(done(alice.house, React)) == 2
    assert len(alice.house.news.of(ReactionChanged)) == 2


async def test_one_person_reacts_once_by_ghost_and_by_their_own_account(alice: WebUser) -> None:
    message_id = await alice.post("Hello")
    event_id = (await alice.message(message_id)).event_id
    await alice.house.reacts(ALICE, event_id, THUMB)
    await alice.react(message_id, THUMB)
    assert done(alice.house, React) == []
    await alice.react(message_id, THUMB, is_added=False)
    assert (await alice.message(message_id)).details.reactions == ()
    [redact] = done(alice.house, Redact)
    assert redact.speaker == "", "the bot takes away what their own account gave"


async def test_a_reaction_is_withdrawn_by_the_ghost_that_gave_it(alice: WebUser) -> None:
    message_id = await alice.post("Hello")
    await alice.react(message_id, CHECK)
    [given] = (await alice.message(message_id)).details.reactions
    await alice.react(message_id, CHECK, is_added=False)
    await alice.react(message_id, CHECK, is_added=False)
    [redact] = done(alice.house, Redact)
    assert (redact.event_id, redact.speaker) == (given.event_id, "alice")
    assert [one.is_added for one in alice.house.news.of(ReactionChanged)] == [True, False]


async def test_a_reaction_withdrawn_before_matrix_has_it_is_taken_away_there(alice: WebUser) -> None:
    message_id = await alice.post("Hello")
    alice.house.world.fail(React, Later("away"))
    await alice.react(message_id, THUMB)
    await alice.react(message_id, THUMB, is_added=False)
    await alice.house.advance(10)
    assert (await alice.message(message_id)).details.reactions == ()
    assert len(done(alice.house, Redact)) == 1


async def test_a_reaction_given_again_before_matrix_has_it_stands_on_both_sides(alice: WebUser) -> None:
    message_id = await alice.post("Hello")
    alice.house.world.fail(React, Later("away"))
    for is_added in (True, False, True):
        await alice.react(message_id, THUMB, is_added=is_added)
    await alice.house.advance(10)
    [shown] = (await alice.message(message_id)).details.reactions
    assert [event_id for event_id, _ in alice.house.world.reacted] == [shown.event_id]
    await alice.react(message_id, THUMB, is_added=False)
    assert (await alice.message(message_id)).details.reactions == ()
    assert alice.house.world.reacted == []


@pytest.mark.parametrize("emoji", ["", "a", "ok", THUMB * 2, "\N{THUMBS UP SIGN}" + "\u0301" * 40, "\ud83d"])
async def test_what_is_not_one_emoji_is_no_reaction(alice: WebUser, emoji: str) -> None:
    message_id = await alice.post("Hello")
    no = await refused(alice.react(message_id, emoji))
    assert (no.code, no.field) == ("validation_error", "emoji")


async def test_a_message_takes_only_so_many_reactions(alice: WebUser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.flows.webmarks.MOST_REACTIONS", 1)
    message_id = await alice.post("Hello")
    await alice.react(message_id, THUMB)
    no = await refused(alice.react(message_id, CHECK))
    assert (no.code, no.field) == ("validation_error", "emoji")
    assert len(done(alice.house, React)) == 1


async def test_pins_at_the_same_time_are_all_kept_in_order(alice: WebUser, bob: WebUser) -> None:
    one, two = await alice.post("one"), await bob.post("two")
    await asyncio.gather(alice.pin(one), bob.pin(two), bob.pin(one))
    events = [(await alice.message(name)).event_id for name in (one, two)]
    room = await alice.house.room()
    async with alice.house.db.view() as view:
        pins = await view.cases.get(room.war_room, Pins, "pins")
    assert pins is not None
    assert sorted(pin.event_id for pin in pins.pinned) == sorted(events)
    assert room.room_id is not None
    assert alice.house.world.pinned[room.room_id][-2:] == [pin.event_id for pin in pins.pinned]
    assert len(alice.house.news.of(MessagePinned)) == 2


async def test_a_pin_is_taken_away(alice: WebUser) -> None:
    message_id = await alice.post("one")
    await alice.pin(message_id)
    await alice.pin(message_id, is_pinned=False)
    await alice.pin(message_id, is_pinned=False)
    room = await alice.house.room()
    assert room.room_id is not None
    event_id = (await alice.message(message_id)).event_id
    assert event_id not in alice.house.world.pinned[room.room_id]
    async with alice.house.db.view() as view:
        pins = await view.cases.get(room.war_room, Pins, "pins")
    assert pins is not None
    assert [(one.event_id, one.is_settled) for one in pins.gone] == [(event_id, True)], "done, and so it is over"
    assert [one.is_pinned for one in alice.house.news.of(MessagePinned)] == [True, False]


async def test_the_unpin_of_a_message_that_had_no_event_yet_is_over_when_it_is_done(alice: WebUser) -> None:
    world = alice.house.world
    world.fail(Say, Later("away"))
    world.fail(Pin, Refused("not now"))
    message_id = await alice.post("one")
    for is_pinned in (True, False):
        await alice.pin(message_id, is_pinned=is_pinned)
    await alice.house.advance(10)
    event_id = (await alice.message(message_id)).event_id
    assert event_id in [name for name, _ in world.said]
    room = await alice.house.room()
    async with alice.house.db.view() as view:
        pins = await view.cases.get(room.war_room, Pins, "pins")
    assert pins is not None
    assert [(one.event_id, one.is_settled) for one in pins.gone] == [(event_id, True)]


async def test_the_card_stays_pinned(alice: WebUser) -> None:
    room = await alice.house.room()
    assert room.card_event is not None
    async with alice.house.db.view() as view:
        card = await view.messages.by_event(room.card_event)
    assert card is not None
    await alice.pin(card.id)
    assert (await refused(alice.pin(card.id, is_pinned=False))).code == "forbidden"


# --- what Matrix does -------------------------------------------------------------------------------------


async def test_clients_are_told_once_when_matrix_has_named_a_message(alice: WebUser) -> None:
    alice.house.world.fail(Say, Later("away"), only=lambda say: say.speaker == "alice")
    message_id = await alice.post("Hello")
    assert alice.house.news.of(MessageUpdated) == []
    await alice.house.advance(3600)
    assert (await alice.message(message_id)).event_id.startswith("$")
    assert [one.message_id for one in alice.house.news.of(MessageUpdated)] == [message_id]


async def test_clients_are_told_once_when_a_retry_delivers_what_was_marked(alice: WebUser) -> None:
    alice.house.world.fail(Say, Broken("no"), only=lambda say: say.speaker == "alice")
    message_id = await alice.post("Hello")
    assert (await alice.message(message_id)).details.undelivered == "message"
    before = len(alice.house.news.of(MessageUpdated))
    async with alice.house.store.work() as work:
        [parked] = await work.outbox.parked()
        await work.outbox.retry(parked.seq)
    await alice.house.settle()
    kept = await alice.message(message_id)
    assert (kept.details.undelivered, kept.event_id[:1]) == ("", "$")
    assert [one.message_id for one in alice.house.news.of(MessageUpdated)[before:]] == [message_id]


# --- what Matrix refuses ----------------------------------------------------------------------------------


async def test_what_matrix_refuses_is_marked_and_an_operator_is_told(alice: WebUser) -> None:
    alice.house.world.fail(Say, Refused("no"), only=lambda say: say.speaker == "alice")
    message_id = await alice.post("Hello")
    kept = await alice.message(message_id)
    assert (kept.details.undelivered, kept.body) == ("message", "Hello")
    assert [one.message_id for one in alice.house.news.of(MessageUpdated)] == [message_id]
    assert any("Say" in text for text in alice.house.troubles())


async def test_what_is_about_an_undelivered_message_is_refused_and_answers_are_said(alice: WebUser) -> None:
    alice.house.world.fail(Say, Refused("no"), only=lambda say: say.content == "Hello")
    message_id = await alice.post("Hello")
    await alice.react(message_id, THUMB)
    await alice.pin(message_id)
    await alice.post("more", reply_to=message_id)
    assert (await alice.message(message_id)).details.reactions == ()
    [say] = said(alice.house)
    assert (say.content, say.thread_root) == ("more", None)
    assert alice.house.news.of(ReactionChanged)[-1].is_added is False
    assert alice.house.news.of(MessagePinned)[-1].is_pinned is False


async def test_a_refused_edit_is_marked_until_one_is_taken(alice: WebUser) -> None:
    message_id = await alice.post("one")
    alice.house.world.fail(Say, Refused("no"))
    await alice.edit(message_id, "two")
    assert (await alice.message(message_id)).details.undelivered == "edit"
    await alice.edit(message_id, "three")
    assert (await alice.message(message_id)).details.undelivered == ""


# --- once, and never lost ---------------------------------------------------------------------------------


async def test_the_same_key_is_done_once_and_answers_the_first_result(alice: WebUser, bob: WebUser) -> None:
    first = await alice.post("Hello", "k")
    assert await alice.post("Hello again", "k") == first
    assert (
        list(await asyncio.gather(alice.post("x", "j"), alice.post("y", "j"))) == [await alice.post("z", "j")] * 2
    )
    assert await bob.post("Hello", "k") != first
    assert len(said(alice.house)) == 3
    await alice.house.advance(86_400 + 1)
    assert await alice.post("Hello", "k") != first


async def test_a_refusal_is_the_answer_to_its_key_too(alice: WebUser) -> None:
    no = await refused(alice.post(" ", "k"))
    again = await refused(alice.post("Hello", "k"))
    assert (again.code, again.field) == (no.code, no.field)


async def test_what_was_accepted_before_a_crash_is_done_after_it(alice: WebUser) -> None:
    await accepted(alice, "Hello", "k")
    await alice.house.crash()
    await alice.house.settle()
    assert [say.content for say in said(alice.house)] == ["Hello"]
    message_id = await alice.post("Hello", "k")
    assert (await alice.message(message_id)).body == "Hello"
    assert len(said(alice.house)) == 1


@pytest.mark.parametrize("before", [True, False])
async def test_whatever_crashes_every_act_happens_once(alice: WebUser, before: bool) -> None:
    house = alice.house
    for number in range(3):
        await accepted(alice, str(number), str(number))
    await house.die_again_and_again([1, 2, 3], before=before)
    await house.settle()
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert [say.content for say in said(house)] == ["0", "1", "2"]
    async with house.db.view() as view:
        kept = [one for one in await view.messages.page(NO_1) if one.sender == ALICES_GHOST]
    assert [one.body for one in kept] == ["0", "1", "2"]
    assert all(one.event_id.startswith("$") for one in kept)


# --- passing signs ----------------------------------------------------------------------------------------


async def test_typing_and_reading_are_told_and_kept_nowhere(alice: WebUser) -> None:
    message_id = await alice.post("Hello")
    desk = alice.desk(lambda _: None)
    await desk.typing(alice.caller, alice.war_room, is_typing=True)
    await desk.read(alice.caller, alice.war_room, alice.act(), message_id)
    assert alice.signs.typed == [("alice", True)]
    assert alice.signs.read == [("alice", (await alice.message(message_id)).event_id)]
    assert [one.person.username for one in alice.house.news.of(Typing)] == ["alice"]
    assert [one.message_id for one in alice.house.news.of(ReadUpTo)] == [message_id]
    stranger = WebUser(alice.house, "dave")
    assert (await refused(desk.typing(stranger.caller, alice.war_room, is_typing=True))).code == "not_found"
    assert STRANGER not in [one.person.user_id for one in alice.house.news.of(Typing)]
