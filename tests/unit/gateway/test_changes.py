"""What the chat API changes of war rooms: through the same flows as commands, and with the same rights."""

from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import OpenRoom, Say
from etb_appservice.domain.facts import UsersSeen
from etb_appservice.domain.ids import Username, war_room_id
from etb_appservice.domain.news import PersonJoined, PersonLeft
from etb_appservice.domain.policy import RolePolicy
from tests.harness.api import Api, api_of, id_of
from tests.harness.cast import CAROL, NO_1, NO_2, etb_user, incident, policy_of
from tests.harness.kit import MakeHouse
from tests.harness.world import later

pytestmark = pytest.mark.enable_socket
ROOM = war_room_id(NO_1)
ONE = f"war-rooms/{ROOM}/"


def know(api: Api, name: str, clearance: Classification = Classification.RESTRICTED, **more: Any) -> None:
    """ETB knows somebody by id and name."""
    user = etb_user(name, clearance, active=more.pop("active", True))
    api.house.etb.users[Username(name)] = replace(user, id=id_of(name), **more)


@pytest.fixture
async def ready(api: Api) -> Api:
    """The service runs; ETB knows INC-1, and nobody has asked for its room yet."""
    for name in ("alice", "bob", "carol"):
        know(api, name)
    await api.house.start_service()
    api.house.etb.known[NO_1] = incident()
    return api


# --- opening ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["war-rooms/", f"war-rooms/{NO_1}/create_chat_room/"])
async def test_a_room_is_opened_once_and_found_after_that(ready: Api, path: str) -> None:
    body = {"incident_id": NO_1} if path == "war-rooms/" else {}
    made = await ready.post("alice", path, body)
    assert (made.status, made.body["id"], made.body["created_by_username"]) == (201, ROOM, "alice")
    assert made.body["matrix"]["room_id"] == await ready.house.room_id()
    again = await ready.post("bob", path, body)
    assert (again.status, again.body["id"]) == (200, ROOM)
    assert len([one for one in ready.house.world.opened if one.war_room == ROOM]) == 1
    assert (await ready.post("alice", f"{ONE}create_chat_room/")).status == 200


async def test_a_new_room_carries_what_its_maker_said_and_lets_in_whom_they_named(ready: Api) -> None:
    body = {
        "incident_id": NO_1,
        "name": "Mail",
        "description": "All of it",
        "privacy_level": "PRIVATE",
        "allowed_user_ids": [id_of("carol")],
    }
    made = (await ready.post("alice", "war-rooms/", body)).body
    assert (made["name"], made["description"], made["privacy_level"]) == ("Mail", "All of it", "PRIVATE")
    assert "carol" in {one["username"] for one in made["allowed_users"]}
    assert CAROL in ready.house.world.guests(await ready.house.room_id())


@pytest.mark.parametrize(
    ("who", "body", "status"),
    [
        ("alice", {"incident_id": NO_2}, 404),
        ("carol", {"incident_id": NO_1}, 403),
        ("alice", {}, 400),
        ("alice", {"incident_id": "x"}, 400),
        ("alice", {"incident_id": NO_1, "privacy_level": "PUBLIC"}, 400),
        ("alice", {"incident_id": NO_1, "privacy_level": "RESTRICTED"}, 400),
        ("alice", {"incident_id": NO_1, "name": ""}, 400),
        ("alice", {"incident_id": NO_1, "name": "x" * 201}, 400),
        ("alice", {"incident_id": NO_1, "allowed_user_ids": [NO_2]}, 400),
        ("alice", {"incident_id": NO_1, "allowed_user_ids": [NO_2] * 101}, 400),
    ],
)
async def test_a_room_that_can_not_be_opened_is_a_clear_error(
    ready: Api, who: str, body: dict[str, Any], status: int
) -> None:
    answer = await ready.post(who, "war-rooms/", body)
    assert answer.status == status
    assert answer.body


async def test_somebody_below_the_level_opens_nothing(ready: Api) -> None:
    ready.house.etb.known[NO_1] = incident(stated=Classification.TOP_SECRET)
    assert (await ready.post("alice", "war-rooms/", {"incident_id": NO_1})).status == 403
    assert (await ready.get("alice", "war-rooms/")).body["count"] == 0


async def test_the_room_of_an_incident_that_is_over_is_a_conflict(ready: Api) -> None:
    ready.house.etb.known[NO_1] = incident(status="CLOSED")
    answer = await ready.post("alice", "war-rooms/", {"incident_id": NO_1})
    detail = "The incident is over, so it gets no room."
    assert (answer.status, answer.body) == (409, {"detail": detail, "code": "conflict"})


