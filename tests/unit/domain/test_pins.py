"""What a room's state makes of the record's pins: what one act can have meant stands, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.conversation import Person
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username
from etb_appservice.domain.pins import FRESH_MS, MOST_PINS, Pinned, Pins, PinsShown

ROOM = RoomId("!room")
ALICE, BOB = Person(UserId("@alice:x.org"), Username("alice")), Person(UserId("@bob:x.org"))
BOT = Person(UserId("@etb:x.org"))
CARD = EventId("$card")
LATER = FRESH_MS + 1


def state(*events: str, by: Person = ALICE, at_ms: int = 0, **more: Any) -> PinsShown:
    setter = "service" if by == BOT else "member"
    names = [EventId(one) for one in events]
    return PinsShown(**{"room_id": ROOM, "events": names, "by": by, "at_ms": at_ms, "setter": setter, **more})


def after(*states: PinsShown) -> Pins:
    """What stands after these, none of which has to be mended."""
    pins = Pins()
    for one in states:
        pins, is_to_be_mended = pins.shown(one)
        assert not is_to_be_mended, one
    return pins


def names(pins: Pins) -> list[str]:
    return [one.event_id for one in pins.pinned]


def test_pins_take_the_rooms_order_and_keep_who_pinned_first() -> None:
    pins = after(state("$1", "$2", at_ms=5), state("$3", "$2", "$1", by=BOB, at_ms=9))
    assert [(pin.event_id, pin.user_id, pin.at_ms) for pin in pins.pinned] == [
        ("$3", BOB.user_id, 9),
        ("$2", ALICE.user_id, 5),
        ("$1", ALICE.user_id, 5),
    ]
    left, is_to_be_mended = pins.shown(state("$2", at_ms=LATER + 9))
    assert (names(left), is_to_be_mended) == (["$2"], False)


def test_a_pin_that_the_room_has_not_shown_yet_is_not_lost_to_an_older_state() -> None:
    ours = Pinned(event_id=EventId("$ours"), user_id=BOB.user_id, at_ms=5, is_settled=False)
    waiting = after(state("$1")).with_pin(ours)
    other, is_to_be_mended = waiting.shown(state("$1", "$2", at_ms=6))
    assert (names(other), is_to_be_mended) == (["$1", "$2", "$ours"], False)
    shown, _ = other.shown(state("$1", "$2", "$ours", by=BOT, at_ms=7))
    assert shown.of(EventId("$ours")) == replace(ours, is_settled=True, settled_ms=7)
    assert names(shown.shown(state(at_ms=LATER + 7))[0]) == []


def test_a_change_is_fresh_from_when_the_room_knew_it_however_long_it_waited() -> None:
    ours = Pinned(event_id=EventId("$ours"), user_id=BOB.user_id, at_ms=5, is_settled=False)
    waiting = after(state("$1", "$2")).with_pin(ours).without(EventId("$1"), 6)
    sent, is_to_be_mended = waiting.shown(state("$2", "$ours", by=BOT, at_ms=LATER + 6))
    assert not is_to_be_mended
    torn, is_to_be_mended = sent.shown(state("$1", "$2", "$3", at_ms=LATER + 7))
    assert (names(torn), is_to_be_mended) == (["$2", "$ours", "$3"], True)


def test_what_was_unpinned_before_its_pin_reached_the_room_stays_unpinned() -> None:
    ours = Pinned(event_id=EventId("$ours"), user_id=BOB.user_id, at_ms=5, is_settled=False)
    unpinned = after(state("$1")).with_pin(ours).without(ours.event_id, 6)
    other = unpinned.shown(state("$1", "$2", at_ms=7))[0]
    late, is_to_be_mended = other.shown(state("$1", "$2", "$ours", by=BOT, at_ms=LATER + 7))
    assert (names(late), is_to_be_mended) == (["$1", "$2"], False), "our own unpin is under way"
    assert [one.is_settled for one in late.gone] == [False]
    again, is_to_be_mended = late.shown(state("$1", "$2", by=BOT, at_ms=LATER + 8))
    assert (names(again), is_to_be_mended) == (["$1", "$2"], False)
    assert [one.is_settled for one in again.gone] == [True]


def test_what_was_unpinned_here_waits_for_that_whatever_members_set_meanwhile() -> None:
    """Its pin had come late; alice's list was older than that, and her next one was not."""
    ours = Pinned(event_id=EventId("$ours"), user_id=BOB.user_id, at_ms=5, is_settled=False)
    unpinned = after(state("$1", "$2")).with_pin(ours).without(ours.event_id, 6)
    pins, is_to_be_mended = unpinned, False
    for one in (
        state("$1", "$2", "$ours", by=BOT, at_ms=20),
        state("$1", at_ms=21),
        state("$1", "$ours", at_ms=22),
        state("$1", by=BOT, at_ms=23),
    ):
        pins, is_to_be_mended = pins.shown(one)
        assert (names(pins)[:1], is_to_be_mended) == (["$1"], False)
        assert pins.of(ours.event_id) is None
    again, is_to_be_mended = pins.shown(state("$1", "$ours", at_ms=24))
    assert (names(again), is_to_be_mended) == (["$1", "$ours"], False), "pinned once more"


