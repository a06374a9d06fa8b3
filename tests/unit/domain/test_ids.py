import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.ids import IncidentId, incident_id, new_id, short_hash, war_room_id

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=40)


@pytest.mark.parametrize(
    "spelling",
    [
        "0F8FAD5B-D9CB-469F-A165-70867728950E",
        "{0f8fad5b-d9cb-469f-a165-70867728950e}",
        "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
        "0f8fad5bd9cb469fa16570867728950e",
    ],
)
def test_an_incident_has_one_id_however_etb_spells_it(spelling: str) -> None:
    assert incident_id(spelling) == "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize("text", ["", "42", "not-a-uuid", "0f8fad5b-d9cb-469f-a165-70867728950"])
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        incident_id(text)


def test_the_war_room_of_an_incident_is_the_same_on_every_machine() -> None:
    room = war_room_id(IncidentId("11111111-1111-4111-8111-111111111111"))
    assert room == "473de767-62f9-514f-9a61-ebd029ffe79f"
    assert uuid.UUID(room).version == 5
    assert room != war_room_id(IncidentId("22222222-2222-4222-8222-222222222222"))


@given(st.integers(0, 2**48 - 1))
def test_a_new_id_is_a_uuid_of_version_7_that_holds_its_moment(now_ms: int) -> None:
    made = uuid.UUID(new_id(now_ms))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_ms


@given(st.integers(0, 2**48 - 2))
def test_later_ids_sort_after_earlier_ones(now_ms: int) -> None:
    assert new_id(now_ms) < new_id(now_ms + 1)


def test_ids_of_one_moment_differ() -> None:
    assert len({new_id(5) for _ in range(1000)}) == 1000


@given(st.lists(ANY_TEXT, min_size=1, max_size=4))
def test_a_short_hash_takes_any_text_and_is_always_16_bytes(parts: list[str]) -> None:
    assert len(short_hash(*parts)) == 16
    assert short_hash(*parts) == short_hash(*parts)


def test_a_short_hash_tells_where_one_part_ends() -> None:
    assert short_hash("a", "bc") != short_hash("ab", "c") != short_hash("abc")
    assert short_hash("\ud800") != short_hash("\ud801")
