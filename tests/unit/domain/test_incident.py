import pytest

from etb_appservice.domain.effects import (
    AddTimelineEntry,
    Effect,
    Invite,
    LeaveRoom,
    OpenRoom,
    Pin,
    PutState,
    Remove,
    Say,
    target_of,
)
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.rooms import RoomPolicy, control_room

ROOM, USER = RoomId("!r"), UserId("@a:x")
SPEC = control_room(RoomPolicy(bot=UserId("@etb:x")))


@pytest.mark.parametrize(
    ("status", "is_open"),
    [
        ("OPEN", True),
        ("IN_PROGRESS", True),
        ("CLOSED", False),
        ("CANCELLED", False),
        ("RESOLVED", False),
        ("?", True),
    ],
)
def test_an_unknown_status_counts_as_open(status: str, is_open: bool) -> None:
    seen = Incident(IncidentId("i"), "1", "t", "HIGH", status, 0)
    assert seen.is_open is is_open


@pytest.mark.parametrize(
    ("effect", "target"),
    [
        (OpenRoom(war_room=SPEC.war_room, spec=SPEC), "matrix/open/0/control"),
        (Invite(room_id=ROOM, user_id=USER), "matrix/!r"),
        (Remove(room_id=ROOM, user_id=USER, reason="x"), "matrix/!r"),
        (LeaveRoom(room_id=ROOM), "matrix/!r"),
        (PutState(room_id=ROOM, event_type="t", state_key="", content={}), "matrix/!r"),
        (Pin(room_id=ROOM, event_id=EventId("$e")), "matrix/!r"),
        (Say(room_id=ROOM, content="x"), "matrix/!r"),
        (
            AddTimelineEntry(
                incident_id=IncidentId("i"),
                event_type="OTHER",
                title="t",
                description="",
                event_time_ms=0,
                external_ref="r",
                event_data={},
            ),
            "etb/i",
        ),
    ],
)
def test_effects_of_one_room_wait_in_one_line_and_those_of_etb_in_another(effect: Effect, target: str) -> None:
    assert target_of(effect) == target
