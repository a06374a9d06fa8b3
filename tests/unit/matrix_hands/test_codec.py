"""What becomes of an event of a room, hostile ones included."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etb_appservice.domain.facts import (
    EventRedacted,
    Loss,
    MembershipChanged,
    MessageReceived,
    MessageUnreadable,
    PlainMessageReceived,
    ReactionReceived,
    StateChanged,
    TombstoneSeen,
    Trust,
)
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Broken
from etb_appservice.matrix import results
from etb_appservice.matrix.codec import Decoder
from etb_appservice.matrix.messages import EFFECT_FIELD
from etb_appservice.matrix.results import Decrypted, Undecryptable, Unreadable
from etb_appservice.ports import ASK_AGAIN, KeyMissing, Nothing

BOT = "@etb:x"
GHOST = "@_etb_u_alice:x"


class Reader:
    """A crypto that answers what a test says."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked = 0
        self.hurried = 0

    def missed(self) -> None:
        self.hurried += 1

    async def decrypt(self, event: Mapping[str, Any]) -> Any:
        self.asked += 1
        return self.answer


def decoder(answer: Any = None) -> tuple[Decoder, Reader]:
    async def is_encrypted(room_id: RoomId) -> bool:
        return room_id == "!ours"

    reader = Reader(answer)

    def is_ours(user_id: UserId) -> bool:
        return user_id in {BOT, GHOST}

    return Decoder(reader, is_encrypted, is_ours, missed=reader.missed), reader  # type: ignore[arg-type]


def event(**more: Any) -> dict[str, Any]:
    return {
        "event_id": "$e",
        "room_id": "!ours",
        "sender": "@a:x",
        "type": "m.room.encrypted",
        "origin_server_ts": 5,
        "content": {"algorithm": "m.megolm.v1.aes-sha2", "session_id": "s", "ciphertext": "c"},
    } | more


def relating(**relation: Any) -> dict[str, Any]:
    return event(content={"session_id": "s", "ciphertext": "c", "m.relates_to": relation})


async def read(answer: Any, of: Any) -> Any:
    return await decoder(answer)[0].decode(of if isinstance(of, bytes) else json.dumps(of).encode())


def said(body: Any = "!status", **more: Any) -> Decrypted:
    content = {"msgtype": "m.text", "body": body} | more
    return Decrypted("m.room.message", content, "DEV", results.Trust.CROSS_SIGNED)


async def test_a_decrypted_message_becomes_a_fact_with_its_device() -> None:
    fact = await read(said(), event())
    assert fact == MessageReceived(
        room_id=RoomId("!ours"),
        event_id=fact.event_id,
        sender=UserId("@a:x"),
        origin_ms=5,
        device_id="DEV",
        trust=Trust.CROSS_SIGNED,
        session_id="s",
        msgtype="m.text",
        body="!status",
    )


@pytest.mark.parametrize(
    ("trust", "wanted"),
    [
        (results.Trust.CROSS_SIGNED, Trust.CROSS_SIGNED),
        (results.Trust.IDENTITY_CHANGED, Trust.UNSIGNED),
        (results.Trust.UNSIGNED, Trust.UNSIGNED),
        (results.Trust.DELETED, Trust.UNSIGNED),
    ],
)
async def test_only_a_device_signed_by_the_known_identity_counts_as_signed(
    trust: results.Trust, wanted: Trust
) -> None:
    fact = await read(Decrypted("m.room.message", {"msgtype": "m.text", "body": "x"}, "D", trust), event())
    assert fact.trust is wanted


async def test_a_message_of_a_person_that_claims_to_be_an_effect_of_ours_is_a_persons() -> None:
    fact = await read(said(**{EFFECT_FIELD: "f1/answer", "sender": BOT}), event())
    assert isinstance(fact, MessageReceived)
    assert (fact.sender, fact.effect_key) == ("@a:x", None)


async def test_a_message_whose_sender_can_not_be_asked_about_is_set_aside_to_be_asked_again() -> None:
    waits = await read(Decrypted("m.room.message", {"body": "x"}, None, results.Trust.UNKNOWN), event())
    assert isinstance(waits, KeyMissing)
    assert (waits.session_id, waits.event_id) == (f"{ASK_AGAIN}s", "$e")


