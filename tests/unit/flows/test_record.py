"""The record of the conversation as a war room's people make it, and the news that clients are told of it."""

from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import Poll, grouped
from etb_appservice.domain.effects import Pin
from etb_appservice.domain.ids import EventId, IncidentId, UserId, Username
from etb_appservice.domain.news import (
    CommandFinished,
    FileShared,
    IncidentUpdated,
    MessageAdded,
    MessageDeleted,
    MessagePinned,
    MessageUpdated,
    Notified,
    PersonJoined,
    PersonLeft,
    ReactionChanged,
    RightsChanged,
)
from etb_appservice.domain.past import Levels
from etb_appservice.domain.pins import PINS, Pins
from etb_appservice.flows.past import past_of
from etb_appservice.gateway.shows import file_was
from etb_appservice.ports import FilesWanted, Message
from tests.harness.cast import ALICE, BOB, BOT, CAROL, NO_1, STRANGER, incident, policy_of
from tests.harness.events import event
from tests.harness.house import House
from tests.harness.kit import MakeHouse

GHOST = UserId("@_etb_u_alice:x.org")


async def message(house: House, event_id: str) -> Message:
    async with house.db.view() as view:
        found = await view.messages.by_event(EventId(event_id))
    assert found is not None, f"there is no message {event_id}"
    return found


async def happens(house: House, what: str, sender: str, event_id: str, **fields: Any) -> None:
    await house.accept_event(event(what, await house.room_id(), sender, event_id=event_id, **fields))
    await house.settle()


async def says(house: House, body: str, event_id: str, sender: str = ALICE, **fields: Any) -> Message:
    await house.says(sender, body, event_id=event_id, **fields)
    await house.settle()
    return await message(house, event_id)


@pytest.fixture
async def open_house(make_house: MakeHouse) -> House:
    """INC-1's room, open; alice has joined, and what was told until then is forgotten."""
    made = await make_house()
    await made.open_for_alice()
    made.news.all.clear()
    return made


# --- messages ---------------------------------------------------------------------------------------------


async def test_a_message_says_who_spoke_what_it_answers_and_whom_it_means(open_house: House) -> None:
    said = await says(
        open_house, "look", "$1", reply_to="$0", thread_root="$root", mentions=[BOB, STRANGER, ALICE]
    )
    details = said.details
    assert (details.message_type, details.username, details.reply_to) == ("TEXT", "alice", "$0")
    assert (said.thread_root, said.parent) == ("$root", "$root")
    assert details.mentions == (BOB, STRANGER, ALICE)
    assert details.mentioned == ("bob", "alice")
    [added] = open_house.news.of(MessageAdded)
    assert (added.message_id, added.war_room) == (said.id, (await open_house.room()).war_room)
    [told] = open_house.news.of(Notified)
    assert (told.notice, told.usernames, told.message_id) == ("MENTION", ("bob",), said.id)
    assert "look" not in repr(told), "who may, reads it in the record"


async def test_somebody_whom_etb_does_not_know_is_nobody_there(open_house: House) -> None:
    await open_house.moves(STRANGER, "join")
    said = await says(open_house, "hello", "$1", STRANGER)
    assert (said.sender, said.details.username) == (STRANGER, "")


async def test_whoever_means_everybody_is_told_to_everybody(open_house: House) -> None:
    await says(open_house, "all of you", "$1", mentions_room=True)
    [told] = open_house.news.of(Notified)
    assert (told.usernames, told.title) == ((), "alice mentioned everybody")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"msgtype": "m.emote"}, "* alice waves"),
        ({"msgtype": "m.sticker"}, "Sticker: waves"),
        ({"msgtype": "m.location", "place": "geo:1,2"}, "Location: waves (geo:1,2)"),
        ({"msgtype": "m.location"}, "Location: waves"),
        ({"msgtype": "m.notice"}, "waves"),
    ],
)
async def test_what_is_shown_in_other_ways_is_said_in_words(
    open_house: House, fields: dict[str, str], text: str
) -> None:
    assert (await says(open_house, "waves", "$1", **fields)).body == text


