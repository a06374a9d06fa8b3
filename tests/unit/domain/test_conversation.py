"""What a message carries: reactions by person, names of files, pins in order, polls as they stand."""

from dataclasses import replace

import pytest

from etb_appservice.domain.conversation import (
    MessageDetails,
    Person,
    Poll,
    Reacted,
    Vote,
    file_type_of,
    grouped,
    has_reacted,
    safe_name,
)
from etb_appservice.domain.ids import EventId, UserId, Username

ALICE, GHOST, BOB = UserId("@alice:x"), UserId("@_etb_u_alice:x"), UserId("@bob:x")
NAME = Username("alice")


def reacted(event: str, emoji: str, user_id: UserId, username: str = "") -> Reacted:
    return Reacted(emoji=emoji, user_id=user_id, username=Username(username), event_id=EventId(event), at_ms=1)


def test_one_person_counts_once_by_whichever_of_their_ids_they_react() -> None:
    reactions = (
        reacted("$1", "⭐️", ALICE, NAME),
        reacted("$2", "⭐", GHOST, NAME),
        reacted("$3", "⭐", BOB),
        reacted("$4", "👍", BOB),
    )
    star, thumb = grouped(reactions)
    assert (star.emoji, star.count, [one.key for one in star.people]) == ("⭐️", 2, ["alice", BOB])
    assert (thumb.emoji, thumb.count) == ("👍", 1)
    assert has_reacted(reactions, Person(GHOST, NAME), "⭐️")
    assert not has_reacted(reactions, Person(GHOST, NAME), "👍")


def test_a_reaction_is_named_once_matrix_knows_it() -> None:
    details = MessageDetails(reactions=(reacted("~r", "⭐", GHOST, NAME), reacted("$2", "⭐", BOB)))
    named = details.reaction_sent(EventId("~r"), EventId("$1"))
    assert [one.event_id for one in named.reactions] == ["$1", "$2"]
    assert named.reaction_sent(EventId("~r"), EventId("$9")) == named


def test_of_one_id_and_emoji_the_first_reaction_stands_until_it_is_withdrawn() -> None:
    details = MessageDetails().with_reaction(reacted("$1", "⭐", ALICE))
    assert details.with_reaction(reacted("$2", "⭐️", ALICE)) == details
    assert details.with_reaction(reacted("$1", "👍", BOB)) == details
    both = details.with_reaction(reacted("$3", "⭐", BOB))
    assert [one.event_id for one in both.reactions] == ["$1", "$3"]
    assert both.without_reaction(EventId("$1")).reactions == both.reactions[1:]
    assert both.without_reaction(EventId("$9")) == both


@pytest.mark.parametrize(
    ("original", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\a\\log.txt", "log.txt"),
        ("a\x00b\r\nc.png", "abc.png"),
        ("evil\u202egnp.exe", "evilgnp.exe"),
        ("..", "file"),
        ("", "file"),
        ("/", "file"),
        (".profile", "profile"),
        ("half \ud83d pair", "half  pair"),
    ],
)
def test_a_files_name_holds_no_path_and_nothing_unseen(original: str, shown: str) -> None:
    assert safe_name(original) == shown


def test_a_long_name_is_cut_but_keeps_its_ending() -> None:
    name = safe_name("é" * 300 + ".png")
    assert len(name.encode()) <= 200
    assert name.endswith("é.png")
    assert len(safe_name("a." + "b" * 300).encode()) == 200


@pytest.mark.parametrize(
    ("mime", "name", "kind"),
    [
        ("image/png", "a.png", "IMAGE"),
        ("video/mp4", "a", "VIDEO"),
        ("application/zip", "a.zip", "ARCHIVE"),
        ("application/gzip", "mail.log", "LOG"),
        ("text/plain; charset=utf-8", "a", "DOCUMENT"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "a", "DOCUMENT"),
        ("application/octet-stream", "a", "OTHER"),
        ("", "", "OTHER"),
    ],
)
def test_the_kind_of_a_file(mime: str, name: str, kind: str) -> None:
    assert file_type_of(mime, name) == kind


def vote(user: str, *answers: str, event: str = "") -> Vote:
    return Vote(user_id=UserId(user), event_id=EventId(event or f"$of {user}"), answers=answers)


def test_a_poll_says_how_it_stands() -> None:
    poll = Poll(id="$p", by=ALICE, question="Where?", answers=(("1", "here"), ("2", "there")))
    assert poll.text() == "Poll: Where?\n1. here\n2. there"
    voted = poll.with_vote(vote("@a:x", "1")).with_vote(vote("@b:x", "2", "1")).with_vote(vote("@a:x", "2"))
    assert voted.text() == "Poll: Where?\n1. here (0)\n2. there (2)"
    assert replace(voted, is_open=False).text().endswith("\nThe poll has ended.")
    assert voted.without_vote(EventId("$of @a:x")).text() == "Poll: Where?\n1. here (0)\n2. there (1)"
    assert poll.with_vote(vote("@a:x", "no such answer")).votes[0].answers == ()


def test_an_undisclosed_poll_says_only_how_many_voted_until_it_ends() -> None:
    poll = Poll(id="$p", by=ALICE, question="Who?", answers=(("1", "me"),), is_disclosed=False, most=2)
    voted = poll.with_vote(vote("@a:x", "1", "1"))
    assert voted.text() == "Poll: Who?\n1. me\n1 have voted."
    assert "(1)" in replace(voted, is_open=False).text()