async def test_a_missing_key_names_its_session() -> None:
    one, reader = decoder(results.KeyMissing("s1"))
    missing = await one.decode(json.dumps(event()).encode())
    assert reader.hurried == 1
    assert isinstance(missing, KeyMissing)
    assert (missing.session_id, missing.event_id) == ("s1", "$e")


@pytest.mark.parametrize(
    ("relation", "root"),
    [
        ({"rel_type": "m.thread", "event_id": "$root"}, "$root"),
        ({"rel_type": "m.replace", "event_id": "$root"}, None),
        ({"rel_type": "m.thread", "event_id": 1}, None),
    ],
)
async def test_in_which_thread_stands_what_can_not_be_read_yet_is_known(
    relation: dict[str, Any], root: str | None
) -> None:
    for answer in (
        results.KeyMissing("s1"),
        Decrypted("m.room.message", {"body": "x"}, None, results.Trust.UNKNOWN),
    ):
        missing = await read(answer, relating(**relation))
        assert isinstance(missing, KeyMissing)
        assert missing.thread_root == root


@pytest.mark.parametrize(
    ("reason", "loss"),
    [
        (Unreadable.WITHHELD, Loss.WITHHELD),
        (Unreadable.WRONG_SENDER, Loss.WRONG_SENDER),
        (Unreadable.DUPLICATE_INDEX, Loss.REPLAYED),
        (Unreadable.MALFORMED, Loss.MALFORMED),
        (Unreadable.UNKNOWN_ALGORITHM, Loss.UNKNOWN_ALGORITHM),
    ],
)
async def test_what_can_never_be_read_says_why(reason: Unreadable, loss: Loss) -> None:
    fact = await read(Undecryptable(reason), event())
    assert isinstance(fact, MessageUnreadable)
    assert (fact.loss, fact.session_id) == (loss, "s")


async def test_the_bots_own_echo_is_not_decrypted() -> None:
    mine, reader = decoder(said())
    assert isinstance(await mine.decode(json.dumps(event(sender=BOT)).encode()), Nothing)
    assert reader.asked == 0


async def test_an_edit_carries_the_new_text_and_what_it_replaces() -> None:
    fact = await read(
        said("* x", **{"m.new_content": {"msgtype": "m.text", "body": "new"}}),
        relating(rel_type="m.replace", event_id="$old"),
    )
    assert (fact.body, fact.replaces) == ("new", "$old")


@pytest.mark.parametrize(
    ("inner", "relation"),
    [
        ({"m.new_content": {"body": "!status", "msgtype": "m.text"}}, {}),
        ({}, {"rel_type": "m.replace", "event_id": "$old"}),
        ({"m.new_content": "text"}, {"rel_type": "m.replace", "event_id": "$old"}),
        ({"m.new_content": {"body": 7}}, {"rel_type": "m.replace", "event_id": "$old"}),
    ],
)
async def test_half_an_edit_is_nothing(inner: dict[str, Any], relation: dict[str, Any]) -> None:
    """A homeserver could take the relation away, so that an edited command would run again."""
    assert isinstance(await read(said("* !status", **inner), relating(**relation)), Nothing)


async def test_the_relation_in_clear_text_counts_and_the_one_inside_does_not() -> None:
    inside = {"m.relates_to": {"rel_type": "m.thread", "event_id": "$inside"}}
    fact = await read(said(**inside), relating(rel_type="m.thread", event_id="$outside"))
    assert fact.thread_root == "$outside"
    assert (await read(said(**inside), event())).thread_root is None


async def test_a_reply_in_a_thread_is_told_from_its_fallback() -> None:
    reply = {"event_id": "$r"}
    thread = {"rel_type": "m.thread", "event_id": "$root", "m.in_reply_to": reply}
    real = await read(said(), relating(**thread, is_falling_back=False))
    assert (real.thread_root, real.reply_to) == ("$root", "$r")
    fallback = await read(said(), relating(**thread, is_falling_back=True))
    assert (fallback.thread_root, fallback.reply_to) == ("$root", None)
    plain = await read(said("> <@b:x> hi\n\n!status"), relating(**{"m.in_reply_to": reply}))
    assert (plain.body, plain.reply_to) == ("!status", "$r")


async def test_a_quotation_stays_where_nothing_is_answered() -> None:
    assert (await read(said("> quoted\n\n!status"), event())).body == "> quoted\n\n!status"