async def test_a_command_is_kept_as_one_and_told_when_it_is_answered(open_house: House) -> None:
    asked = await says(open_house, "!status", "$1")
    assert asked.details.message_type == "COMMAND"
    [finished] = open_house.news.of(CommandFinished)
    async with open_house.db.view() as view:
        run = await view.commands.get(finished.run_id)
    assert run is not None
    assert (run.event_id, run.status) == ("$1", "SUCCESS")
    [answer] = [event_id for event_id, say in open_house.world.said if say.reply_to == "$1"]
    answered = await message(open_house, answer)
    assert (answered.details.message_type, answered.details.reply_to, answered.sender) == ("BOT", "$1", BOT)


async def test_the_card_is_the_systems_and_keeps_its_place_when_it_changes(open_house: House) -> None:
    card = (await open_house.room()).card_event
    assert card is not None
    before = await message(open_house, card)
    assert before.details.message_type == "SYSTEM"
    await open_house.reacts(ALICE, card, "👍")
    await open_house.report(incident(status="IN_PROGRESS", updated_at_ms=2000))
    await open_house.settle()
    after = await message(open_house, card)
    assert (after.id, after.position, after.received_ms) == (before.id, before.position, before.received_ms)
    assert after.details.edited_ms is not None
    assert len(after.details.reactions) == 1
    assert before.id in {one.message_id for one in open_house.news.of(MessageUpdated)}


async def test_an_edit_shows_when_and_who_is_meant_now(open_house: House) -> None:
    first = await says(open_house, "helo @bob", "$1", mentions=[BOB])
    await open_house.reacts(BOB, "$1", "👍")
    open_house.news.all.clear()
    await open_house.says(ALICE, "hello @carol", event_id="$2", replaces="$1", mentions=[BOB, CAROL])
    await open_house.settle()
    edited = await message(open_house, "$1")
    assert edited.body == "hello @carol"
    assert edited.details.edited_ms == edited.decided_ms
    assert edited.details.mentioned == ("bob", "carol")
    assert len(edited.details.reactions) == 1
    assert [one.message_id for one in open_house.news.of(MessageUpdated)] == [first.id]
    assert [one.usernames for one in open_house.news.of(Notified)] == [("carol",)]


async def test_a_place_that_was_kept_is_filled_with_what_came_to_it_meanwhile(open_house: House) -> None:
    await open_house.says(BOB, "late", event_id="$1", session="late")
    await open_house.settle()
    await open_house.reacts(ALICE, "$1", "👀")
    place = await message(open_house, "$1")
    assert (place.state, place.body, len(place.details.reactions)) == ("sealed", None, 1)
    await open_house.key_comes("late")
    opened = await message(open_house, "$1")
    assert (opened.id, opened.body, opened.details.username) == (place.id, "late", "bob")
    assert opened.details.reactions == place.details.reactions
    assert [one.message_id for one in open_house.news.of(MessageAdded)] == [place.id]
    assert [one.message_id for one in open_house.news.of(MessageUpdated)] == [place.id]


async def test_an_edit_of_a_message_that_waits_for_its_key_takes_effect_with_it(open_house: House) -> None:
    await says(open_house, "late @bob", "$1", CAROL, session="late", mentions=[BOB])
    for number, (who, text) in enumerate(((CAROL, "later"), (ALICE, "forged"), (CAROL, "latest @alice"))):
        await open_house.says(who, text, event_id=f"$e{number}", replaces="$1", mentions=[ALICE])
    await open_house.settle()
    place = await message(open_house, "$1")
    assert (place.state, place.body, place.details.edited_ms) == ("sealed", None, None)
    await open_house.key_comes("late")
    opened = await message(open_house, "$1")
    assert (opened.id, opened.state, opened.body) == (place.id, "open", "latest @alice")
    assert (opened.details.mentioned, opened.details.awaiting) == (("alice",), None)
    assert opened.details.edited_ms is not None
    assert [one.usernames for one in open_house.news.of(Notified)] == [("alice",)]


