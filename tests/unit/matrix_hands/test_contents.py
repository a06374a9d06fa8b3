"""What a decrypted event carries besides its text, as strangers may write it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.conversation import EncryptedFile, FileDetails
from etb_appservice.domain.facts import MessageReceived, PinsSet, PollAsked, PollEnded, PollVoted
from etb_appservice.matrix import results
from etb_appservice.matrix.contents import ballot_of, file_of, mentions_of, poll_of
from etb_appservice.matrix.results import Decrypted
from etb_appservice.ports import Nothing
from tests.unit.matrix_hands.test_codec import GHOST, event, read, relating, said

SEALED: dict[str, Any] = {
    "url": "mxc://x.org/abc",
    "key": {"kty": "oct", "alg": "A256CTR", "ext": True, "k": "aWF6-32KGYaC3A", "key_ops": ["encrypt", "decrypt"]},
    "iv": "w+sE15fzSc0AAAAAAAAAAA",
    "hashes": {"sha256": "fdSLu/YkRx3Wyh3KQabP3rd6"},
    "v": "v2",
}
FILE = EncryptedFile(
    mxc="mxc://x.org/abc", key="aWF6-32KGYaC3A", iv="w+sE15fzSc0AAAAAAAAAAA", sha256="fdSLu/YkRx3Wyh3KQabP3rd6"
)


def attachment(msgtype: str = "m.image", **more: Any) -> dict[str, Any]:
    info = {"mimetype": "image/png", "size": 5, "w": 3, "h": 4}
    return {
        "msgtype": msgtype,
        "body": "a caption",
        "filename": "../shot.png",
        "info": info,
        "file": SEALED,
    } | more


async def test_an_attachment_brings_what_is_needed_to_read_it() -> None:
    fact = await read(said(**attachment(body="a caption")), event())
    assert isinstance(fact, MessageReceived)
    assert (fact.msgtype, fact.body) == ("m.image", "a caption")
    assert fact.file == FileDetails(
        name="shot.png",
        original_name="../shot.png",
        mime="image/png",
        size=5,
        file=FILE,
        file_type="IMAGE",
        width=3,
        height=4,
    )


def test_without_a_caption_the_body_is_the_name() -> None:
    content = attachment("m.file", body="report.pdf", info={"mimetype": "application/pdf"})
    del content["filename"]
    file = file_of("m.file", content)
    assert file is not None
    assert (file.name, file.file_type, file.size) == ("report.pdf", "DOCUMENT", 0)


@pytest.mark.parametrize("mark", ["org.matrix.msc3245.voice", "m.voice"])
def test_a_voice_message_is_marked_as_one(mark: str) -> None:
    content = attachment("m.audio", info={"mimetype": "audio/ogg", "duration": 1500}, **{mark: {}})
    file = file_of("m.audio", content)
    assert file is not None
    assert (file.is_voice, file.duration_ms) == (True, 1500)
    assert not (file_of("m.audio", attachment("m.audio")) or file).is_voice


def test_a_thumbnail_is_kept_with_its_own_key() -> None:
    file = file_of("m.video", attachment("m.video", info={"thumbnail_file": SEALED}))
    assert file is not None
    assert (file.thumbnail, file.file_type) == (FILE, "VIDEO")


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {**SEALED, "url": "https://evil.example/a"},
        {**SEALED, "url": "mxc://x.org/../a"},
        {**SEALED, "key": None},
        {**SEALED, "key": {**SEALED["key"], "alg": "none"}},
        {**SEALED, "iv": 5},
        {**SEALED, "hashes": []},
        {**SEALED, "hashes": {"sha256": "\n"}},
    ],
)
async def test_what_can_not_be_found_or_decrypted_is_a_message_without_a_file(broken: Any) -> None:
    fact = await read(said(**attachment(file=broken)), event())
    assert isinstance(fact, MessageReceived)
    assert fact.file is None


async def test_a_file_that_lies_in_clear_has_no_key() -> None:
    content = attachment(url="mxc://x.org/clear")
    del content["file"]
    file = file_of("m.image", content)
    assert file is not None
    assert file.file == EncryptedFile(mxc="mxc://x.org/clear")
    assert file_of("m.text", content) is None


async def test_who_is_meant_is_known_by_their_ids() -> None:
    named = {"user_ids": ["@a:x", "@a:x", "no id", 5, "@b:x"], "room": True}
    fact = await read(said("hello", **{"m.mentions": named}), event())
    assert (fact.mentions, fact.mentions_room) == (("@a:x", "@b:x"), True)
    odds: list[Any] = [None, [], {"user_ids": "all", "room": "yes"}]
    for odd in odds:
        assert mentions_of({"m.mentions": odd}) == ((), False)


async def test_of_an_edit_what_it_says_now_counts() -> None:
    new = {"msgtype": "m.text", "body": "now", "m.mentions": {"user_ids": ["@b:x"]}}
    edit = said("* now", **{"m.new_content": new, "m.mentions": {"user_ids": ["@a:x"]}})
    fact = await read(edit, relating(rel_type="m.replace", event_id="$x"))
    assert (fact.body, fact.replaces, fact.mentions) == ("now", "$x", ("@b:x",))


@pytest.mark.parametrize(
    ("content", "place"),
    [({"geo_uri": "geo:52.5,13.4"}, "geo:52.5,13.4"), ({"geo_uri": "https://evil"}, ""), ({}, "")],
)
async def test_a_location_says_where(content: dict[str, Any], place: str) -> None:
    fact = await read(said("Here", msgtype="m.location", **content), event())
    assert (fact.msgtype, fact.body, fact.place) == ("m.location", "Here", place)


def decrypted(event_type: str, content: dict[str, Any]) -> Decrypted:
    return Decrypted(event_type, content, "DEV", results.Trust.CROSS_SIGNED)


OLD_POLL = {
    "org.matrix.msc3381.poll.start": {
        "kind": "org.matrix.msc3381.poll.undisclosed",
        "max_selections": 2,
        "question": {"org.matrix.msc1767.text": "Where?"},
        "answers": [
            {"id": "1", "org.matrix.msc1767.text": "here"},
            {"id": "2", "org.matrix.msc1767.text": "there"},
            {"id": "2", "org.matrix.msc1767.text": "twice"},
            {"id": "3"},
            "odd",
        ],
    }
}
NEW_POLL = {
    "m.poll.start": {
        "kind": "m.disclosed",
        "question": {"m.text": [{"body": "<b>", "mimetype": "text/html"}, {"body": "Where?"}]},
        "answers": [{"m.id": "1", "m.text": [{"body": "here"}]}],
    }
}


async def test_a_poll_is_read_in_both_spellings() -> None:
    old = await read(decrypted("org.matrix.msc3381.poll.start", OLD_POLL), event())
    assert isinstance(old, MessageReceived)
    assert (old.body, old.msgtype) == ("Where?", "org.matrix.msc3381.poll.start")
    assert old.poll == PollAsked(
        question="Where?", answers=(("1", "here"), ("2", "there")), is_disclosed=False, most=2
    )
    new = await read(decrypted("m.poll.start", NEW_POLL), event())
    assert new.poll == PollAsked(question="Where?", answers=(("1", "here"),))


@pytest.mark.parametrize("start", [None, {}, {"question": {"body": "Q"}}, {"answers": [{"id": "1", "body": "a"}]}])
async def test_half_of_a_poll_is_none(start: Any) -> None:
    content = {"org.matrix.msc3381.poll.start": start}
    assert isinstance(await read(decrypted("org.matrix.msc3381.poll.start", content), event()), Nothing)


async def test_votes_and_ends_name_their_poll() -> None:
    about = relating(rel_type="m.reference", event_id="$poll")
    old = {"org.matrix.msc3381.poll.response": {"answers": ["1", 5, "2"]}}
    vote = await read(decrypted("org.matrix.msc3381.poll.response", old), about)
    assert isinstance(vote, PollVoted)
    assert (vote.poll, vote.answers) == ("$poll", ("1", "2"))
    new = await read(decrypted("m.poll.response", {"m.selections": ["1"]}), about)
    assert new.answers == ("1",)
    end = await read(decrypted("m.poll.end", {"m.text": [{"body": "It has ended"}]}), about)
    assert isinstance(end, PollEnded)
    assert end.poll == "$poll"
    assert isinstance(await read(decrypted("m.poll.response", {"m.selections": ["1"]}), event()), Nothing)


async def test_pins_come_in_the_rooms_order() -> None:
    state = event(type="m.room.pinned_events", state_key="", content={"pinned": ["$2", "$1", "$2", 5, ""]})
    fact = await read(None, state)
    assert isinstance(fact, PinsSet)
    assert fact.pinned == ("$2", "$1")
    nothing = await read(None, event(type="m.room.pinned_events", state_key="", content={"pinned": "all"}))
    assert nothing.pinned == ()


async def test_what_a_ghost_says_was_recorded_before_it_was_said() -> None:
    assert isinstance(await read(said("hello"), event(sender=GHOST)), Nothing)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "file", "url", "info", "key", "iv", "hashes", "sha256", "w", "size", "mimetype", "m.mentions",
                    "user_ids", "org.matrix.msc3381.poll.start", "question", "answers", "id", "m.text", "body",
                    "max_selections", "m.selections", "filename", "thumbnail_file",
                ]
            ),
            inner,
            max_size=5,
        ),
        max_leaves=20,
    )
)  # fmt: skip
def test_nothing_that_stands_in_a_content_raises(content: Any) -> None:
    content = content if isinstance(content, dict) else {"file": content}
    for msgtype in ("m.image", "m.audio"):
        file_of(msgtype, content)
    mentions_of(content)
    poll_of("org.matrix.msc3381.poll.start", content)
    ballot_of("m.poll.response", content, {"rel_type": "m.reference", "event_id": "$p"})
