"""`keys`: devices without a key, why, and what their owner does; and how the cipher's list gets there."""

from dataclasses import replace
from typing import Any, cast

import pytest

from etb_appservice.app.refusals import CipherRefusals
from etb_appservice.domain.devices import UnsignedDevice
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.matrix.results import Crypto, Refusal
from etb_appservice.ports import RefusedDevice
from tests.harness.cast import ALICE, BOB, CAROL, NO_2, OPERATOR, incident
from tests.harness.house import House

AGAIN = "Its owner: sign out on that device and sign in again"
REMOVE = ", or remove it under Settings, Sessions."
ODD = ", and tell an operator if that doesn't help: somebody may be interfering."
UPLOAD = (
    "Its owner: open the app on that device and leave it open for a minute, so that it uploads new ones; a device "
    "that is no longer used is signed out under Settings, Sessions."
)


def device(room_id: str, user_id: str, **changes: Any) -> RefusedDevice:
    fields: dict[str, Any] = {"device_id": "PHONE", "reason": "no_one_time_key", "tries": 1, **changes}
    return RefusedDevice(room_id=RoomId(room_id), user_id=UserId(user_id), **fields)


async def test_every_device_without_a_key_is_named_with_what_its_owner_does(house: House) -> None:
    room_id = await house.open_for_alice()
    house.keyless.devices = [
        device(room_id, ALICE),
        device(room_id, BOB, device_id="TAB`LET", reason="bad_signature", tries=4),
        device(room_id, CAROL, reason="bad_one_time_key", tries=2),
        device(room_id, CAROL, device_id="OLD", reason="some *other* thing"),
        device("!elsewhere", CAROL),
    ]
    assert (await house.ask(ALICE, "!keys")).splitlines() == [
        "**4 without a key**",
        "",
        f"- `PHONE` of `@alice:x.org`: it has no one-time key left at its homeserver (tried once). {UPLOAD}",
        f"- `TABLET` of `@bob:x.org`: its one-time key is not signed by it (tried 4 times). {AGAIN}{ODD}",
        f"- `PHONE` of `@carol:x.org`: its one-time key can't be used (tried 2 times). {AGAIN}.",
        f"- `OLD` of `@carol:x.org`: some \\*other\\* thing (tried once). {AGAIN}{REMOVE}",
    ]


async def test_the_control_room_sees_all_rooms(house: House) -> None:
    room_id = await house.open_for_alice()
    house.keyless.devices = [device(room_id, ALICE), device("!unknown", BOB)]
    first, second = (await house.ask(OPERATOR, "!keys", house.control_room())).splitlines()[2:]
    assert first.startswith("- `PHONE` of `@alice:x.org` in **INC-1 Mail is down**: it has no one-time key left")
    assert second.startswith("- `PHONE` of `@bob:x.org`: it has no")


async def kept(house: House, **changes: Any) -> None:
    """A device that its owner has not verified, as it is kept of INC-1's room."""
    entry = UnsignedDevice(
        id="@alice:x.org/LAPTOP",
        user_id=ALICE,
        device_id="LAPTOP",
        name="Element",
        is_replaced=False,
        since_ms=0,
        remove_ms=86_400_000,
    )
    war_room = (await house.room()).war_room
    async with house.db.work() as work:
        await work.cases.put(war_room, replace(entry, **changes))


VERIFY = "Its owner: verify it on that device under Settings, Sessions, or sign it out."


async def test_an_unverified_device_is_named_with_what_follows(house: House) -> None:
    room_id = await house.open_for_alice()
    house.keyless.devices = [
        device(room_id, ALICE, device_id="LAPTOP", reason="unsigned", tries=0),
        device(room_id, BOB, device_id="NEW", reason="unsigned", tries=0),
    ]
    await kept(house)
    first, second = (await house.ask(ALICE, "!keys")).splitlines()[2:]
    assert first == (
        "- `LAPTOP` (Element) of `@alice:x.org`: not verified by its owner, so that it is given no keys, since "
        f"1970-01-01 00:00 UTC; its owner is removed 1970-01-02 00:00 UTC unless it is mended. {VERIFY}"
    )
    assert second == f"- `NEW` of `@bob:x.org`: not verified by its owner, so that it is given no keys. {VERIFY}"
    await kept(house, removed_ms=86_400_000)
    assert "its owner was removed 1970-01-02 00:00 UTC, and is invited" in await house.ask(ALICE, "!keys")
    await kept(house, remove_ms=None, is_replaced=True)
    last = (await house.ask(ALICE, "!keys")).splitlines()[2]
    assert "signed by an identity that nobody has accepted, so that it is given no keys, since" in last
    assert last.endswith("Its owner: ask an operator to accept your new identity (`trust`).")


async def test_operators_see_it_of_all_rooms_and_of_one(house: House) -> None:
    room_id = await house.open_for_alice()
    control = house.control_room()
    await house.report(incident(id=NO_2, number="INC-2", updated_at_ms=2000))
    await house.settle()
    house.keyless.devices = [
        device(room_id, ALICE, device_id="LAPTOP", reason="unsigned", tries=0),
        device(await house.room_id(NO_2), BOB),
    ]
    await kept(house)
    everywhere = (await house.ask(OPERATOR, "!keys", control)).splitlines()
    assert everywhere[0] == "**2 without a key**"
    assert everywhere[2].startswith(
        "- `LAPTOP` (Element) of `@alice:x.org` in **INC-1 Mail is down**: not verified"
    )
    assert "in **INC-2" in everywhere[3]
    one = await house.ask(OPERATOR, "!keys inc-1", control)
    assert one.startswith("**1 without a key**")
    assert "`LAPTOP` (Element) of `@alice:x.org`: not verified" in one
    assert "I have no room of an incident `INC-9`" in await house.ask(OPERATOR, "!keys INC-9", control)
    assert "in the control room only" in await house.ask(ALICE, "!keys INC-2")


async def test_of_two_incidents_with_one_number_neither_is_taken_for_the_other(house: House) -> None:
    await house.open_for_alice()
    await house.report(incident(id=NO_2))
    await house.settle()
    answer = await house.ask(OPERATOR, "!keys INC-1", house.control_room())
    assert "2 incidents have the number `INC-1`. Send it in the room you mean." in answer


async def test_nobody_lacks_a_key(house: House) -> None:
    await house.open_for_alice()
    house.keyless.devices = [device("!elsewhere", ALICE)]
    assert await house.ask(ALICE, "!keys") == (
        "Every device in this room was given its keys, as far as I know since my last start."
    )
    house.keyless.devices = []
    assert (await house.ask(OPERATOR, "!keys", house.control_room())).startswith("Every device in any room was")


async def test_a_long_list_is_cut(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.commands.keys._MOST", 1)
    room_id = await house.open_for_alice()
    house.keyless.devices = [device(room_id, ALICE), device(room_id, BOB)]
    assert (await house.ask(ALICE, "!keys")).endswith("… and 1 more.")


async def test_only_who_is_in_the_room_may_ask(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(BOB, "!keys") == "You are not in this room."


def test_the_ciphers_list_in_our_words() -> None:
    class Cipher:
        def refused_devices(self) -> tuple[Refusal, ...]:
            return (
                Refusal("!b", "@u:x", "D", "bad_signature", 3),
                Refusal("!a", "@u:x", "D", "no_one_time_key", 1),
            )

    refusals = CipherRefusals(cast("Crypto", Cipher()))
    assert [one.room_id for one in refusals.everywhere()] == ["!a", "!b"]
    assert refusals.of_room(RoomId("!b")) == [device("!b", "@u:x", device_id="D", reason="bad_signature", tries=3)]
