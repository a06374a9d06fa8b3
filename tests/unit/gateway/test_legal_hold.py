"""What web users read and may not do while an incident is under legal hold."""

import pytest

from etb_appservice.domain.effects import Redact
from etb_appservice.domain.ids import EventId
from etb_appservice.gateway.objects import moment
from tests.harness.api import Api
from tests.harness.cast import ALICE
from tests.harness.web import WebUser
from tests.unit.flows.test_closings import closing, shown
from tests.unit.flows.test_holds import see
from tests.unit.gateway import test_files
from tests.unit.gateway.test_files import FILES, ROOM, kept, left, upload, years_pass

pytestmark = pytest.mark.enable_socket
api = test_files.api
"""INC-1's room; alice, bob and carol are known, carol as auditor and for compliance."""
MESSAGES, DETAIL = "war-room-messages/", f"war-rooms/{ROOM}/"
THUMB = "\N{THUMBS UP SIGN}"
HELD = "This incident is under legal hold: nothing of it can be deleted until the hold is released in ETB."


async def posted(api: Api, content: str = "Look at this", **more: object) -> str:
    answer = await api.post("alice", MESSAGES, {"war_room_id": ROOM, "content": content, **more})
    assert answer.status == 201
    return str(answer.body["id"])


async def test_the_room_and_its_files_say_that_they_are_held(api: Api) -> None:
    file_id = (await upload(api, "alice")).body["id"]
    message_id = await posted(api, attachment_ids=[file_id])

    async def said() -> set[bool]:
        message = (await api.get("bob", f"{MESSAGES}{message_id}/")).body
        return {
            (await api.get("bob", DETAIL)).body["legal_hold"],
            (await api.get("bob", f"{FILES}{file_id}/")).body["legal_hold"],
            (await api.get("bob", FILES)).body["results"][0]["legal_hold"],
            message["attachments"][0]["legal_hold"],
        }

    assert await said() == {False}
    await see(api.house, "h1")
    assert await said() == {True}
    await see(api.house)
    assert await said() == {False}


async def test_a_message_and_a_reaction_can_not_be_taken_back_and_all_else_can_be_done(api: Api) -> None:
    one = f"{MESSAGES}{await posted(api)}/"
    assert (await api.post("bob", f"{one}add_reaction/", {"emoji": THUMB})).status == 201
    await see(api.house, "h1")
    for who in ("alice", "carol"):
        answer = await api.call("DELETE", who, one)
        assert answer.status == (423 if who == "alice" else 403)
    answer = await api.call("DELETE", "alice", one)
    assert (answer.status, answer.body) == (423, {"detail": HELD, "code": "legal_hold"})
    answer = await api.post("bob", f"{one}remove_reaction/", {"emoji": THUMB})
    assert (answer.status, answer.body["code"]) == (423, "legal_hold")
    assert (await api.get("bob", one)).body["reactions"][0]["count"] == 1
    assert (await api.call("PATCH", "alice", one, json={"content": "Look at that"})).status == 200
    assert (await api.call("POST", "alice", f"{one}pin_message/")).status == 200
    assert (await api.call("POST", "alice", f"{one}unpin_message/")).status == 200
    assert not [effect for effect in api.house.world.order if isinstance(effect, Redact)]
    await see(api.house)
    assert (await api.post("bob", f"{one}remove_reaction/", {"emoji": THUMB})).status == 200
    assert (await api.call("DELETE", "alice", one)).status == 200
    assert len([effect for effect in api.house.world.order if isinstance(effect, Redact)]) == 2


async def test_a_hold_outranks_the_end_of_retention(api: Api) -> None:
    one = f"{FILES}{(await upload(api, 'alice', send_now='true')).body['id']}/"
    await see(api.house, "h1")
    assert (await api.call("DELETE", "alice", one)).body == {"detail": HELD, "code": "legal_hold"}
    await years_pass(api)
    answer = await api.call("DELETE", "alice", one)
    assert (answer.status, answer.body["code"]) == (423, "legal_hold")
    await see(api.house)
    assert (await api.call("DELETE", "alice", one)).status == 204


async def test_a_file_that_was_withdrawn_waits_for_the_release_and_goes_within_a_day(api: Api) -> None:
    file_id = (await upload(api, "alice")).body["id"]
    message_id = await WebUser(api.house, "alice").post("Look at this", attachments=(file_id,))
    await WebUser(api.house, "alice").delete(message_id)
    await see(api.house, "h1")
    await years_pass(api)
    await api.house.advance(10 * 86_400)
    assert (await kept(api.house, file_id)).withdrawn_ms is not None
    await see(api.house)
    await api.house.advance(86_401)
    assert await left(api.house) == (0, 1)


async def test_what_is_redacted_in_matrix_all_the_same_keeps_its_files(api: Api) -> None:
    house = api.house
    await upload(api, "alice", send_now="true")
    [(event_id, _)] = house.world.shared
    await see(house, "h1")
    await years_pass(api)
    await house.redacts(ALICE, EventId(event_id))
    assert (await api.get("carol", FILES)).body["count"] == 1


async def test_from_the_incidents_end_on_its_room_says_until_when_it_is_kept(api: Api) -> None:
    assert (await api.get("alice", DETAIL)).body["retention_until"] is None
    await shown(api.house, status="CLOSED")
    ended_ms = (await closing(api.house)).ended_ms
    assert (await api.get("alice", DETAIL)).body["retention_until"] == moment(ended_ms + 1095 * 86_400_000)
    await shown(api.house, status="OPEN", updated_at_ms=9000)
    assert (await api.get("alice", DETAIL)).body["retention_until"] is None