async def test_while_etb_or_the_homeserver_is_away_the_caller_is_told_which(
    ready: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etb_appservice.gateway.routes.changes._OPENING_S", 0.3)
    ready.house.world.fail(OpenRoom, later(60), times=1)
    answer = await ready.post("alice", "war-rooms/", {"incident_id": NO_1})
    assert (answer.status, answer.body["code"]) == (503, "homeserver_unavailable")
    await ready.house.advance(61)
    assert (await ready.post("alice", "war-rooms/", {"incident_id": NO_1})).status == 200
    ready.house.etb.down()
    answer = await ready.post("alice", "war-rooms/", {"incident_id": NO_2})
    assert (answer.status, answer.body["code"]) == (503, "etb_unavailable")


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("path", ["war-rooms/", f"war-rooms/{NO_1}/create_chat_room/"])
async def test_who_may_not_open_a_room_is_not_told_who_there_is(ready: Api, path: str, *, is_known: bool) -> None:
    if is_known:
        await ready.post("alice", "war-rooms/", {"incident_id": NO_1})
    ready.house.etb.calls.clear()
    answers = [
        await ready.post("carol", path, {"incident_id": NO_1, "allowed_user_ids": [one]})
        for one in (id_of("bob"), NO_2)
    ]
    assert [(one.status, one.body) for one in answers] == [(403, answers[0].body)] * 2
    assert "user_of_id" not in ready.house.etb.calls


# --- people -----------------------------------------------------------------------------------------------


@pytest.fixture
async def opened(ready: Api) -> Api:
    """INC-1's room is there, opened by alice."""
    await ready.post("alice", "war-rooms/", {"incident_id": NO_1})
    return ready


@pytest.mark.parametrize("body", [{"user_id": id_of("carol")}, {"username": "carol"}])
async def test_somebody_is_let_in_as_by_invite(opened: Api, body: dict[str, str]) -> None:
    assert (await opened.get("carol", ONE)).status == 404
    answer = await opened.post("bob", f"{ONE}add_participant/", body)
    assert answer.status == 200
    assert "carol" in {one["username"] for one in answer.body["allowed_users"]}
    assert CAROL in opened.house.world.guests(await opened.house.room_id())
    assert (await opened.get("carol", ONE)).status == 200
    assert (await opened.post("bob", f"{ONE}add_participant/", body)).status == 200
    assert "person.admitted" in await opened.house.tags()


async def test_somebody_without_a_matrix_id_takes_part_by_the_web(opened: Api) -> None:
    know(opened, "dave")
    answer = await opened.post("alice", f"{ONE}add_participant/", {"username": "dave"})
    assert answer.status == 200
    assert (await opened.get("dave", ONE)).status == 200
    people = (await opened.get("alice", f"{ONE}participants/")).body["results"]
    dave = next(one for one in people if one["username"] == "dave")
    assert (dave["membership"], dave["is_cleared"], dave["id"]) == ("none", True, id_of("dave"))


async def test_whoever_is_not_cleared_or_not_known_is_not_let_in(opened: Api) -> None:
    know(opened, "dave", Classification.PUBLIC)
    know(opened, "erin", active=False)
    for body in ({"username": "dave"}, {"username": "erin"}, {"username": "nobody"}, {"user_id": NO_2}, {}):
        answer = await opened.post("alice", f"{ONE}add_participant/", body)
        assert (answer.status, list(answer.body)) == (400, ["user_id"]), body
    assert (await opened.get("dave", ONE)).status == 404


async def test_only_whoever_leads_puts_people_out_and_names_rooms(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(roles=RolePolicy({"Incident Manager": "commander"})))
    async with api_of(house) as api:
        know(api, "alice", roles=("Incident Manager",))
        know(api, "bob")
        know(api, "carol")
        await house.start_service()
        house.etb.known[NO_1] = incident()
        await api.post("bob", "war-rooms/", {"incident_id": NO_1})
        await api.post("bob", f"{ONE}add_participant/", {"username": "carol"})
        refused = await api.post("bob", f"{ONE}remove_participant/", {"username": "carol"})
        assert (refused.status, refused.body["code"]) == (403, "forbidden")
        assert (await api.call("PATCH", "bob", ONE, json={"name": "Mine"})).status == 403
        assert (await api.post("carol", f"{ONE}remove_participant/", {"username": "alice"})).status == 403
        assert (await api.get("carol", ONE)).status == 200
        answer = await api.post("alice", f"{ONE}remove_participant/", {"username": "carol"})
        assert answer.status == 200
        assert (await api.get("carol", ONE)).status == 404
        assert "person.removed" in await house.tags()
        itself = await api.post("alice", f"{ONE}remove_participant/", {"username": "alice"})
        assert (itself.status, itself.body) == (400, {"user_id": ["You would lock yourself out."]})
        house.etb.calls.clear()
        for one in (id_of("carol"), NO_2):
            tried = await api.call("PATCH", "bob", ONE, json={"name": "Mine", "allowed_user_ids": [one]})
            assert (tried.status, tried.body) == (403, refused.body)
        assert "user_of_id" not in house.etb.calls
        gone = await api.post("alice", f"{ONE}remove_participant/", {"username": "carol"})
        assert (gone.status, list(gone.body)) == (400, ["user_id"])


@pytest.mark.parametrize("end", ["put out", "put out unheard", "not cleared"])
async def test_who_takes_part_by_the_web_has_joined_when_let_in_and_left_when_out(
    make_house: MakeHouse, end: str
) -> None:
    house = await make_house(policy=policy_of(roles=RolePolicy({"Incident Manager": "commander"})))
    async with api_of(house) as api:
        know(api, "alice", roles=("Incident Manager",))
        know(api, "dave")
        await house.start_service()
        house.etb.known[NO_1] = incident()
        await api.post("alice", "war-rooms/", {"incident_id": NO_1})
        house.news.all.clear()
        for _ in range(2):
            assert (await api.post("alice", f"{ONE}add_participant/", {"username": "dave"})).status == 200
        if end != "put out unheard":
            said = Say(room_id=await house.room_id(), content="hello", speaker=Username("dave"))
            await house.wants(said)
        assert [one.person.username for one in house.news.of(PersonJoined)] == ["dave"]
        assert house.news.of(PersonLeft) == []
        if end == "not cleared":
            await house.own(
                UsersSeen(users=(replace(house.etb.users[Username("dave")], clearance=Classification.PUBLIC),))
            )
            await house.settle()
        else:
            assert (await api.post("alice", f"{ONE}remove_participant/", {"username": "dave"})).status == 200
        assert [one.person.username for one in house.news.of(PersonLeft)] == ["dave"]
        assert len(house.news.of(PersonJoined)) == 1


async def test_somebody_who_may_not_enter_changes_nothing_and_learns_nothing(opened: Api) -> None:
    wanted = (await opened.get("carol", f"war-rooms/{NO_2}/")).raw
    for method, path, body in (
        ("PATCH", ONE, {"name": "x"}),
        ("PUT", ONE, {"status": "ARCHIVED"}),
        ("POST", f"{ONE}archive/", None),
        ("POST", f"{ONE}add_participant/", {"username": "carol"}),
        ("POST", f"{ONE}remove_participant/", {"username": "alice"}),
    ):
        answer = await opened.call(method, "carol", path, **({"json": body} if body else {}))
        assert (answer.status, answer.raw) == (404, wanted), (method, path)


# --- naming and archiving ---------------------------------------------------------------------------------


@pytest.fixture
async def led(make_house: MakeHouse) -> Any:
    """Alice leads INC-1, whose room is open."""
    house = await make_house(policy=policy_of(roles=RolePolicy({"Incident Manager": "commander"})))
    async with api_of(house) as api:
        know(api, "alice", roles=("Incident Manager",))
        know(api, "bob")
        await house.start_service()
        house.etb.known[NO_1] = incident()
        await api.post("alice", "war-rooms/", {"incident_id": NO_1})
        yield api


async def test_a_room_is_named_and_sent_back_whole(led: Api) -> None:
    before = (await led.get("alice", ONE)).body
    whole = await led.call("PUT", "alice", ONE, json=before)
    assert whole.status == 200
    named = await led.call("PATCH", "alice", ONE, json={"name": "Mail", "description": "It is down"})
    assert (named.body["name"], named.body["description"]) == ("Mail", "It is down")
    assert (await led.get("alice", "war-rooms/?search=is down")).body["count"] == 1


@pytest.mark.parametrize(
    "body", [{"privacy_level": "PUBLIC"}, {"status": "CLOSED"}, {"name": ""}, {"status": "x"}, {"name": 5}]
)
async def test_what_follows_the_incident_is_not_changed_here(led: Api, body: dict[str, Any]) -> None:
    answer = await led.call("PATCH", "alice", ONE, json=body)
    assert (answer.status, list(answer.body)) == (400, list(body))


async def test_a_room_is_archived_once_its_incident_has_ended_and_comes_back_with_it(led: Api) -> None:
    house = led.house
    early = await led.post("alice", f"{ONE}archive/")
    detail = "The incident is open. Resolve or close it first."
    assert (early.status, early.body) == (409, {"detail": detail, "code": "conflict"})
    await house.report(incident(status="RESOLVED", updated_at_ms=2000))
    await house.settle()
    done = await led.post("alice", f"{ONE}archive/")
    assert (done.status, done.body["status"]) == (200, "ARCHIVED")
    assert done.body["archived_at"] is not None
    room_id = await house.room_id()
    assert house.world.silenced[room_id]
    assert (await led.post("alice", f"{ONE}archive/")).status == 200
    assert len([text for text in house.world.texts(room_id) if "archived" in text]) == 1
    assert (await led.get("alice", "war-rooms/?status=ARCHIVED")).body["count"] == 1
    assert (await led.post("alice", f"{ONE}create_chat_room/")).status == 409
    await house.report(incident(status="CLOSED", updated_at_ms=3000))
    await house.settle()
    assert (await led.get("alice", ONE)).body["status"] == "ARCHIVED"
    await house.report(incident(status="OPEN", updated_at_ms=4000))
    await house.settle()
    assert (await led.get("alice", ONE)).body["status"] == "ACTIVE"
    assert not house.world.silenced[room_id]


async def test_what_is_not_decided_in_time_is_said_to_be_under_way(make_house: MakeHouse) -> None:
    house = await make_house()
    async with api_of(house, wait_s=0.0) as api:
        know(api, "alice")
        house.etb.known[NO_1] = incident()
        answer = await api.post("alice", "war-rooms/", {"incident_id": NO_1})
        assert (answer.status, answer.body["code"], answer.headers["Retry-After"]) == (503, "busy", "5")
