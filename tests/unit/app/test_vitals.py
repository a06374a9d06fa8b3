"""What an operator reads of every part: well only what is known to be well."""

from dataclasses import replace

import pytest

from etb_appservice.app.vitals import HouseVitals
from etb_appservice.etb.poll import PollerState
from etb_appservice.etb.probe import ModuleReport, Presence
from etb_appservice.ports import Vital
from tests.harness.clock import MovedClock

FOUND = tuple(ModuleReport(name, Presence.FOUND, "/x/") for name in ("incidents", "security", "oncall"))


def vitals(
    clock: MovedClock,
    state: PollerState,
    modules: tuple[ModuleReport, ...] = FOUND,
    *,
    polls_incidents: bool = True,
) -> HouseVitals:
    return HouseVitals(
        clock,
        watched=lambda: state,
        modules=lambda: modules,
        watched_every_s=15,
        polls_incidents=polls_incidents,
        started_s=1000,
    )


def part(house: HouseVitals, name: str) -> Vital:
    [found] = [vital for vital in house.look() if vital.name == name]
    return found


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def good(clock: MovedClock) -> PollerState:
    """The state after a round in which nothing went wrong."""
    return PollerState(last_success_ms=clock.now_ms())


def test_etb_is_well_when_it_answers_and_all_it_is_needed_for_is_there(
    clock: MovedClock, good: PollerState
) -> None:
    clock.advance(3)
    assert part(vitals(clock, good), "etb") == Vital("etb", True, "answered 3 s ago")


def test_a_module_that_etb_has_not_is_named_and_no_fault(clock: MovedClock, good: PollerState) -> None:
    modules = (*FOUND, ModuleReport("knowledge", Presence.ABSENT, "/y/", "not found at any known place"))
    found = part(vitals(clock, good, modules, polls_incidents=False), "etb")
    assert found == Vital("etb", True, "answered 0 s ago; incidents come by webhook alone; not there: knowledge")


@pytest.mark.parametrize(
    ("module", "presence"),
    [
        ("incidents", Presence.ABSENT),
        ("security", Presence.ABSENT),
        ("oncall", Presence.FORBIDDEN),
        ("knowledge", Presence.UNREACHABLE),
    ],
)
@pytest.mark.parametrize("polls", [True, False])
def test_a_module_that_is_missing_shut_or_silent_is_never_well(
    clock: MovedClock, good: PollerState, module: str, presence: Presence, polls: bool
) -> None:
    modules = (*FOUND, ModuleReport(module, presence, "/y/", "check etb.token"))
    found = part(vitals(clock, good, modules, polls_incidents=polls), "etb")
    assert not found.is_well
    assert found.text == f"{module} {presence.value} (check etb.token)"


def test_not_knowing_who_is_on_call_is_not_well(clock: MovedClock, good: PollerState) -> None:
    found = part(vitals(clock, replace(good, on_call_trouble="ETB answered 403")), "etb")
    assert found == Vital("etb", False, "who is on call isn't known: ETB answered 403")


def test_trouble_is_told_in_its_own_words(clock: MovedClock, good: PollerState) -> None:
    assert part(vitals(clock, replace(good, trouble="ETB can't be reached")), "etb").text == "ETB can't be reached"


@pytest.mark.parametrize("polls", [True, False])
def test_what_was_not_asked_yet_is_not_well(clock: MovedClock, good: PollerState, polls: bool) -> None:
    for house in (
        vitals(clock, PollerState(), polls_incidents=polls),
        vitals(clock, good, (), polls_incidents=polls),
    ):
        assert part(house, "etb") == Vital("etb", False, "was not asked yet")


def test_an_answer_of_long_ago_is_no_answer(clock: MovedClock, good: PollerState) -> None:
    house = vitals(clock, good)
    clock.advance(150)
    assert part(house, "etb").is_well
    clock.advance(1)
    assert part(house, "etb") == Vital("etb", False, "has not answered for 151 s")


def test_the_loops_of_the_homeserver_are_well_while_they_turn(clock: MovedClock, good: PollerState) -> None:
    house = vitals(clock, good)
    assert part(house, "keys") == Vital("keys", False, "the homeserver has not answered yet")
    assert part(house, "rooms").is_well
    house.keys_synced_s = clock.monotonic()
    assert part(house, "keys").is_well
    clock.advance(121)
    assert part(house, "keys") == Vital("keys", False, "the homeserver has not answered for 121 s")
    assert not part(house, "rooms").is_well


def test_refused_requests_for_keys_are_told_with_the_keys(clock: MovedClock, good: PollerState) -> None:
    house = vitals(clock, good)
    house.keys_synced_s = clock.monotonic()
    assert part(house, "keys").text == "room keys arrive by sync"
    house.key_requests_refused = 3
    told = "room keys arrive by sync; requests of others for keys, all refused: 3 since the start"
    assert part(house, "keys") == Vital("keys", True, told)


def test_the_service_is_well_once_it_leads(clock: MovedClock, good: PollerState) -> None:
    house = vitals(clock, good)
    assert part(house, "service") == Vital("service", False, "is starting")
    house.is_leading = True
    clock.advance(125)
    assert part(house, "service") == Vital("service", True, "leads, up for 2 min")


def test_a_device_without_keys_and_a_failed_self_test_are_shown(clock: MovedClock, good: PollerState) -> None:
    house = vitals(clock, good)
    house.refused_devices = 2
    house.self_test = (Vital("sync", True, "answers"), Vital("events", False, "did not come back"))
    assert part(house, "devices") == Vital("devices", False, "2 devices could not be given a key")
    assert part(house, "events").text == "did not come back"
    assert "sync" not in [vital.name for vital in house.look()]


@pytest.mark.parametrize(("tells", "is_well"), [(True, True), (False, False)])
def test_an_old_registration_is_told_of_with_what_to_do(
    clock: MovedClock, good: PollerState, tells: bool, is_well: bool
) -> None:
    house = vitals(clock, good)
    house.tells_passing = lambda: tells
    found = part(house, "typing")
    assert found.is_well is is_well
    assert (house.missed_signs() is None) is is_well
    assert is_well or "set `receive_ephemeral: true` in the registration" in found.text


def test_before_anything_came_and_where_nobody_wants_to_know_nothing_is_said_of_it(
    clock: MovedClock, good: PollerState
) -> None:
    house = vitals(clock, good)
    assert "typing" not in {vital.name for vital in house.look()}
    house.tells_passing = lambda: None
    assert "typing" not in {vital.name for vital in house.look()}