async def test_lone_surrogates_in_a_text_are_replaced() -> None:
    assert (await read(said("a\ud800b"), event())).body == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    "more",
    [
        {"type": "m.room.message", "content": {"msgtype": "m.text", "body": "!status"}},
        {"type": "m.room.message", "content": {"formatted_body": 7}},
        {"type": "m.sticker", "content": {"url": "mxc://x/y"}},
        {"type": "org.example.note", "content": {"body": "!status"}},
        {"type": "m.room.message", "sender": BOT, "content": {"body": "forged"}},
    ],
)
async def test_a_plain_message_in_a_room_of_ours_is_recorded_as_plain(more: dict[str, Any]) -> None:
    fact = await read(None, event(**more))
    assert isinstance(fact, PlainMessageReceived)
    assert fact.event_type == more["type"]
    assert isinstance(await read(None, event(**more, room_id="!stranger")), Nothing)


def reaction(**relation: Any) -> dict[str, Any]:
    whole = {"rel_type": "m.annotation", "event_id": "$x", "key": "⭐"} | relation
    return event(type="m.reaction", content={"m.relates_to": whole})


@pytest.mark.parametrize("key", ["⭐", "⭐\ufe0f", " ⭐ "])
async def test_a_reaction_names_its_message_and_a_key_without_variation_selector(key: str) -> None:
    fact = await read(None, reaction(key=key))
    assert fact == ReactionReceived(
        room_id=RoomId("!ours"),
        event_id=fact.event_id,
        sender=UserId("@a:x"),
        origin_ms=5,
        key="⭐",
        relates_to=fact.relates_to,
        shown="⭐\ufe0f" if "\ufe0f" in key else "",
    )
    assert (fact.event_id, fact.relates_to) == ("$e", "$x")


async def test_an_emoji_made_of_several_is_a_key() -> None:
    fact = await read(None, reaction(key="👩\u200d💻"))
    assert fact.key == "👩\u200d💻"


@pytest.mark.parametrize(
    "relation",
    [
        {"key": ""},
        {"key": "\ufe0f"},
        {"key": 7},
        {"key": "x" * 101},
        {"key": "\ud83d"},
        {"event_id": None},
        {"event_id": "\x00"},
        {"rel_type": "m.thread"},
    ],
)
async def test_half_a_reaction_is_nothing(relation: dict[str, Any]) -> None:
    assert isinstance(await read(None, reaction(**relation)), Nothing)
    assert isinstance(await read(None, event(type="m.reaction", content={"m.relates_to": "x"})), Nothing)


async def test_a_reaction_that_carries_text_is_a_message_in_clear() -> None:
    content = reaction()["content"] | {"body": "!status"}
    assert isinstance(await read(None, event(type="m.reaction", content=content)), PlainMessageReceived)


async def test_a_membership_knows_the_one_before() -> None:
    joined = event(
        type="m.room.member",
        state_key="@b:x",
        content={"membership": "join"},
        unsigned={"prev_content": {"membership": "invite"}},
    )
    fact = await read(None, joined)
    assert isinstance(fact, MembershipChanged)
    assert (fact.user_id, fact.membership, fact.previous) == ("@b:x", "join", "invite")
    assert (await read(None, joined | {"unsigned": {"prev_content": {"membership": ["x"]}}})).previous == "leave"
    assert (await read(None, joined | {"unsigned": 7})).previous == "leave"


async def test_the_bots_own_membership_is_read() -> None:
    mine = event(type="m.room.member", sender=BOT, state_key=BOT, content={"membership": "join"})
    assert isinstance(await read(None, mine), MembershipChanged)


@pytest.mark.parametrize("where", ["beside", "inside"])
async def test_a_redaction_is_read_in_both_shapes(where: str) -> None:
    gone: dict[str, Any] = {"redacts": "$x"}
    raw = event(type="m.room.redaction", content={"reason": "r"} | (gone if where == "inside" else {}))
    fact = await read(None, raw | (gone if where == "beside" else {}))
    assert isinstance(fact, EventRedacted)
    assert fact.redacts == "$x"


async def test_other_state_is_kept_for_the_record() -> None:
    fact = await read(None, event(type="m.room.topic", state_key="", content={"topic": "x"}))
    assert isinstance(fact, StateChanged)
    assert (fact.event_type, fact.state_key) == ("m.room.topic", "")


