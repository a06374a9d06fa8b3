"""Which keys of the past somebody is given: by mark, level and time, and none of which something isn't known."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.past import Levels
from etb_appservice.matrix.history import MOST_KEYS, chosen, withheld, within
from etb_appservice.matrix.results import Held

PUBLIC, INTERNAL, SECRET = Classification.PUBLIC, Classification.INTERNAL, Classification.TOP_SECRET
ALWAYS = Levels().then(0, INTERNAL)
NOW = 1_000
OURS = Held("ours", "bot", True, True, 100, INTERNAL, None, 0)
THEIRS = Held("theirs", "alice", False, True, 100, None, 101, 0)


def test_marked_keys_at_or_below_the_clearance_are_given_from_their_first_index_on() -> None:
    held = [OURS, replace(THEIRS, start=7)]
    assert chosen(held, ALWAYS, INTERNAL, NOW) == {"ours": 0, "theirs": 7}
    assert chosen(held, ALWAYS, SECRET, NOW) == {"ours": 0, "theirs": 7}
    assert chosen(held, ALWAYS, PUBLIC, NOW) == {}


def test_what_its_maker_has_not_marked_is_kept() -> None:
    held = [replace(OURS, is_marked=False), replace(THEIRS, is_marked=False)]
    assert chosen(held, ALWAYS, SECRET, NOW) == {}


def test_what_is_older_than_the_configured_point_is_kept() -> None:
    assert chosen([replace(OURS, start=None), replace(THEIRS, start=None)], ALWAYS, SECRET, NOW) == {}


def test_what_is_not_known_is_kept() -> None:
    assert chosen([replace(OURS, level=None)], ALWAYS, SECRET, NOW) == {}
    assert chosen([replace(THEIRS, heard_ms=None)], ALWAYS, SECRET, NOW) == {}
    assert chosen([THEIRS], Levels(), SECRET, NOW) == {}
    assert chosen([THEIRS], Levels().then(102, INTERNAL), SECRET, NOW) == {}


def test_ours_belongs_to_its_level_whatever_the_room_was_besides() -> None:
    past = Levels().then(0, PUBLIC).then(500, SECRET).then(600, PUBLIC)
    assert chosen([replace(OURS, level=PUBLIC)], past, PUBLIC, NOW) == {"ours": 0}
    assert chosen([replace(OURS, level=SECRET)], past, PUBLIC, NOW) == {}


def test_theirs_counts_for_every_level_until_the_same_device_began_another() -> None:
    past = Levels().then(0, PUBLIC).then(500, SECRET).then(600, PUBLIC)
    later, others = replace(THEIRS, session_id="later", came_ms=400), replace(THEIRS, device="bob", came_ms=400)
    assert chosen([THEIRS], past, PUBLIC, NOW) == {}
    assert chosen([others, THEIRS], past, PUBLIC, NOW) == {}
    assert chosen([later, THEIRS], past, PUBLIC, NOW) == {"theirs": 0}
    after = replace(THEIRS, came_ms=601, heard_ms=602)
    assert chosen([after], past, PUBLIC, NOW) == {"theirs": 0}


def test_a_key_that_came_late_counts_from_its_first_message() -> None:
    past = Levels().then(0, PUBLIC).then(500, SECRET).then(600, PUBLIC)
    assert chosen([replace(THEIRS, came_ms=700, heard_ms=550)], past, PUBLIC, NOW) == {}


def test_only_so_many_keys_are_given_and_the_latest_come_first() -> None:
    held = [replace(OURS, session_id=str(number)) for number in range(MOST_KEYS + 5)]
    starts = chosen(held, ALWAYS, INTERNAL, NOW)
    assert list(starts) == [str(number) for number in range(MOST_KEYS)]


def test_a_bundle_holds_no_more_than_fits() -> None:
    keys = [{"session_id": str(number), "session_key": "x" * 100} for number in range(10)]
    assert within(keys, most_bytes=500) == keys[:3]
    assert within(keys) == keys


def test_what_is_withheld_is_named_without_a_reason_of_ours() -> None:
    [entry] = withheld(RoomId("!r"), [replace(THEIRS, is_marked=False)])
    assert entry["code"] == "m.history_not_shared"
    assert (entry["room_id"], entry["session_id"], entry["sender_key"]) == ("!r", "theirs", "alice")
    assert "session_key" not in entry


@dataclass
class Device:
    """A device that talks, and the truth about each of its sessions."""

    name: str
    came: list[int] = field(default_factory=list)
    said: dict[int, list[tuple[int, Classification]]] = field(default_factory=dict)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("level"), st.sampled_from(Classification)),
        st.tuples(st.sampled_from(["begin", "say"]), st.integers(0, 2)),
    ),
    max_size=40,
)


@given(STEPS, st.sampled_from(Classification))
def test_nothing_that_was_said_above_a_clearance_is_ever_given(
    steps: list[tuple[str, int]], up_to: Classification
) -> None:
    devices = [Device(f"device {number}") for number in range(3)]
    level, past = PUBLIC, Levels().then(0, PUBLIC)
    for now, (what, which) in enumerate(steps, 1):
        if what == "level":
            level = Classification(which)
            past = past.then(now, level)
            continue
        device = devices[which]
        if what == "begin" or not device.came:
            device.came.append(now)
        if what == "say":
            device.said.setdefault(device.came[-1], []).append((now, level))
    held = [
        Held(f"{device.name} {came}", device.name, False, True, came, None, device.said[came][0][0], 0)
        for device in devices
        for came in device.came
        if came in device.said
    ]
    held.sort(key=lambda one: -one.came_ms)
    given_ids = chosen(held, past, up_to, len(steps) + 1)
    for device in devices:
        for came, said in device.said.items():
            if f"{device.name} {came}" in given_ids:
                assert max(level for _, level in said) <= up_to
