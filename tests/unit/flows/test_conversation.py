"""What is said, what can't be read yet, and what never will be."""

from dataclasses import replace

import pytest

from etb_appservice.domain.facts import KeyAwaited, Loss
from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.ports import Message
from tests.harness.cast import ALICE, BOB, BOT, NO_1, STRANGER, incident
from tests.harness.events import event
from tests.harness.house import House

HOSTILE = UserId("@[click](https://evil.example)`*x*`:evil.example")


async def message(house: House, event_id: str) -> Message | None:
    async with house.db.view() as view:
        return await view.messages.by_event(EventId(event_id))


async def test_what_is_said_is_kept_sealed_and_noted_without_its_words(house: House) -> None:
    room_id = await house.open_for_alice()
    before = len(house.world.said)
    await house.says(ALICE, "the secret word", event_id="$1", thread_root="$root")
    await house.settle()
    kept = await message(house, "$1")
    assert kept is not None
    assert (kept.body, kept.sender, kept.room_id, kept.lane) == ("the secret word", ALICE, room_id, NO_1)
    assert kept.thread_root == "$root"
    [entry] = [entry for entry in await house.audit() if entry.subject == "$1"]
    assert (entry.tag, entry.actor) == ("message.received", ALICE)
    assert entry.hashes.keys() == {"body"}
    assert b"secret word" not in entry.canonical()
    assert len(house.world.said) == before, "talk is not answered"


async def test_an_event_that_comes_again_is_kept_once(house: House) -> None:
    await house.open_for_alice()
    for _ in range(3):
        await house.says(ALICE, "hello", event_id="$1")
        await house.settle()
        await house.crash()
    assert (await house.tags()).count("message.received") == 1