async def test_what_is_done_to_a_message_that_waits_for_its_key_holds_when_it_comes(open_house: House) -> None:
    await says(open_house, "late", "$1", BOB, session="late")
    await says(open_house, "regretted", "$2", BOB, session="late")
    await open_house.says(BOB, "changed", event_id="$e", replaces="$2")
    await open_house.redacts(BOB, "$2")
    below = await says(open_house, "below", "$3", thread_root="$1")
    await happens(open_house, "pins", ALICE, "$p", pinned=["$1"])
    await open_house.reacts(ALICE, "$1", "👀")
    await open_house.key_comes("late")
    opened = await message(open_house, "$1")
    assert (opened.body, len(opened.details.reactions)) == ("late", 1)
    assert (below.parent, await pins(open_house)) == ("$1", [("$1", "alice")])
    gone = await message(open_house, "$2")
    assert (gone.state, gone.body, gone.details.awaiting) == ("redacted", None, None)


async def test_a_file_whose_key_was_late_is_of_the_level_at_which_it_was_said(open_house: House) -> None:
    room = await open_house.room()
    past = Levels().then(0, Classification.RESTRICTED)
    async with open_house.db.work() as work:
        await work.cases.put(room.war_room, past)
    await says(open_house, "plan.pdf", "$1", BOB, session="late", msgtype="m.file", file=FILE)
    open_house.clock.advance(60)
    async with open_house.db.work() as work:
        await work.cases.put(room.war_room, past.then(open_house.clock.now_ms(), Classification.INTERNAL))
    open_house.clock.advance(60)
    await open_house.key_comes("late")
    opened = await message(open_house, "$1")
    async with open_house.db.view() as view:
        [file] = (await view.files.by_ids(opened.details.files)).values()
        levels = await past_of(view, room)
        hidden = levels.hidden(Classification.INTERNAL)
        wanted = FilesWanted(up_to={NO_1: Classification.INTERNAL}, hidden={IncidentId(NO_1): hidden})
        assert await view.files.count_among(wanted) == 0
    assert file_was(file, room, levels) is levels.level(opened) is Classification.RESTRICTED


async def test_an_edit_whose_own_key_was_late_leaves_no_place_behind(open_house: House) -> None:
    said = await says(open_house, "helo", "$1", BOB)
    place = await says(open_house, "hello", "$e", BOB, session="late", replaces="$1")
    assert place.state == "sealed"
    await open_house.key_comes("late")
    assert (await message(open_house, "$1")).body == "hello"
    assert (await message(open_house, "$e")).state == "redacted"
    assert [one.message_id for one in open_house.news.of(MessageDeleted)] == [place.id]
    await open_house.advance(24 * 3600)
    assert [one.id for one in await _shown(open_house)][-1] == said.id


async def _shown(house: House) -> list[Message]:
    async with house.db.view() as view:
        return list(await view.messages.page(NO_1, only_shown=True))


async def test_clear_text_is_no_news(open_house: House) -> None:
    await open_house.says(ALICE, "hello", event_id="$1", what="plain")
    await open_house.settle()
    assert (await message(open_house, "$1")).id not in {one.message_id for one in open_house.news.of(MessageAdded)}


# --- reactions --------------------------------------------------------------------------------------------


async def test_reactions_are_shown_as_sent_and_counted_once_a_person(open_house: House) -> None:
    said = await says(open_house, "hello", "$1")
    await open_house.reacts(ALICE, "$1", "⭐️")
    await open_house.reacts(BOB, "$1", "⭐")
    await open_house.reacts(BOB, "$1", "⭐️")
    [star] = grouped((await message(open_house, "$1")).details.reactions)
    assert (star.emoji, [one.username for one in star.people]) == ("⭐️", ["alice", "bob"])
    told = open_house.news.of(ReactionChanged)
    assert [(one.message_id, one.emoji, one.is_added, one.by.username) for one in told] == [
        (said.id, "⭐️", True, "alice"),
        (said.id, "⭐", True, "bob"),
    ]


async def test_a_reaction_is_withdrawn_by_its_redaction(open_house: House) -> None:
    await says(open_house, "hello", "$1")
    made = await open_house.reacts(BOB, "$1", "👍")
    open_house.news.all.clear()
    await open_house.redacts(BOB, made)
    await open_house.redacts(BOB, made)
    assert (await message(open_house, "$1")).details.reactions == ()
    [told] = open_house.news.of(ReactionChanged)
    assert (told.is_added, told.emoji, told.by.username) == (False, "👍", "bob")


