import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.people import PeopleMap

ALICE, BOB = Username("alice"), Username("bob")
TEMPLATE = "@{username}:x.org"
NAMES = st.text("abc_.", max_size=4)
IDS = st.builds(lambda name: f"@{name}:x.org", NAMES)


def test_an_entry_wins_over_the_template() -> None:
    people = PeopleMap(TEMPLATE, {ALICE: UserId("@a.liddell:y.org")})
    assert people.user_id(ALICE) == "@a.liddell:y.org"
    assert people.username(UserId("@a.liddell:y.org")) == ALICE
    assert people.user_id(BOB) == "@bob:x.org"
    assert people.username(UserId("@bob:x.org")) == BOB


def test_the_id_the_template_would_make_is_a_strangers_when_the_entry_says_otherwise() -> None:
    people = PeopleMap(TEMPLATE, {ALICE: UserId("@a.liddell:y.org")})
    assert people.username(UserId("@alice:x.org")) is None


def test_a_matrix_id_that_an_entry_gives_to_somebody_else_is_not_made_by_the_template() -> None:
    people = PeopleMap(TEMPLATE, {BOB: UserId("@alice:x.org")})
    assert people.username(UserId("@alice:x.org")) == BOB
    assert people.user_id(ALICE) is None, "alice's clearance must not invite bob"


def test_a_matrix_id_that_two_entries_claim_is_nobodys() -> None:
    people = PeopleMap("", {ALICE: UserId("@team:x.org"), BOB: UserId("@team:x.org")})
    assert people.username(UserId("@team:x.org")) is None


@pytest.mark.parametrize("username", ["", "Alice", "alice smith", "al:ice", "älice", "{username}", "a@b", "a\n"])
def test_a_username_that_is_no_localpart_is_not_mapped_by_template(username: str) -> None:
    assert PeopleMap(TEMPLATE).user_id(Username(username)) is None


@pytest.mark.parametrize(
    "user_id", ["@alice:y.org", "alice:x.org", "@:x.org", "@Alice:x.org", "@alice:x.org.evil", "", "@al ice:x.org"]
)
def test_an_id_that_the_template_did_not_make_is_a_strangers(user_id: str) -> None:
    assert PeopleMap(TEMPLATE).username(UserId(user_id)) is None


def test_without_a_template_only_entries_count() -> None:
    people = PeopleMap("", {ALICE: UserId("@alice:x.org")})
    assert people.user_id(BOB) is None
    assert people.username(UserId("@bob:x.org")) is None


@given(st.sampled_from(["", TEMPLATE, "@etb.{username}:x.org"]), st.dictionaries(NAMES, IDS, max_size=4), NAMES)
def test_no_two_people_speak_as_one(template: str, entries: dict[str, str], name: str) -> None:
    people = PeopleMap(template, {Username(key): UserId(value) for key, value in entries.items()})
    names = {Username(one) for one in (*entries, name)}
    for user_id in {UserId(one) for one in entries.values()} | {UserId(f"@{name}:x.org")}:
        speaker = people.username(user_id)
        mapped = [one for one in names if people.user_id(one) == user_id]
        assert speaker is None or mapped == [speaker]
