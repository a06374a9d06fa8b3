"""The transcript of a room: what stands in it, what goes to ETB, and what a crash changes."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.effects import SendFile
from etb_appservice.domain.facts import ExportDue
from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.media import Media
from etb_appservice.domain.outcomes import Refused
from tests.harness.cast import ALICE, BOB, CAROL
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import later, unsure


def files(house: House) -> dict[str, tuple[SendFile, bytes]]:
    """By the end of their names."""
    return {file.filename.rpartition(".")[2]: (file, content) for _, file, content in house.world.sent}


def as_json(house: House) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(house)["json"][1])
    return found


async def entered(house: House) -> RoomId:
    room_id = await house.open_for_alice()
    await house.moves(BOB, "join")
    return room_id


async def test_a_transcript_is_sent_as_two_files_with_their_digests(house: House) -> None:
    room_id = await entered(house)
    await house.says(ALICE, "Mail has been down since noon")
    await house.settle()
    asked = await house.says(ALICE, "!export")
    await house.settle()
    [answer] = house.answers(asked)
    sent = files(house)
    assert set(sent) == {"html", "json"}
    for file, content in sent.values():
        digest = hashlib.sha256(content).hexdigest()
        assert (file.room_id, file.reply_to, file.size) == (room_id, asked, len(content))
        assert file.filename.startswith("INC-1-transcript-")
        assert f"SHA-256 `{digest}`" in answer
    assert {one.file_hash for one in house.etb.evidence} == {
        hashlib.sha256(content).hexdigest() for _, content in sent.values()
    }
    assert {one.evidence_type for one in house.etb.evidence} == {"CHAT_LOG"}
    assert {one.classification for one in house.etb.evidence} == {"INTERNAL"}
    assert "Mail has been down since noon" in sent["html"][1].decode()


async def test_a_transcript_holds_what_was_said_changed_and_removed(house: House) -> None:
    await entered(house)
    first = await house.says(ALICE, "It is the disc")
    await house.says(ALICE, "It is the disk", replaces=first)
    gone = await house.says(BOB, "my password is hunter2")
    await house.says(CAROL, "", what="unreadable", loss="withheld")
    await house.settle()
    await house.redacts(BOB, gone)
    await house.says(ALICE, "!export")
    await house.settle()
    told = as_json(house)
    by_event = {one["event_id"]: one for one in told["messages"]}
    assert (by_event[first]["body"], by_event[first]["username"]) == ("It is the disk", "alice")
    assert (by_event[gone]["body"], by_event[gone]["state"]) == (None, "removed")
    assert "could not be decrypted" in [one["state"] for one in told["messages"]]
    assert {"user_id": BOB, "username": "bob"} in told["people"]
    positions = [one["position"] for one in told["messages"]]
    assert positions == sorted(positions)
    page = files(house)["html"][1].decode()
    for text in ("It is the disk", "[removed]", "[could not be decrypted]"):
        assert text in page
    for _, content in files(house).values():
        assert b"hunter2" not in content
        assert b"It is the disc" not in content


async def test_a_transcript_holds_roles_tasks_updates_timeline_and_commands(house: House) -> None:
    await entered(house)
    for text in (
        "!role commander",
        "!task add Call the vendor",
        "!post We are on it",
        "!timeline add Failed over",
    ):
        await house.ask(ALICE, text)
        await house.advance(60)
    await house.says(ALICE, "!export")
    await house.settle()
    told = as_json(house)
    assert [(one["role"], one["username"]) for one in told["roles"]] == [("INCIDENT_COMMANDER", "alice")]
    tasks = told["tasks"]
    assert [(one["number"], one["text"], one["state"]) for one in tasks] == [(1, "Call the vendor", "open")]
    assert [one["text"] for one in told["updates"]] == ["We are on it"]
    assert "Failed over" in [one["title"] for one in told["timeline"]]
    assert [one["name"] for one in told["commands"]] == ["role", "task", "post", "timeline", "export"]
    assert "Incident commander is `alice`" in told["commands"][0]["result"]
    assert (told["incident"]["number"], told["stopped"], told["version"]) == ("INC-1", None, 1)


async def test_a_command_whose_message_was_removed_is_not_listed(house: House) -> None:
    await entered(house)
    asked = await house.says(ALICE, "!task add Reset the password hunter2")
    await house.settle()
    await house.redacts(ALICE, asked)
    await house.says(ALICE, "!export")
    await house.settle()
    assert [one["name"] for one in as_json(house)["commands"]] == ["export"]


async def test_who_exported_what_stands_in_the_audit_log(house: House) -> None:
    await entered(house)
    await house.says(ALICE, "!export")
    await house.settle()
    [made] = [entry for entry in await house.audit() if entry.tag == "export.made"]
    assert made.actor == "alice"
    for kind in ("html", "json"):
        assert made.details[f"{kind}_sha256"] == hashlib.sha256(files(house)[kind][1]).hexdigest()
    assert made.details["is_whole"] is True


async def test_only_responders_may_export(house: House) -> None:
    await entered(house)
    house.know("carol")
    await house.leave_over("carol")
    await house.moves(CAROL, "join")
    assert "responder" in (await house.ask(CAROL, "!export")).lower()
    assert house.world.sent == []


async def test_what_was_sent_is_no_longer_kept_and_its_upload_is_known(house: House) -> None:
    room_id = await entered(house)
    await house.says(ALICE, "!export")
    await house.settle()
    async with house.db.view() as view:
        for _, file, _ in house.world.sent:
            assert await view.documents.get(file.document) is None
            message = await view.messages.by_event(house.world.sent[0][0])
            assert message is not None
            assert message.body == house.world.sent[0][1].filename
    assert {file.room_id for _, file, _ in house.world.sent} == {room_id}


async def test_an_upload_learns_which_event_refers_to_it(house: House) -> None:
    await entered(house)
    room = await house.room()
    # The hands write it down when they upload.
    media = Media(id="mxc://x.org/closing/html", filename="f", mime="m", size=1, sha256="00", at_ms=1)
    async with house.db.work() as work:
        await work.cases.put(room.war_room, media)
    await house.own(ExportDue(war_room=room.war_room, export="closing", by=""), lane=room.incident_id or "")
    await house.settle()
    [event_id] = [event_id for event_id, file, _ in house.world.sent if file.document == "closing/html"]
    async with house.db.view() as view:
        assert await view.cases.of(room.war_room, Media) == [replace(media, event_id=event_id)]


async def test_an_etb_that_is_away_delays_the_evidence_and_not_the_files(house: House) -> None:
    await entered(house)
    house.etb.down()
    await house.says(ALICE, "!export")
    await house.settle()
    assert set(files(house)) == {"html", "json"}
    assert house.etb.evidence == []
    house.etb.up()
    await house.advance(10)
    assert len(house.etb.evidence) == 2


async def test_what_etb_does_not_register_is_said_in_the_room(house: House) -> None:
    room_id = await entered(house)
    house.etb.off.add("compliance")
    await house.says(ALICE, "!export")
    await house.settle()
    told = [text for text in house.world.texts(room_id) if "ETB has not registered" in text]
    assert len(told) == 2
    assert "module compliance is not available" in told[0]


async def test_a_file_that_the_homeserver_refuses_is_told_to_whoever_waits(house: House) -> None:
    await entered(house)
    house.world.fail(SendFile, Refused("M_TOO_LARGE"), times=2)
    asked = await house.says(ALICE, "!export")
    await house.settle()
    assert house.world.sent == []
    assert sum("could not be sent: M\\_TOO\\_LARGE" in answer for answer in house.answers(asked)) == 2
    async with house.db.view() as view:
        assert (await view.outbox.depth(house.clock.now_ms()))[1] == 0


@pytest.mark.parametrize("failure", [later(), unsure()])
async def test_a_file_is_kept_until_it_was_sent(house: House, failure: Exception) -> None:
    await entered(house)
    house.world.fail(SendFile, failure, times=2)
    await house.says(ALICE, "!export")
    await house.settle()
    assert house.world.sent == []
    for _ in range(3):
        await house.advance(30)
    assert set(files(house)) == {"html", "json"}


@pytest.mark.parametrize("before", [True, False])
async def test_an_export_is_sent_and_registered_once_through_crashes(make_house: MakeHouse, before: bool) -> None:
    house = await make_house()
    await entered(house)
    await house.says(ALICE, "Something to keep")
    await house.settle()
    await house.die_again_and_again([1, 2, 3], before=before)
    await house.says(ALICE, "!export")
    await house.settle()
    await house.advance(60)
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 2
    assert sorted(files(house)) == ["html", "json"]
    assert len(house.world.sent) == 2
    assert len(house.etb.evidence) == 2
    assert len([entry for entry in await house.audit() if entry.tag == "export.made"]) == 1


async def test_an_incident_that_etb_has_no_longer_is_exported_into_its_room_only(house: House) -> None:
    await entered(house)
    room = await house.room()
    before = list(house.etb.writes)
    gone = ExportDue(war_room=room.war_room, export="archiving", by="", to_etb=False)
    await house.own(gone, lane=room.incident_id or "")
    await house.settle()
    assert set(files(house)) == {"html", "json"}
    assert house.etb.writes == before
    assert "ETB" not in house.world.texts(room.room_id)[-1]


async def test_the_service_itself_may_ask_for_one_too(house: House) -> None:
    await entered(house)
    room = await house.room()
    await house.own(ExportDue(war_room=room.war_room, export="closing", by=""), lane=room.incident_id or "")
    await house.settle()
    assert as_json(house)["exported_by"] == ""
    assert {file.reply_to for file, _ in files(house).values()} == {None}
    assert [one.source_reference for one in house.etb.evidence] == [
        "etb-appservice/transcript/closing/html",
        "etb-appservice/transcript/closing/json",
    ]
