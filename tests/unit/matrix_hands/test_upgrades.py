"""Which room is a true successor, and whether the bot has power in it."""

from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import FollowUpgrade
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.rooms import RoomPolicy, incident_room
from etb_appservice.matrix.upgrades import may_set_state, why_no_successor
from tests.harness.hands import an_incident

GLASS, BOT = UserId("@glass:x"), UserId("@etb:x")
State = dict[tuple[str, str], dict[str, Any]]


def effect(level: Classification = Classification.INTERNAL) -> FollowUpgrade:
    spec = incident_room(an_incident(1), level, RoomPolicy(bot=BOT))
    return FollowUpgrade(room_id=RoomId("!old"), replacement=RoomId("!new"), by=GLASS, spec=spec)


def state(levels: dict[str, Any] | None = None, sender: str = GLASS, **create: Any) -> State:
    made = {"room_version": "12", "predecessor": {"room_id": "!old"}, **create}
    return {
        ("m.room.create", ""): {"sender": sender, "content": made},
        ("m.room.power_levels", ""): {"content": levels or {}},
    }


def test_a_room_made_by_who_upgraded_that_names_ours_is_a_successor() -> None:
    assert why_no_successor(state(), effect()) == ""


@pytest.mark.parametrize("predecessor", [None, {}, "!old", {"room_id": "!other"}, [{"room_id": "!old"}]])
def test_one_that_does_not_name_ours_is_none(predecessor: object) -> None:
    assert "predecessor" in why_no_successor(state(predecessor=predecessor), effect())


def test_one_that_somebody_else_made_is_none() -> None:
    assert "@glass:x" in why_no_successor(state(sender="@mallory:x"), effect())


def test_one_that_is_open_to_other_homeservers_is_none_where_the_level_forbids_it() -> None:
    restricted = effect(Classification.RESTRICTED)
    assert "other homeservers" in why_no_successor(state(), restricted)
    closed: dict[str, Any] = {"m.federate": False}
    assert why_no_successor(state(**closed), restricted) == ""


def test_a_room_of_which_nothing_can_be_seen_is_none() -> None:
    assert why_no_successor({}, effect()) != ""


@pytest.mark.parametrize(
    ("levels", "create", "may"),
    [
        ({"users": {BOT: 100}}, {}, True),
        ({"users": {BOT: 50}}, {}, False),
        ({"users": {}}, {}, False),
        ({"users": {BOT: "100"}}, {}, False),
        ({"users": [], "users_default": 100}, {}, False),
        ({}, {}, False),
        ({}, {"additional_creators": [BOT]}, True),
        ({}, {"additional_creators": BOT}, False),
        ({}, {"room_version": "11", "additional_creators": [BOT]}, False),
        ({}, {"sender": BOT}, True),
        ({}, {"sender": BOT, "room_version": "11"}, False),
    ],
)
def test_the_bot_needs_the_power_it_has_in_its_own_rooms(
    levels: dict[str, Any], create: dict[str, Any], *, may: bool
) -> None:
    assert may_set_state(state(levels, **create), BOT) is may