async def test_what_the_bot_says_is_kept_too(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!status")
    [event_id] = [event_id for event_id, say in house.world.said if say.purpose == "answer"]
    kept = await message(house, event_id)
    assert kept is not None
    assert kept.sender == BOT
    assert kept.body is not None
    assert kept.body.startswith("**INC-1")


async def test_trouble_in_the_control_room_is_kept_in_that_rooms_own_line(house: House) -> None:
    await house.start_service()
    await house.report(incident(reporter=None))
    await house.settle()
    [event_id] = [event_id for event_id, say in house.world.said if say.room_id == house.control_room()]
    kept = await message(house, event_id)
    assert kept is not None
    assert kept.lane == house.control_room()


# --- edits ------------------------------------------------------------------------------------------------


async def test_an_edit_by_its_sender_replaces_the_body_and_nothing_else(house: House) -> None:
    await house.open_for_alice()
    await house.says(ALICE, "helo", event_id="$1", thread_root="$root")
    await house.settle()
    first = await message(house, "$1")
    assert first is not None
    await house.advance(5)
    await house.says(ALICE, "hello", event_id="$2", replaces="$1")
    await house.settle()
    edited = await message(house, "$1")
    assert edited is not None
    assert edited.body == "hello"
    details = replace(first.details, edited_ms=edited.decided_ms)
    assert edited == replace(first, body="hello", decided_ms=edited.decided_ms, details=details)
    assert await message(house, "$2") is None
    assert "message.edited" in await house.tags()


async def test_an_edit_by_somebody_else_changes_nothing(house: House) -> None:
    await house.open_for_alice()
    await house.says(ALICE, "hello", event_id="$1")
    await house.says(BOB, "I was wrong", event_id="$2", replaces="$1")
    await house.settle()
    kept = await message(house, "$1")
    assert kept is not None
    assert kept.body == "hello"


@pytest.mark.parametrize("original", ["$redacted", "$unknown"])
async def test_an_edit_of_what_is_gone_or_was_never_seen_brings_nothing_back(house: House, original: str) -> None:
    await house.open_for_alice()
    await house.says(ALICE, "regretted", event_id="$redacted")
    await house.accept_event(event("redaction", await house.room_id(), ALICE, event_id="$r", redacts="$redacted"))
    await house.says(ALICE, "regretted again", event_id="$2", replaces=original)
    await house.settle()
    kept = await message(house, original)
    assert kept is None or (kept.state, kept.body) == ("redacted", None)


# --- clear text and what can't be read --------------------------------------------------------------------


async def test_clear_text_in_an_encrypted_room_is_recorded_answered_once_and_never_run(house: House) -> None:
    room_id = await house.open_for_alice()
    before = len(house.world.said)
    for number in range(3):
        await house.says(ALICE, "!status", event_id=f"${number}", what="plain")
    await house.says(BOB, "!status", event_id="$b", what="plain")
    await house.settle()
    told = [say for _, say in house.world.said[before:]]
    assert len(told) == 2
    assert all(say.purpose == "notice" and say.room_id == room_id for say in told)
    assert "`@alice:x.org` was not encrypted" in str(told[0].content)
    kept = await message(house, "$0")
    assert kept is not None
    assert (kept.state, kept.body) == ("plain", None)
    assert (await house.tags()).count("violation.plain_text") == 4
    assert "command.run" not in await house.tags()


@pytest.mark.parametrize("loss", Loss)
async def test_what_will_never_be_read_keeps_its_place_and_is_told_once(house: House, loss: Loss) -> None:
    await house.open_for_alice()
    before = len(house.world.said)
    for number in range(3):
        await house.says(ALICE, "", event_id=f"${number}", what="unreadable", loss=loss.value)
    await house.settle()
    [told] = house.world.texts()[before - len(house.world.cards()) :]
    assert "could not read a message of `@alice:x.org`" in told
    kept = await message(house, "$2")
    assert kept is not None
    assert kept.state == "unreadable"
    assert (await house.tags()).count("message.unreadable") == 3


@pytest.mark.parametrize("what", ["plain", "unreadable", "awaited"])
async def test_a_strangers_name_is_no_markdown_of_ours(house: House, what: str) -> None:
    await house.open_for_alice()
    if what == "awaited":
        await house.says(HOSTILE, "", session="none")
    else:
        await house.says(HOSTILE, "", what=what, **({"loss": "malformed"} if what == "unreadable" else {}))
    await house.settle()
    await house.advance(31)
    told = [text for text in house.world.texts() if "evil.example" in text]
    assert told
    for text in told:
        assert "`@[click](https://evil.example)*x*:evil.example`" in text


async def test_nothing_is_recorded_of_rooms_that_are_not_ours(house: House) -> None:
    await house.start_service()
    for what in ("message", "plain", "unreadable"):
        fields = {"loss": "malformed"} if what == "unreadable" else {}
        await house.says(STRANGER, "!status", "!elsewhere", what=what, **fields)
    await house.says(STRANGER, "!status", "!elsewhere", session="none")
    before = await house.tags()
    await house.advance(61)
    assert await house.tags() == before
    async with house.db.view() as view:
        assert (await view.inbox.depth(0))[:2] == (0, 0)
        assert await view.inbox.waiting() == []


# --- redaction --------------------------------------------------------------------------------------------


async def test_a_redaction_takes_the_body(house: House) -> None:
    await house.open_for_alice()
    await house.says(ALICE, "regretted", event_id="$1")
    await house.settle()
    await house.accept_event(event("redaction", await house.room_id(), ALICE, event_id="$2", redacts="$1"))
    await house.accept_event(event("redaction", await house.room_id(), ALICE, event_id="$3", redacts="$unknown"))
    await house.settle()
    kept = await message(house, "$1")
    assert kept is not None
    assert (kept.state, kept.body) == ("redacted", None)
    assert (await house.tags()).count("message.redacted") == 1


# --- waiting for a key ------------------------------------------------------------------------------------


async def test_a_message_without_its_key_holds_its_place_and_nobody_up(house: House) -> None:
    await house.open_for_alice()
    await house.says(ALICE, "first", event_id="$1", session="late")
    await house.says(BOB, "second", event_id="$2")
    await house.settle()
    first, second = await message(house, "$1"), await message(house, "$2")
    assert first is not None
    assert second is not None
    assert (first.state, first.body, second.body) == ("sealed", None, "second")
    await house.key_comes("late")
    opened = await message(house, "$1")
    assert opened is not None
    assert (opened.state, opened.body) == ("open", "first")
    assert (opened.id, opened.position) == (first.id, first.position)
    assert opened.position < second.position
    assert house.meter.lost == ["key missing"]


async def test_when_the_key_comes_everything_is_processed_in_the_order_in_which_it_was_said(house: House) -> None:
    await house.open_for_alice()
    for number in range(5):
        await house.says(ALICE, f"!status {number}", event_id=f"${number}", session="late")
    await house.settle()
    assert "command.run" not in await house.tags()
    await house.key_comes("late")
    noted = [entry.subject for entry in await house.audit() if entry.tag == "message.received"]
    assert noted == [f"${number}" for number in range(5)]
    assert [len(house.answers(f"${number}")) for number in range(5)] == [1] * 5


async def test_a_key_that_is_here_before_its_news_lets_nothing_overtake(house: House) -> None:
    room_id = await house.open_for_alice()
    for number in range(3):
        await house.says(ALICE, f"word {number}", event_id=f"${number}", session="late")
    await house.settle()
    house.world.keys.add((room_id, "late"))
    await house.says(ALICE, "word 3", event_id="$3", session="late")
    await house.settle()
    noted = [entry.subject for entry in await house.audit() if entry.tag == "message.received"]
    assert noted == [f"${number}" for number in range(4)]
    assert house.intake.looked_back == set()


async def test_a_key_that_does_not_reach_back_holds_up_nobody(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.says(ALICE, "before you came", event_id="$0", session="late", index=0)
    await house.settle()
    house.world.keys.add((room_id, "late"))
    house.world.reach[room_id, "late"] = 1
    for number in (1, 2):
        await house.says(ALICE, f"word {number}", event_id=f"${number}", session="late", index=number)
    await house.settle()
    noted = [entry.subject for entry in await house.audit() if entry.tag == "message.received"]
    assert noted == ["$1", "$2"]
    assert house.intake.looked_back == set()
    async with house.db.view() as view:
        assert await view.inbox.waiting() == [(room_id, "late")]


async def test_what_waits_still_waits_after_a_restart_and_a_key_that_came_meanwhile_is_noticed(
    house: House,
) -> None:
    room_id = await house.open_for_alice()
    await house.says(ALICE, "!status", event_id="$1", session="late")
    await house.says(BOB, "never", event_id="$2", session="lost")
    await house.settle()
    house.world.keys.add((room_id, "late"))
    await house.crash()
    await house.intake.recheck_waiting()
    await house.settle()
    assert len(house.answers("$1")) == 1
    async with house.db.view() as view:
        assert await view.inbox.waiting() == [(room_id, "lost")]
    assert (await house.tags()).count("message.received") == 1


async def test_a_key_that_comes_while_the_message_is_set_aside_is_not_missed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await house.open_for_alice()
    keep_place = house.decider.conversation.keep_place

    async def slowly(*arguments: object) -> None:
        await keep_place(*arguments)  # type: ignore[arg-type]
        house.world.keys.add((room_id, "late"))

    monkeypatch.setattr(type(house.decider.conversation), "keep_place", lambda _self, *rest: slowly(*rest))
    await house.says(ALICE, "hello", event_id="$1", session="late")
    await house.settle()
    kept = await message(house, "$1")
    assert kept is not None
    assert kept.body == "hello"


async def test_a_missing_key_is_told_once_after_the_limit_and_given_up_at_the_end(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.says(ALICE, "one", event_id="$1", session="lost")
    await house.says(ALICE, "two", event_id="$2", session="lost")
    await house.settle()
    before = len(house.world.texts(room_id))
    await house.advance(29)
    assert len(house.world.texts(room_id)) == before
    await house.advance(2)
    [told] = house.world.texts(room_id)[before:]
    assert "I can't read what `@alice:x.org` wrote" in told
    [trouble] = house.troubles()
    assert "waits for its key for 30 seconds" in trouble
    await house.advance(3600)
    for event_id in ("$1", "$2"):
        kept = await message(house, event_id)
        assert kept is not None
        assert kept.state == "unreadable"
    assert (await house.tags()).count("message.given_up") == 2
    async with house.db.view() as view:
        assert await view.inbox.waiting() == []
    await house.key_comes("lost")
    assert "message.received" not in await house.tags()
    assert len(house.world.texts(room_id)) == before + 1


async def test_a_key_in_time_is_told_to_nobody(house: House) -> None:
    room_id = await house.open_for_alice()
    before = len(house.world.texts(room_id))
    await house.says(ALICE, "hello", event_id="$1", session="late")
    await house.settle()
    await house.advance(20)
    await house.key_comes("late")
    await house.advance(4000)
    assert len(house.world.texts(room_id)) == before
    kept = await message(house, "$1")
    assert kept is not None
    assert kept.state == "open"


async def test_a_redaction_ends_the_wait_for_a_key(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.says(ALICE, "!status", event_id="$1", session="late")
    await house.settle()
    await house.accept_event(event("redaction", room_id, ALICE, event_id="$2", redacts="$1"))
    await house.settle()
    async with house.db.view() as view:
        assert await view.inbox.waiting() == []
    await house.key_comes("late")
    await house.advance(4000)
    kept = await message(house, "$1")
    assert kept is not None
    assert kept.state == "redacted"
    assert "command.run" not in await house.tags()
    assert house.troubles() == []


async def test_a_look_at_a_message_nobody_knows_changes_nothing(house: House) -> None:
    room_id = await house.open_for_alice()
    before = await house.tags()
    fact = KeyAwaited(
        room_id=room_id,
        event_id=EventId("$?"),
        sender=ALICE,
        origin_ms=0,
        session_id="s",
        waited_s=30,
    )
    await house.own(fact, lane=NO_1)
    await house.own(replace(fact, room_id=RoomId("!elsewhere")), lane=NO_1)
    await house.settle()
    assert await house.tags() == before


# --- rooms that aren't bound yet, and strangers' ----------------------------------------------------------


async def test_events_of_a_room_wait_until_it_is_bound_and_are_then_processed_in_order(house: House) -> None:
    house.know("alice", "bob")
    await house.start_service()
    await house.report(incident())
    async with house.db.work() as work:
        await work.inbox.lanes(house.clock.now_ms())
    lane = f"!room{len(house.world.order) + 1}"
    for number in range(4):
        await house.says(ALICE, f"word {number}", lane, event_id=f"${number}")
    held = await house.intake.step(lane)
    assert isinstance(held, float)
    assert 0 < held <= 60
    await house.settle()
    assert await house.room_id() == lane
    noted = [entry.subject for entry in await house.audit() if entry.tag == "message.received"]
    assert noted == [f"${number}" for number in range(4)]


async def test_a_room_that_was_bound_meanwhile_takes_its_events_along(house: House) -> None:
    room_id = await house.open_for_alice()
    house.lane_of.clear()
    await house.says(ALICE, "late for the room's own line", event_id="$1")
    assert await house.intake.step(room_id) is True
    assert house.lane_of[room_id] == NO_1
    assert (NO_1,) in [lanes for lanes, _ in house.woken]
    await house.settle()
    assert await message(house, "$1") is not None


async def test_after_a_minute_a_room_nobody_knows_is_a_strangers(house: House) -> None:
    await house.start_service()
    await house.says(STRANGER, "hello", "!elsewhere", event_id="$1")
    await house.settle()
    await house.advance(58)
    async with house.db.view() as view:
        assert (await view.inbox.depth(0))[0] == 1
    await house.advance(3)
    async with house.db.view() as view:
        assert (await view.inbox.depth(0))[:2] == (0, 0)
    assert await message(house, "$1") is None


async def test_a_strangers_invitation_is_declined(house: House) -> None:
    await house.start_service()
    await house.moves(BOT, "invite", "!elsewhere", sender=STRANGER)
    assert house.world.left == ["!elsewhere"], "at once: somebody waits there"
    [entry] = [entry for entry in await house.audit() if entry.tag == "stranger.invited"]
    assert (entry.actor, entry.subject) == (STRANGER, "!elsewhere")
    assert not any("direct" in alias for alias in house.world.aliases)


async def test_whoever_is_linked_and_invites_the_bot_gets_a_chat_that_the_bot_has_made(house: House) -> None:
    await house.start_service()
    for where in ("!one", "!two"):
        await house.moves(BOT, "invite", where, sender=ALICE)
    await house.advance(61)
    assert house.world.left == ["!one", "!two"]
    [chat] = [room for alias, room in house.world.aliases.items() if "direct" in alias]
    assert house.world.guests(chat) == [ALICE]
    [text] = house.world.texts(chat)
    assert text == "You invited me to a chat. I talk with you here: send `!help` for what I can do."


async def test_the_bot_does_not_leave_a_room_of_its_own_whose_opening_takes_long(house: House) -> None:
    await house.start_service()
    await house.moves(BOT, "join", "!slow", sender=BOT)
    await house.moves(ALICE, "join", "!slow")
    await house.advance(61)
    assert house.world.left == []


async def test_other_state_is_noted_and_nothing_follows(house: House) -> None:
    room_id = await house.open_for_alice()
    done = len(house.world.order)
    await house.accept_event(
        event("state", room_id, ALICE, event_id="$1", event_type="m.room.pinned_events", state_key="")
    )
    await house.accept_event(event("nothing", room_id, ALICE, event_id="$2"))
    await house.settle()
    assert (await house.tags())[-1] == "state.changed"
    assert len(house.world.order) == done
