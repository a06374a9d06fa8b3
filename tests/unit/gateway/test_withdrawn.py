"""What ETB has taken away stays taken away, whatever is asked for; and what is not for a reader isn't shown."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Redact, Remove
from etb_appservice.domain.facts import UsersSeen
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import RolePolicy
from tests.harness.api import Api, api_of
from tests.harness.cast import BOT, NO_1, incident, policy_of
from tests.harness.kit import MakeHouse
from tests.unit.gateway import test_files
from tests.unit.gateway.test_changes import ONE, know
from tests.unit.gateway.test_files import FILES, ROOM, kept, upload
from tests.unit.gateway.test_writing import done

pytestmark = pytest.mark.enable_socket
api = test_files.api
"""INC-1's room, as it is there."""
ALICE, BOB, CAROL = Username("alice"), Username("bob"), Username("carol")


async def known(api: Api, name: Username) -> EtbUser:
    async with api.house.db.view() as view:
        found = await view.incidents.user(name)
    assert found is not None
    return found[0]


def changed(api: Api, name: Username, **what: Any) -> EtbUser:
    """ETB says something else of somebody from now on."""
    before = api.house.etb.users[name]
    assert before is not None
    api.house.etb.users[name] = replace(before, **what)
    return replace(before, **what)


async def poll(api: Api, name: Username, **what: Any) -> None:
    """The same, and the poll has seen it."""
    await api.house.own(UsersSeen(users=(changed(api, name, **what),)), lane="users")
    await api.house.settle()


async def test_a_withdrawn_clearance_does_not_come_back_by_asking_for_something(api: Api) -> None:
    assert (await api.get("alice", f"war-rooms/{ROOM}/")).status == 200
    await poll(api, ALICE, clearance=Classification.PUBLIC)
    assert (await api.get("alice", f"war-rooms/{ROOM}/")).status == 404
    for method, path in (("DELETE", "link-codes/"), ("POST", "link-codes/")):
        await api.call(method, "alice", path)
        assert (await known(api, ALICE)).clearance is Classification.PUBLIC
    await api.post("alice", "war-rooms/", {"incident_id": NO_1})
    await api.call("PATCH", "alice", f"war-rooms/{ROOM}/", json={"name": "Mine"})
    assert (await known(api, ALICE)).clearance is Classification.PUBLIC
    assert (await api.get("alice", f"war-rooms/{ROOM}/")).status == 404


async def test_a_role_does_not_last_by_being_used(api: Api) -> None:
    await api.get("carol", "war-rooms/")
    assert (await known(api, CAROL)).roles
    changed(api, CAROL, roles=())
    for _ in range(8):
        await api.house.advance(120)
        await api.get("carol", "war-rooms/")
        await api.call("DELETE", "carol", "link-codes/")
    assert (await known(api, CAROL)).roles == ()


async def test_a_role_that_went_meanwhile_neither_classifies_nor_deletes(api: Api) -> None:
    one = f"{FILES}{(await upload(api, 'alice')).body['id']}/"
    api.house.clock.advance(1096 * 86_400)
    for name in (ALICE, CAROL):
        await poll(api, name)
    assert (await api.get("carol", f"{one}access_log/")).status == 200
    await poll(api, CAROL, roles=())
    # Whoever serves the call may remember her roles for a moment; what is decided goes by ETB's last word.
    assert (await api.call("PATCH", "carol", one, json={"data_classification": "PUBLIC"})).status == 404
    assert (await api.call("DELETE", "carol", one)).status == 404
    assert (await api.get("alice", one)).body["data_classification"] == "INTERNAL"


async def test_an_id_that_only_their_profile_tells_stays_with_them(api: Api) -> None:
    api.house.etb.users[ALICE] = changed(api, ALICE, id="")
    await api.post("alice", "war-rooms/", {"incident_id": NO_1})
    told = (await known(api, ALICE)).id
    assert told
    await poll(api, ALICE, id="", clearance=Classification.PUBLIC)
    assert (await known(api, ALICE)).id == told


async def test_an_id_that_only_etbs_list_has_told_stays_while_the_list_can_not_be_asked(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await known(api, ALICE)
    async with api.house.db.work() as work:
        await work.incidents.put_user(replace(before, id="its-id"), api.house.clock.now_ms())

    async def whose(token: str) -> EtbUser:
        assert token
        return replace(before, id="", clearance=Classification.PUBLIC, roles=())

    monkeypatch.setattr(api.profiles, "whose", whose)
    api.house.etb.down()
    caller = await api.frame.callers.of("a-token")
    assert caller is not None
    assert (caller.user.id, caller.user.clearance) == ("its-id", Classification.PUBLIC)


async def test_an_attachment_above_a_clearance_is_not_named_by_its_message(api: Api) -> None:
    file_id = (await upload(api, "alice")).body["id"]
    body = {"war_room_id": ROOM, "content": "see", "attachment_ids": [file_id]}
    message = (await api.post("alice", "war-room-messages/", body)).body
    path = f"war-room-messages/{message['id']}/"
    [before] = (await api.get("bob", path)).body["attachments"]
    assert before["id"] == file_id
    raised = await api.call("PATCH", "carol", f"{FILES}{file_id}/", json={"data_classification": "RESTRICTED"})
    assert raised.status == 200
    await poll(api, BOB, clearance=Classification.INTERNAL)
    assert (await api.get("bob", f"{FILES}{file_id}/")).status == 404
    assert (await api.get("bob", path)).body["attachments"] == []


async def test_what_was_attached_goes_with_its_message(api: Api) -> None:
    file_id = (await upload(api, "alice")).body["id"]
    body = {"war_room_id": ROOM, "content": "see", "attachment_ids": [file_id]}
    message = (await api.post("alice", "war-room-messages/", body)).body
    await api.house.advance(5)
    file = await kept(api.house, file_id)
    async with api.house.db.view() as view:
        said = await view.messages.get(message["id"])
    assert said is not None
    assert (await api.call("DELETE", "alice", f"war-room-messages/{message['id']}/")).status == 200
    await api.house.advance(5)
    assert {one.event_id for one in done(api.house, Redact)} == {said.event_id, file.event_id}


@pytest.fixture
async def led(make_house: MakeHouse) -> AsyncIterator[Api]:
    """A template by which the bot's name could be somebody's; alice leads, bob has opened INC-1's room."""
    policy = policy_of(roles=RolePolicy({"IM": "commander"}))
    policy = replace(policy, people=PeopleMap("@{username}:x.org", {}, policy.people.ghosts))
    house = await make_house(policy=policy)
    async with api_of(house) as api:
        know(api, "alice", roles=("IM",))
        know(api, "bob")
        await house.start_service()
        house.etb.known[NO_1] = incident()
        await api.post("bob", "war-rooms/", {"incident_id": NO_1})
        yield api


async def test_the_bot_takes_part_for_nobody_and_is_put_out_by_nobody(led: Api) -> None:
    people = (await led.get("alice", f"{ONE}participants/")).body
    assert "etb" not in [one["username"] for one in people["results"]]
    answer = await led.post("alice", f"{ONE}remove_participant/", {"username": "etb"})
    assert answer.status == 400
    assert BOT not in [one.user_id for one in done(led.house, Remove)]


async def test_no_username_makes_the_id_of_another_ones_ghost(led: Api) -> None:
    people = led.house.policy.people
    ghost = people.ghosts.user_id(BOB)
    assert ghost is not None
    localpart = ghost.split(":")[0].removeprefix("@")
    assert people.user_id(Username(localpart)) != ghost