async def test_a_tombstone_names_the_room_that_follows() -> None:
    raw = event(type="m.room.tombstone", state_key="", content={"body": "x", "replacement_room": "!new"})
    fact = await read(None, raw)
    assert isinstance(fact, TombstoneSeen)
    assert fact.replacement == "!new"


@pytest.mark.parametrize("named", [None, "", 5, ["!new"], "!n\ud83d"])
async def test_a_tombstone_that_names_no_room_is_only_state(named: object) -> None:
    raw = event(type="m.room.tombstone", state_key="", content={"replacement_room": named})
    assert isinstance(await read(None, raw), StateChanged)


async def test_a_tombstone_of_some_other_key_is_only_state() -> None:
    raw = event(type="m.room.tombstone", state_key="x", content={"replacement_room": "!new"})
    assert isinstance(await read(None, raw), StateChanged)


async def test_a_redacted_event_is_nothing() -> None:
    assert isinstance(await read(said(), event(content={})), Nothing)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        json.dumps(event(event_id=7)).encode(),
        json.dumps(event(room_id="!" + "r" * 255)).encode(),
        json.dumps(event(sender="nobody")).encode(),
        json.dumps(event(sender=["@a:x"])).encode(),
        json.dumps(event(sender="@a\x00:x")).encode(),
        json.dumps({key: value for key, value in event().items() if key != "sender"}).encode(),
    ],
    ids=range(11),
)
async def test_what_is_no_event_is_broken_with_a_clear_text(raw: bytes) -> None:
    with pytest.raises(Broken, match="the event"):
        await read(said(), raw)


@pytest.mark.parametrize(
    "more",
    [
        {"content": "text"},
        {"content": None},
        {"type": 7},
        {"type": "t" * 300},
        {"type": "m.room.member", "state_key": "@b:x", "content": {"membership": {"a": 1}}},
        {"type": "m.room.member", "state_key": "@b:x", "content": {"membership": "king"}},
        {"type": "m.room.member", "state_key": 7, "content": {"membership": "join"}},
        {"type": "m.room.member", "state_key": "b", "content": {"membership": "join"}},
        {"type": "m.room.topic", "state_key": {"a": 1}, "content": {}},
        {"type": "m.room.topic", "state_key": "k" * 300, "content": {}},
        {"type": "m.room.redaction", "content": {"redacts": ["$x"]}},
        {"type": "m.room.redaction", "redacts": 7, "content": {}},
    ],
    ids=range(12),
)
async def test_hostile_fields_are_nothing(more: dict[str, Any]) -> None:
    assert isinstance(await read(said(), event(**more)), Nothing)


@pytest.mark.parametrize("body", [None, 7, ["!status"], {"a": 1}, True])
async def test_a_message_whose_body_is_no_text_is_nothing(body: Any) -> None:
    assert isinstance(await read(said(body), event()), Nothing)


@pytest.mark.parametrize("sent", ["5", None, -1, True, 2**60, 1.5, [5]])
async def test_an_impossible_time_is_no_time(sent: Any) -> None:
    assert (await read(said(), event(origin_server_ts=sent))).origin_ms == 0


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["join", "@a:x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=6,
)
FIELDS = [*event(), "state_key", "unsigned", "redacts"]
KINDS_OF_ANSWER = {
    "EventRedacted",
    "MembershipChanged",
    "MessageReceived",
    "Nothing",
    "PlainMessageReceived",
    "StateChanged",
}
KINDS = ["m.room.encrypted", "m.room.message", "m.room.member", "m.room.redaction", "m.room.topic", "m.reaction"]


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    relation=JSON,
    inner=st.dictionaries(st.sampled_from(["msgtype", "body", "m.new_content", "m.relates_to"]), JSON),
)
async def test_nothing_but_the_promised_outcomes_comes_of_any_event(
    kind: str, fields: dict[str, Any], relation: Any, inner: dict[str, Any]
) -> None:
    answer = Decrypted("m.room.message", inner, "D", results.Trust.UNSIGNED)
    raw = relating() | {"type": kind} | fields
    if isinstance(raw["content"], dict):
        raw["content"]["m.relates_to"] = relation
    with suppress(Broken):
        fact = await read(answer, raw)
        assert fact.__class__.__name__ in KINDS_OF_ANSWER