def test_a_list_from_before_an_unpin_does_not_bring_back_what_that_took_away() -> None:
    unpinned = after(state("$1"), state("$1", "$2")).without(EventId("$2"), 20).done(EventId("$2"), 30)
    late, is_to_be_mended = unpinned.shown(state("$1", "$2", at_ms=29))
    assert (names(late), is_to_be_mended) == (["$1"], True)
    again, is_to_be_mended = unpinned.shown(state("$1", "$2", at_ms=31))
    assert (names(again), is_to_be_mended) == (["$1", "$2"], False), (
        "nothing had to be done, and it is pinned again"
    )


def test_whose_list_lacks_what_the_bot_wrote_over_has_not_seen_what_it_pinned() -> None:
    """Alice unpins `$2`; the bot writes what it had read, with `$ours`; her client says the same again."""
    ours = Pinned(event_id=EventId("$ours"), user_id=BOB.user_id, at_ms=5, is_settled=False)
    pins = after(state("$1"), state("$1", "$2"), state("$1", at_ms=50)).with_pin(ours)
    pins, is_to_be_mended = pins.shown(state("$1", "$2", "$ours", by=BOT, at_ms=51))
    assert (names(pins), is_to_be_mended) == (["$1", "$ours"], True)
    pins, is_to_be_mended = pins.shown(state("$1", at_ms=52))
    assert (names(pins), is_to_be_mended) == (["$1", "$ours"], True)


def test_what_was_unpinned_here_is_not_brought_back_by_an_older_state() -> None:
    unpinned = after(state("$1"), state("$1", "$2")).without(EventId("$1"), 20)
    other, is_to_be_mended = unpinned.shown(state("$1", "$2", "$3", at_ms=21))
    assert (names(other), is_to_be_mended) == (["$2", "$3"], False), "our own unpin is under way"
    settled, _ = other.shown(state("$2", "$3", by=BOT, at_ms=22))
    again, is_to_be_mended = settled.shown(state("$2", "$3", "$1", by=BOB, at_ms=23))
    assert (names(again), is_to_be_mended) == (["$2", "$3", "$1"], False), "pinned again, for nothing else changed"


@pytest.mark.parametrize("written", [("$1", "$new"), ()])
def test_what_a_member_wrote_over_a_pin_they_had_not_seen_is_mended(written: tuple[str, ...]) -> None:
    """The client knew `$1` alone: it pinned another, or took `$1` away."""
    pins, is_to_be_mended = after(state("$1"), state("$1", "$theirs", by=BOB, at_ms=LATER)).shown(
        state(*written, at_ms=LATER + 1)
    )
    assert is_to_be_mended
    assert set(names(pins)) == {*written, "$theirs"}
    theirs = pins.of(EventId("$theirs"))
    assert theirs is not None
    assert (theirs.user_id, theirs.is_settled) == (BOB.user_id, False)
    assert names(after(state("$1"), state("$1", "$2")).shown(state("$1", "$3", at_ms=LATER))[0]) == ["$1", "$3"]


