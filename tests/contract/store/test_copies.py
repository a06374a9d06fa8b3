"""Our rooms, who is in them, and our copies of what ETB owns."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import Card, Deadline, EtbUser, Incident, OnCall, Responder
from etb_appservice.domain.roles import Admitted
from etb_appservice.domain.tasks import Task
from etb_appservice.ports import ON_CALL, USERS, Known, Room, Work
from etb_appservice.store.sql import SqlStore
from tests.contract.store.conftest import NOON, Clock, Reopen

DEADLINE = Deadline("first answer", "response", "RUNNING", NOON + 1)
CARD = Card(
    number="INC-1",
    title="Fire in \ud83d hall 3",
    severity="HIGH",
    status="NEW",
    category="c",
    priority="p",
    classification=Classification.RESTRICTED,
    responders=(Responder(Username("alice"), ("reporter", "on call"), UserId("@alice:x")),),
    deadlines=(DEADLINE,),
)
ROOM = Room(
    war_room=WarRoomId("w"),
    generation=1,
    kind="incident",
    incident_id=IncidentId("i"),
    classification=Classification.CONFIDENTIAL,
    visibility="joined",
    keys_to_invited=False,
    encrypted=True,
    room_id=RoomId("!1"),
    name="INC-1 Fire",
    card_event=EventId("$card"),
    card=replace(CARD, title="Fire"),
    card_holders=(UserId("@a:x"), UserId("@b:x")),
    federates=False,
    hosts=("b.org", "x.org"),
)


async def test_a_room_is_found_by_incident_war_room_and_id(store: SqlStore) -> None:
    opening = replace(ROOM, room_id=None, card=None, card_event=None, card_holders=())
    async with store.work() as work:
        await work.rooms.put(opening)
        assert await work.rooms.of_incident(IncidentId("i")) == opening
        await work.rooms.put(ROOM)
    async with store.view() as view:
        assert await view.rooms.of_incident(IncidentId("i")) == ROOM
        assert await view.rooms.by_war_room(WarRoomId("w")) == ROOM
        assert await view.rooms.by_id(RoomId("!1")) == ROOM
        assert await view.rooms.count() == 1
        assert await view.rooms.of_incident(IncidentId("j")) is None
        assert await view.rooms.by_war_room(WarRoomId("v")) is None
        assert await view.rooms.by_id(RoomId("!2")) is None


async def test_half_a_surrogate_pair_in_a_card_is_replaced(store: SqlStore) -> None:
    async with store.work() as work:
        await work.rooms.put(replace(ROOM, card=CARD))
        found = await work.rooms.by_id(RoomId("!1"))
    assert found == replace(ROOM, card=replace(CARD, title="Fire in \ufffd hall 3"))


async def test_a_new_generation_retires_the_one_before(store: SqlStore) -> None:
    second = replace(ROOM, generation=2, room_id=RoomId("!2"))
    async with store.work() as work:
        await work.rooms.put(ROOM)
        await work.rooms.put(second)
    async with store.view() as view:
        assert await view.rooms.by_war_room(WarRoomId("w")) == second
        assert await view.rooms.of_incident(IncidentId("i")) == second
        assert await view.rooms.by_id(RoomId("!1")) == replace(ROOM, is_current=False)
        assert await view.rooms.former(WarRoomId("w")) == ["!1"]
        assert await view.rooms.former(WarRoomId("v")) == []
        assert await view.rooms.count() == 1


async def test_current_rooms_are_listed_oldest_first_without_names_and_cards(
    store: SqlStore, clock: Clock
) -> None:
    for war_room in ("b", "a"):
        async with store.work() as work:
            await work.rooms.put(replace(ROOM, war_room=WarRoomId(war_room), room_id=RoomId(f"!{war_room}")))
        clock.now += 1
    async with store.work() as work:
        await work.rooms.put(replace(ROOM, war_room=WarRoomId("b"), room_id=RoomId("!b"), name="renamed"))
    async with store.view() as view:
        rooms = await view.rooms.all_current()
    assert [(room.war_room, room.name, room.card) for room in rooms] == [("b", "", None), ("a", "", None)]


async def test_memberships_are_recorded_with_the_one_before(store: SqlStore) -> None:
    room, anna, bob = RoomId("!1"), UserId("@anna:x"), UserId("@bob:x")
    async with store.work() as work:
        assert await work.rooms.set_member(room, bob, "invite") == "leave"
        assert await work.rooms.set_member(room, bob, "join") == "invite"
        assert await work.rooms.set_member(room, bob, "join") == "join"
        assert await work.rooms.set_member(room, anna, "invite") == "leave"
    async with store.view() as view:
        assert await view.rooms.members(room, "join", "invite") == [anna, bob]
        assert await view.rooms.members(room, "join") == [bob]
        assert await view.rooms.members(room) == []
        assert await view.rooms.membership(room, bob) == "join"
        assert await view.rooms.membership(RoomId("!2"), bob) == "leave"


async def test_shared_rooms_are_encrypted_ones_of_ours_with_the_person_in_them(store: SqlStore) -> None:
    bob = UserId("@bob:x")
    async with store.work() as work:
        for name in ("joined", "invited", "left", "plain"):
            await work.rooms.put(
                replace(ROOM, war_room=WarRoomId(name), room_id=RoomId(f"!{name}"), encrypted=name != "plain")
            )
        for name, membership in (("joined", "join"), ("invited", "invite"), ("left", "leave"), ("plain", "join")):
            await work.rooms.set_member(RoomId(f"!{name}"), bob, membership)
        await work.rooms.set_member(RoomId("!stranger"), bob, "join")
        assert await work.rooms.shared_with(bob) == ["!invited", "!joined"]
        assert await work.rooms.shared_with(UserId("@nobody:x")) == []


async def test_who_is_in_the_rooms_of_some_levels_is_one_read(store: SqlStore) -> None:
    levels = (Classification.CONFIDENTIAL, Classification.TOP_SECRET)
    async with store.work() as work:
        assert await work.rooms.joined(levels) == {}
        rows: dict[str, dict[str, Any]] = {
            "a": {"classification": Classification.CONFIDENTIAL},
            "b": {"classification": Classification.TOP_SECRET, "generation": 1, "is_current": False},
            "c": {"classification": Classification.TOP_SECRET, "kind": "control"},
            "d": {"classification": Classification.INTERNAL},
            "e": {"classification": Classification.CONFIDENTIAL, "encrypted": False},
            "empty": {"classification": Classification.CONFIDENTIAL},
        }
        for name, changes in rows.items():
            room = replace(
                ROOM, war_room=WarRoomId(name), room_id=RoomId(f"!{name}"), incident_id=IncidentId(name)
            )
            await work.rooms.put(replace(room, **changes))
        for name in "abcde":
            await work.rooms.set_member(RoomId(f"!{name}"), UserId("@z:x"), "join")
            await work.rooms.set_member(RoomId(f"!{name}"), UserId("@a:x"), "join")
            await work.rooms.set_member(RoomId(f"!{name}"), UserId("@gone:x"), "leave")
            await work.rooms.set_member(RoomId(f"!{name}"), UserId("@asked:x"), "invite")
        assert await work.rooms.joined(levels) == {"!a": ["@a:x", "@z:x"], "!c": ["@a:x", "@z:x"]}
        assert await work.rooms.joined(()) == {}


INCIDENT = Incident(
    id=IncidentId("i"), number="INC-1", title="Fire", severity="HIGH", status="NEW", updated_at_ms=5,
    stated=Classification.TOP_SECRET, assignee=Username("alice"),
)  # fmt: skip


async def test_an_incident_comes_back_as_it_was_last_known(store: SqlStore, reopen: Reopen, clock: Clock) -> None:
    known = Known(incident=INCIDENT, confirmed_ms=NOON, deadlines=(DEADLINE,))
    async with store.work() as work:
        assert await work.incidents.get(INCIDENT.id) is None
        await work.incidents.put(replace(known, incident=replace(INCIDENT, status="OLD")))
        await work.incidents.put(known)
    clock.now += 1
    async with store.work() as work:
        await work.incidents.put(replace(known, incident=replace(INCIDENT, id=IncidentId("h"))))
        closed = replace(INCIDENT, id=IncidentId("z"), status="CLOSED")
        await work.incidents.put(replace(known, incident=closed))
    async with reopen() as again, again.view() as view:
        assert await view.incidents.get(INCIDENT.id) == known
        assert await view.incidents.open_ids() == ["i", "h"]


async def test_several_users_are_one_question_and_can_be_doubted(store: SqlStore) -> None:
    names = [Username(f"u{number}") for number in range(600)]
    async with store.work() as work:
        for name in names:
            user = EtbUser(name, name, Classification.INTERNAL, is_active=True)
            await work.incidents.put_user(user, NOON + (name == "u7"))
    async with store.view() as view:
        found = await view.incidents.users([*names, Username("nobody")])
        assert await view.incidents.users([]) == {}
    assert set(found) == set(names)
    assert {at_ms for _, at_ms in found.values()} == {NOON, NOON + 1}
    async with store.work() as work:
        await work.incidents.doubt_users(NOON + 1)
    async with store.view() as view:
        found = await view.incidents.users(names)
    assert {name for name, (_, at_ms) in found.items() if at_ms} == {"u7"}
    assert found[names[0]][0].clearance is Classification.INTERNAL, "what was known stays known"


async def test_a_stamp_moves_with_every_commit_that_may_let_others_in_and_with_no_other(store: SqlStore) -> None:
    user = EtbUser(Username("alice"), "Alice", Classification.INTERNAL, is_active=True)
    scopes = (USERS, ON_CALL, INCIDENT.id, "w")

    async def moved(*jobs: Callable[[Work], Awaitable[None]]) -> tuple[bool, ...]:
        epoch, *before = store.stamp(*scopes)
        async with store.work() as work:
            for job in jobs:
                await job(work)
        same, *now = store.stamp(*scopes)
        assert same == epoch, "that is for what other processes do"
        return tuple(a != b for a, b in zip(before, now, strict=True))

    assert await moved() == (False,) * 4
    assert await moved(lambda work: work.incidents.put_user(user, NOON)) == (True, False, False, False)
    assert await moved(lambda work: work.incidents.put_user(user, NOON + 1)) == (False,) * 4, "nothing new"
    shift = OnCall("ops", Username("alice"))
    assert await moved(lambda work: work.incidents.put_on_call([shift], NOON)) == (False, True, False, False)
    known = Known(incident=INCIDENT, confirmed_ms=NOON)
    assert await moved(lambda work: work.incidents.put(known)) == (False, False, True, False)
    let_in = Admitted(id="a", username=Username("a"), by="b", at_ms=1)
    assert await moved(lambda work: work.cases.put(WarRoomId("w"), let_in)) == (False, False, False, True)
    task = Task(id="t", number=1, text="x", by=Username("a"), at_ms=1)
    assert await moved(lambda work: work.cases.put(WarRoomId("w"), task)) == (False,) * 4

    of_room, of_users = store.stamp("w"), store.stamp(USERS)
    store.touched(["w"])
    assert (store.stamp("w") != of_room, store.stamp(USERS) != of_users) == (True, False), "by another process"
    of_room = store.stamp("w")
    store.missed()
    assert (store.stamp("w") != of_room, store.stamp(USERS) != of_users) == (True, True), "whatever it was"


async def test_who_is_in_rooms_of_a_kind_is_named_once(store: SqlStore) -> None:
    async with store.work() as work:
        await work.rooms.put(ROOM)
        await work.rooms.put(
            replace(ROOM, war_room=WarRoomId("v"), incident_id=IncidentId("j"), room_id=RoomId("!2"))
        )
        for number in (1, 2):
            await work.rooms.set_member(RoomId(f"!{number}"), UserId("@a:x"), "join")
        await work.rooms.set_member(RoomId("!1"), UserId("@b:x"), "invite")
        await work.rooms.set_member(RoomId("!1"), UserId("@c:x"), "leave")
    async with store.view() as view:
        assert await view.rooms.inside("incident") == ["@a:x", "@b:x"]
        assert await view.rooms.inside("control") == []
        assert await view.rooms.present(RoomId("!1")) == {"@a:x": "join", "@b:x": "invite"}


async def test_users_and_who_is_on_call_come_back_with_the_time_of_their_confirmation(store: SqlStore) -> None:
    user = EtbUser(Username("alice"), "Alice", Classification.INTERNAL, is_active=True)
    shift = OnCall("ops", Username("alice"))
    async with store.work() as work:
        assert await work.incidents.user(user.username) is None
        assert await work.incidents.on_call() is None
        await work.incidents.put_user(replace(user, is_active=False), NOON - 1)
        await work.incidents.put_user(user, NOON)
        await work.incidents.put_on_call([shift, shift], NOON - 1)
        await work.incidents.put_on_call([shift], NOON)
    async with store.view() as view:
        assert await view.incidents.user(user.username) == (user, NOON)
        assert await view.incidents.on_call() == ((shift,), NOON)
