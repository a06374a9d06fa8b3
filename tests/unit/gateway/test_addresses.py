"""Every message and file is found from ETB: by the address of its object, and by a link for Matrix clients."""

import pytest

from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.ids import RoomId, Username, new_id, war_room_id
from etb_appservice.ports import ChatFile, unsent
from tests.harness.api import Api
from tests.harness.cast import ALICE, NO_1
from tests.harness.fakes_etb import entry_id
from tests.unit.gateway.test_reading import put

pytestmark = pytest.mark.enable_socket
MESSAGES = f"war-rooms/{war_room_id(NO_1)}/messages/"


async def test_a_message_carries_its_address_and_its_link(api: Api) -> None:
    room_id = await api.house.open_for_alice()
    message = await put(api.house, "the disk is full")
    shown = (await api.get("alice", f"{MESSAGES}?search=disk")).body["results"][0]
    assert shown["external_data"] == {
        "matrix_sender": ALICE,
        "url": f"{api.prefix}war-room-messages/{message.id}/",
        "permalink": f"https://matrix.to/#/{room_id}/{message.event_id}?via=x.org",
    }
    assert (await api.get("alice", shown["external_data"]["url"])).body == shown


async def test_what_matrix_does_not_know_yet_has_no_link(api: Api) -> None:
    await api.house.open_for_alice()
    number = new_id(api.house.clock.now_ms())
    message = await put(api.house, "soon", id=number, event_id=unsent(number))
    shown = (await api.get("alice", f"war-room-messages/{message.id}/")).body
    assert (shown["external_message_id"], "permalink" in shown["external_data"]) == (None, False)


async def test_what_was_said_before_the_room_was_replaced_is_linked_where_it_was_said(api: Api) -> None:
    await api.house.open_for_alice()
    message = await put(api.house, "early", room_id=RoomId("!former:x.org"))
    shown = (await api.get("alice", f"war-room-messages/{message.id}/")).body
    assert shown["external_data"]["permalink"].startswith("https://matrix.to/#/!former:x.org/$")


async def test_a_file_carries_its_address_and_its_link(api: Api) -> None:
    room_id = await api.house.open_for_alice()
    message = await put(api.house, "see the log")
    details = FileDetails(name="log.txt", original_name="log.txt", uploaded_by=Username("alice"))
    files = [
        ChatFile(
            id=new_id(message.decided_ms),
            war_room=war_room_id(NO_1),
            lane=NO_1,
            message_id=message_id,
            event_id=event_id,
            created_ms=message.decided_ms,
            details=details,
        )
        for message_id, event_id in ((message.id, message.event_id), (None, None))
    ]
    async with api.house.db.work() as work:
        for one in files:
            await work.files.put(one)
    said, unsaid = [(await api.get("alice", f"chat-files/{one.id}/")).body["external_data"] for one in files]
    assert said == {
        "url": f"{api.prefix}chat-files/{files[0].id}/",
        "permalink": f"https://matrix.to/#/{room_id}/{message.event_id}?via=x.org",
    }
    assert unsaid == {"url": f"{api.prefix}chat-files/{files[1].id}/"}


async def test_a_message_names_the_entry_about_it_on_etbs_timeline(api: Api) -> None:
    house = api.house
    await house.open_for_alice()
    event_id = await house.says(ALICE, "first sign")
    await house.settle()
    pin = await house.reacts(ALICE, event_id, "📌")
    assert await _entry_of(api, event_id) == entry_id(house.etb.entries[-1])
    await house.redacts(ALICE, pin)
    await house.settle()
    assert await _entry_of(api, event_id) is None


async def test_a_status_update_names_its_entry(api: Api) -> None:
    house = api.house
    await house.open_for_alice()
    event_id = await house.says(ALICE, "!post Mail is back")
    await house.settle()
    assert await _entry_of(api, event_id) == entry_id(house.etb.entries[-1])
    [shown] = [one for one in house.etb.entries if one.title == "Status update: Mail is back"]
    assert shown.event_data["message_id"] == (await _message(api, event_id))["id"]


async def test_while_etb_has_not_taken_an_entry_a_message_names_none(api: Api) -> None:
    house = api.house
    await house.open_for_alice()
    house.etb.down()
    event_id = await house.says(ALICE, "!post Mail is back")
    await house.settle()
    assert await _entry_of(api, event_id) is None
    house.etb.up()
    await house.advance(600)
    assert await _entry_of(api, event_id) == entry_id(house.etb.entries[-1])


async def _message(api: Api, event_id: str) -> dict[str, object]:
    rows = (await api.get("alice", MESSAGES)).body["results"]
    [found] = [one for one in rows if one["external_message_id"] == event_id]
    return dict(found)


async def _entry_of(api: Api, event_id: str) -> object:
    return (await _message(api, event_id))["timeline_event"]