def test_what_a_member_brought_back_without_knowing_is_taken_away_again() -> None:
    unpinned = after(state("$1"), state("$1", "$2"), state("$1", by=BOB, at_ms=LATER))
    pins, is_to_be_mended = unpinned.shown(state("$1", "$2", "$3", at_ms=LATER + 5))
    assert (names(pins), is_to_be_mended) == (["$1", "$3"], True)
    assert [(one.event_id, one.is_settled) for one in pins.gone] == [("$2", False)]


def test_what_the_bot_wrote_over_is_mended_both_ways() -> None:
    """The bot had read `$1`, `$2`; alice pinned `$3`, bob unpinned `$2`; the bot wrote what it had read."""
    pins = after(state("$1"), state("$1", "$2"), state("$1", "$2", "$3", at_ms=50))
    pins, _ = pins.shown(state("$1", "$3", by=BOB, at_ms=51))
    ours = Pinned(event_id=EventId("$ours"), user_id=BOB.user_id, at_ms=52, is_settled=False)
    pins, is_to_be_mended = pins.with_pin(ours).shown(state("$1", "$2", "$ours", by=BOT, at_ms=53))
    assert is_to_be_mended
    assert names(pins) == ["$1", "$3", "$ours"]
    kept = pins.of(EventId("$3"))
    assert kept is not None
    assert kept.user_id == ALICE.user_id
    assert [one.event_id for one in pins.gone if not one.is_settled] == ["$2"]
    mended, is_to_be_mended = pins.shown(state(*names(pins), by=BOT, at_ms=54))
    assert not is_to_be_mended
    assert all(one.is_settled for one in mended.pinned)
    assert all(one.is_settled for one in mended.gone)


def test_the_card_is_put_back_where_it_was_and_gives_way_to_the_next_one() -> None:
    pins = after(state(CARD, by=BOT, card=CARD), state(CARD, "$1", card=CARD))
    for written in (("$1",), ()):
        left, is_to_be_mended = pins.shown(state(*written, at_ms=LATER, card=CARD))
        assert is_to_be_mended
        assert names(left) == [CARD, *written]
    after_it, is_to_be_mended = pins.shown(state("$next", "$1", by=BOT, card=EventId("$next")))
    assert (names(after_it), is_to_be_mended) == (["$next", "$1"], False)


def test_whoever_may_not_be_there_changes_nothing() -> None:
    pins, is_to_be_mended = after(state("$1"), state("$1", "$2")).shown(
        state("$1", "$evil", at_ms=LATER, setter="nobody")
    )
    assert (names(pins), is_to_be_mended) == (["$1", "$2"], True)
    assert [one.event_id for one in pins.gone] == ["$evil"]


def test_there_are_only_so_many() -> None:
    pins, is_to_be_mended = after(state(CARD, by=BOT, card=CARD)).shown(
        state(CARD, *(f"${number}" for number in range(300)), card=CARD)
    )
    assert is_to_be_mended
    assert len(pins.pinned) == MOST_PINS
    assert len(pins.gone) == 301 - MOST_PINS
    more, is_to_be_mended = pins.shown(state(*names(pins), "$more", at_ms=LATER, card=CARD))
    assert (len(more.pinned), is_to_be_mended) == (MOST_PINS, True)


def test_a_room_that_replaces_another_begins_anew() -> None:
    ours = Pinned(event_id=EventId("~ours"), user_id=BOB.user_id, at_ms=5, is_settled=False)
    pins, is_to_be_mended = (
        after(state("$1"), state("$1", "$2")).with_pin(ours).shown(state(CARD, by=BOT, room_id=RoomId("!next")))
    )
    assert (names(pins), is_to_be_mended, pins.room_id) == ([CARD, "~ours"], False, "!next")