async def test_a_reaction_that_does_something_is_shown_too(open_house: House) -> None:
    await says(open_house, "worth knowing", "$1")
    made = await open_house.reacts(ALICE, "$1", "📌")
    assert len((await message(open_house, "$1")).details.reactions) == 1
    assert "reaction.counted" in await open_house.tags()
    await open_house.redacts(ALICE, made)
    assert (await message(open_house, "$1")).details.reactions == ()


async def test_a_reaction_that_waits_for_a_key_is_not_brought_back_by_it(open_house: House) -> None:
    await open_house.says(BOB, "late", event_id="$1", session="late")
    await open_house.settle()
    made = await open_house.reacts(ALICE, "$1", "📌")
    await open_house.redacts(ALICE, made)
    await open_house.key_comes("late")
    await open_house.advance(60)
    assert (await message(open_house, "$1")).details.reactions == ()


async def test_a_reaction_to_what_is_recorded_a_moment_later_is_looked_at_again(open_house: House) -> None:
    await open_house.reacts(ALICE, "$soon", "👍")
    gone = await open_house.reacts(BOB, "$soon", "👍")
    await open_house.redacts(BOB, gone)
    await says(open_house, "here", "$soon", BOB)
    await open_house.advance(3)
    reactions = (await message(open_house, "$soon")).details.reactions
    assert [one.username for one in reactions] == ["alice"]


async def test_a_reaction_to_nothing_comes_to_nothing(open_house: House) -> None:
    await open_house.reacts(ALICE, "$never", "👍")
    await open_house.advance(10)
    assert open_house.news.of(ReactionChanged) == []


async def test_of_reactions_without_number_only_so_many_are_kept_and_told(
    open_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etb_appservice.flows.marks.MOST_REACTIONS", 2)
    await says(open_house, "hello", "$1")
    made = [await open_house.reacts(BOB, "$1", emoji) for emoji in ("👍", "👀", "🎉")]
    reactions = (await message(open_house, "$1")).details.reactions
    assert [one.event_id for one in reactions] == made[:2]
    assert [one.emoji for one in open_house.news.of(ReactionChanged)] == ["👍", "👀"]
    await open_house.redacts(BOB, made[0])
    await open_house.reacts(BOB, "$1", "🎉")
    assert [one.emoji for one in (await message(open_house, "$1")).details.reactions] == ["👀", "🎉"]


async def test_what_a_ghost_does_was_recorded_before(open_house: House) -> None:
    await says(open_house, "hello", "$1")
    await open_house.reacts(GHOST, "$1", "👍")
    assert (await message(open_house, "$1")).details.reactions == ()


# --- redaction --------------------------------------------------------------------------------------------


FILE = {
    "name": "a.png",
    "original_name": "a.png",
    "mime": "image/png",
    "size": 3,
    "file": {"mxc": "mxc://x.org/a", "key": "k", "iv": "i", "sha256": "s"},
}


async def test_an_attachment_is_a_message_and_a_file(open_house: House) -> None:
    said = await says(open_house, "a picture", "$1", msgtype="m.image", file=FILE)
    assert (said.details.message_type, said.body) == ("FILE", "a picture")
    [file_id] = said.details.files
    async with open_house.db.view() as view:
        [file] = await view.files.latest(NO_1)
    assert (file.id, file.message_id, file.event_id) == (file_id, said.id, "$1")
    assert (file.details.uploaded_by, file.details.file and file.details.file.key) == ("alice", "k")
    [told] = open_house.news.of(FileShared)
    assert (told.file_id, told.message_id) == (file_id, said.id)


async def test_redaction_takes_text_and_reactions_and_keeps_the_place(open_house: House) -> None:
    said = await says(open_house, "a picture", "$1", msgtype="m.image", file=FILE)
    made = await open_house.reacts(BOB, "$1", "👍")
    await open_house.redacts(ALICE, "$1")
    gone = await message(open_house, "$1")
    assert (gone.id, gone.position, gone.state, gone.body) == (said.id, said.position, "redacted", None)
    assert (gone.details.files, gone.details.reactions) == ((), ())
    async with open_house.db.view() as view:
        [file] = await view.files.latest(NO_1)
    assert file.id == said.details.files[0]
    assert file.withdrawn_ms is not None
    [told] = open_house.news.of(MessageDeleted)
    assert (told.message_id, told.by.username) == (said.id, "alice")
    await open_house.redacts(ALICE, "$1")
    await open_house.redacts(BOB, made)
    await open_house.reacts(BOB, "$1", "👀")
    assert len(open_house.news.of(MessageDeleted)) == 1
    assert await message(open_house, "$1") == gone


# --- pins -------------------------------------------------------------------------------------------------


async def pins(house: House) -> list[tuple[str, str]]:
    async with house.db.view() as view:
        found = await view.cases.get((await house.room()).war_room, Pins, PINS)
    return [(one.event_id, one.username) for one in found.pinned] if found else []


async def test_pins_follow_the_room_in_its_order(open_house: House) -> None:
    one = await says(open_house, "one", "$1")
    two = await says(open_house, "two", "$2", BOB)
    await happens(open_house, "pins", ALICE, "$p1", pinned=["$1"])
    await happens(open_house, "pins", BOB, "$p2", pinned=["$2", "$1", "$unknown"])
    assert await pins(open_house) == [("$2", "bob"), ("$1", "alice"), ("$unknown", "bob")]
    await open_house.advance(60)
    await happens(open_house, "pins", BOB, "$p3", pinned=["$2"])
    told = open_house.news.of(MessagePinned)
    assert [(one.message_id, one.is_pinned, one.by.username) for one in told] == [
        (one.id, True, "alice"),
        (two.id, True, "bob"),
        (one.id, False, "bob"),
    ]
    assert "state.changed" in await open_house.tags()


async def test_pins_of_the_bot_stand_among_the_others(open_house: House) -> None:
    card = (await open_house.room()).card_event
    assert any(isinstance(effect, Pin) and effect.event_id == card for effect in open_house.world.order)
    await happens(open_house, "pins", BOT, "$p1", pinned=[card])
    await happens(open_house, "pins", ALICE, "$p2", pinned=[card, "$1"])
    assert await pins(open_house) == [(card, ""), ("$1", "alice")]


# --- polls ------------------------------------------------------------------------------------------------

POLL = {"question": "Where?", "answers": [["1", "here"], ["2", "there"]]}


async def test_a_poll_reads_as_it_stands(open_house: House) -> None:
    begun = await says(open_house, "Where?", "$poll", msgtype="m.poll.start", poll=POLL)
    assert begun.body == "Poll: Where?\n1. here\n2. there"
    await happens(open_house, "vote", BOB, "$v1", poll="$poll", answers=["2"])
    await happens(open_house, "vote", ALICE, "$v2", poll="$poll", answers=["2"])
    assert (await message(open_house, "$poll")).body == "Poll: Where?\n1. here (0)\n2. there (2)"
    await open_house.redacts(ALICE, "$v2")
    await happens(open_house, "poll ends", BOB, "$e1", poll="$poll")
    assert (await message(open_house, "$poll")).body == "Poll: Where?\n1. here (0)\n2. there (1)"
    await happens(open_house, "poll ends", ALICE, "$e2", poll="$poll")
    await happens(open_house, "vote", ALICE, "$v3", poll="$poll", answers=["1"])
    ended = await message(open_house, "$poll")
    assert ended.body == "Poll: Where?\n1. here (0)\n2. there (1)\nThe poll has ended."
    assert ended.details.edited_ms is None
    assert {one.message_id for one in open_house.news.of(MessageUpdated)} == {begun.id}


async def test_a_vote_whose_key_was_late_counts_and_leaves_no_place_behind(open_house: House) -> None:
    await says(open_house, "Where?", "$poll", poll=POLL)
    await happens(open_house, "vote", BOB, "$v1", session="late", poll="$poll", answers=["2"])
    assert (await message(open_house, "$v1")).state == "sealed"
    await open_house.key_comes("late")
    assert "2. there (1)" in str((await message(open_house, "$poll")).body)
    assert (await message(open_house, "$v1")).state == "redacted"


async def test_nothing_of_a_redacted_poll_is_kept(open_house: House) -> None:
    await says(open_house, "Where?", "$poll", msgtype="m.poll.start", poll=POLL)
    await happens(open_house, "vote", BOB, "$v1", poll="$poll", answers=["2"])
    await open_house.redacts(ALICE, "$poll")
    await happens(open_house, "vote", BOB, "$v2", poll="$poll", answers=["1"])
    assert (await message(open_house, "$poll")).body is None
    async with open_house.db.view() as view:
        poll = await view.cases.get((await open_house.room()).war_room, Poll, "$poll")
    assert poll is not None
    assert (poll.question, poll.answers, poll.votes) == ("", (), ())


@pytest.mark.parametrize(
    "fields", [{"msgtype": "m.poll.start", "poll": POLL}, {"msgtype": "m.file", "file": FILE}]
)
async def test_the_name_of_a_file_and_the_question_of_a_poll_are_no_commands(
    open_house: House, fields: dict[str, Any]
) -> None:
    said = await says(open_house, "!status", "$1", **fields)
    assert said.details.message_type != "COMMAND"
    assert open_house.answers("$1") == []


async def test_a_vote_in_no_poll_comes_to_nothing(open_house: House) -> None:
    await happens(open_house, "vote", BOB, "$v1", poll="$none", answers=["2"])
    await happens(open_house, "poll ends", BOB, "$e1", poll="$none")
    assert open_house.news.all == []


# --- people, the incident, rights -------------------------------------------------------------------------


async def test_who_comes_and_goes_is_told(open_house: House) -> None:
    await open_house.moves(BOB, "join")
    await open_house.moves(BOB, "leave")
    assert [one.person.username for one in open_house.news.of(PersonJoined)] == ["bob"]
    assert [one.person.username for one in open_house.news.of(PersonLeft)] == ["bob"]


async def test_whoever_is_removed_has_left_at_once_and_rights_are_looked_at(open_house: House) -> None:
    await open_house.moves(STRANGER, "join")
    assert [one.person.user_id for one in open_house.news.of(PersonLeft)] == [STRANGER]
    assert open_house.news.of(RightsChanged)


async def test_an_incident_that_changed_says_in_what(open_house: House) -> None:
    changed = incident(status="IN_PROGRESS", assignee=Username("carol"), updated_at_ms=2000)
    await open_house.report(changed)
    await open_house.settle()
    await open_house.report(changed, "poll")
    await open_house.settle()
    [told] = open_house.news.of(IncidentUpdated)
    assert (told.incident_id, told.changed) == (NO_1, ("status", "assigned_to_username"))
    notices = {one.notice: one for one in open_house.news.of(Notified)}
    assert notices["INCIDENT_STATUS_CHANGED"].title == "INC-1 is IN_PROGRESS"
    assert notices["INCIDENT_ASSIGNED"].usernames == ("carol",)


async def test_a_raised_level_has_rights_looked_at(open_house: House) -> None:
    await open_house.report(incident(stated=Classification.RESTRICTED, updated_at_ms=2000))
    await open_house.settle()
    assert open_house.news.of(RightsChanged)


# --- crashes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_at_every_commit_leaves_the_record_as_without_one(
    make_house: MakeHouse, before: bool
) -> None:
    house = await make_house(policy=policy_of())
    await house.open_for_alice()
    await house.die_again_and_again([1, 2], before=before)
    await house.says(ALICE, "a picture", event_id="$1", msgtype="m.image", file=FILE)
    await house.says(BOB, "hello", event_id="$2", reply_to="$1")
    await house.settle()
    await house.reacts(BOB, "$1", "👍")
    gone = await house.reacts(ALICE, "$2", "👀")
    await house.redacts(ALICE, gone)
    await house.die_no_more()
    assert house.crashes
    first, second = await message(house, "$1"), await message(house, "$2")
    assert (len(first.details.files), len(first.details.reactions)) == (1, 1)
    assert (second.position, second.details.reply_to) == (first.position + 1, "$1")
    assert second.details.reactions == ()
    async with house.db.view() as view:
        assert await view.files.count(NO_1) == 1
