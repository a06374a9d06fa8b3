"""Devices that their owners have not verified: told in private, given time, removed, and invited again."""

from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.app.devices import DeviceWatch
from etb_appservice.app.loops import Own
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.devices import SeenDevice, UnsignedDevice
from etb_appservice.domain.effects import Remove
from etb_appservice.domain.facts import Trust
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.policy import DevicePolicy
from etb_appservice.domain.rooms import DEFAULT_RULES, RoomPolicy
from etb_appservice.matrix.audience import audience_from
from etb_appservice.store.codec import FactJson
from tests.harness.cast import ALICE, BOB, BOT, CAROL, NO_2, OPERATOR, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

HOUR = 3600.0
SECRET = Classification.CONFIDENTIAL
LAPTOP = SeenDevice(user_id=ALICE, device_id="LAPTOP", name="Element on *Linux*")
TABLET = SeenDevice(user_id=ALICE, device_id="TABLET")


@pytest.fixture
async def secret(house: House) -> House:
    """INC-1 is confidential, alice is in its room; the control room knows of nothing."""
    await house.open_for_alice(stated=SECRET)
    await look(house)
    return house


async def look(house: House) -> None:
    """The loop goes round once, and what follows is done."""
    own = Own(house.db, FactJson(), house.clock, lambda lanes: None)
    await DeviceWatch(house.devices, own, house.policy, 60.0).look()
    await house.settle()


async def entries(house: House, *, only_open: bool = True) -> list[UnsignedDevice]:
    room = await house.room()
    async with house.db.view() as view:
        return list(await view.cases.of(room.war_room, UnsignedDevice, only_open=only_open))


def letters(house: House, user_id: UserId = ALICE) -> list[str]:
    """What was said to somebody alone."""
    chats = [
        house.world.aliases[effect.spec.alias_localpart]
        for effect in house.world.opened
        if effect.spec.kind == "direct"
    ]
    return [
        str(say.content)
        for _, say in house.world.said
        if say.room_id in chats and say.room_id in {room for room, user in house.world.invited if user == user_id}
    ]


def removed(house: House) -> list[tuple[RoomId, UserId]]:
    return [(one.room_id, one.user_id) for one in house.world.order if isinstance(one, Remove)]


async def test_a_quiet_house_writes_nothing(secret: House) -> None:
    before = len(await secret.audit())
    await look(secret)
    assert len(await secret.audit()) == before
    assert await entries(secret) == []


async def test_its_owner_is_told_in_private_how_to_mend_it_once(secret: House) -> None:
    secret.devices.doubted = [LAPTOP]
    for _ in range(3):
        await look(secret)
        secret.clock.advance(60)
    [letter] = letters(secret)
    assert letter.startswith("**Your device `LAPTOP` (Element on \\*Linux\\*) is not verified.** In **INC-1**")
    assert "choose **Verify**" in letter
    assert "you are removed from the room, and invited again as soon as it is" in letter
    assert "Mail is down" not in letter, "its title isn't for an unsigned device"
    assert "device.unsigned" in await secret.tags()
    assert not removed(secret)
    room_id = await secret.room_id()
    assert not any("LAPTOP" in text for text in secret.world.texts(room_id)), "nobody else has to know"


async def test_the_letter_is_for_every_device_and_what_comes_from_the_room_is_not(secret: House) -> None:
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    await secret.ask(ALICE, "!catchup")
    chat = next(room for alias, room in secret.world.aliases.items() if alias.startswith("_etb_direct_"))
    told, caught_up = (say for _, say in secret.world.said if say.room_id == chat)
    assert (told.signed_only, caught_up.signed_only) == (False, True)


async def test_after_the_time_its_owner_is_removed_and_the_operators_are_told(secret: House) -> None:
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    await secret.advance(23.9 * HOUR)
    assert not removed(secret)
    secret.world.rotated.clear()
    await secret.advance(0.2 * HOUR)
    assert removed(secret) == [(await secret.room_id(), ALICE)]
    assert secret.world.rotated == removed(secret), "the key they had ends before it is carried out"
    assert secret.devices.asked_afresh == [ALICE], "not on old news"
    await look(secret)
    await look(secret)
    assert secret.devices.asked_afresh == [ALICE] * 3, "who shares no room with us is told of by nobody"
    assert "`@alice:x.org` was removed from the room, since their device `LAPTOP`" in secret.troubles()[-1]
    [note] = [one for one in await secret.audit() if one.tag == "person.removed"]
    assert (note.details["user"], note.details["device"], note.details["why"]) == (ALICE, "LAPTOP", "unsigned")
    await look(secret)
    await secret.advance(100 * HOUR)
    assert len(removed(secret)) == 1


async def test_a_device_that_is_verified_or_deleted_ends_the_matter(secret: House) -> None:
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    secret.devices.doubted = []
    await look(secret)
    assert await entries(secret) == []
    assert "device.settled" in await secret.tags()
    await secret.advance(48 * HOUR)
    assert not removed(secret)


async def test_who_mends_it_in_the_last_minute_is_not_removed_on_old_news(secret: House) -> None:
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    secret.devices.doubted = []
    await secret.advance(25 * HOUR)
    assert not removed(secret)
    assert await entries(secret) == []


async def test_who_was_removed_is_invited_again_once_every_device_is_mended(secret: House) -> None:
    room_id = await secret.room_id()
    secret.devices.doubted = [LAPTOP, TABLET]
    await look(secret)
    await secret.advance(25 * HOUR)
    assert len(removed(secret)) == 1, "one removal, however many devices"
    invited = secret.world.guests(room_id).count(ALICE)
    await secret.report(incident(stated=SECRET, title="Mail is slow", updated_at_ms=2000))
    await secret.settle()
    secret.devices.doubted = [TABLET]
    await look(secret)
    assert secret.world.guests(room_id).count(ALICE) == invited, "neither a change nor half the work brings back"
    secret.devices.doubted = []
    await look(secret)
    assert secret.world.guests(room_id).count(ALICE) == invited + 1
    await look(secret)
    await secret.moves(ALICE, "join")
    await look(secret)
    assert secret.world.guests(room_id).count(ALICE) == invited + 1


async def test_whom_etb_no_longer_lets_in_is_not_invited_again(secret: House) -> None:
    room_id = await secret.room_id()
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    await secret.advance(25 * HOUR)
    invited = secret.world.guests(room_id).count(ALICE)
    secret.know("alice", clearance=Classification.PUBLIC)
    await secret.report(incident(stated=SECRET, updated_at_ms=3000))
    await secret.settle()
    secret.devices.doubted = []
    await look(secret)
    assert secret.world.guests(room_id).count(ALICE) == invited


async def test_who_is_let_in_again_with_the_same_device_has_the_time_anew(secret: House) -> None:
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    await secret.advance(25 * HOUR)
    await secret.moves(ALICE, "invite", sender=BOT)
    await secret.moves(ALICE, "join")
    await look(secret)
    [entry] = await entries(secret)
    assert (entry.removed_ms, entry.since_ms) == (None, entry.remove_ms - 24 * 3_600_000 if entry.remove_ms else 0)
    assert len(letters(secret)) == 2, "told again: it is another day"
    await secret.advance(25 * HOUR)
    assert len(removed(secret)) == 2


async def test_who_leaves_by_themselves_is_not_followed(secret: House) -> None:
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    await secret.moves(ALICE, "leave")
    await look(secret)
    assert await entries(secret) == []
    await secret.advance(25 * HOUR)
    assert not removed(secret)


async def test_who_left_right_before_the_end_is_not_removed(secret: House) -> None:
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    await secret.moves(ALICE, "leave")
    await secret.advance(25 * HOUR)
    assert not removed(secret)
    assert await entries(secret) == []


async def test_a_level_that_is_lowered_ends_the_matter_and_one_that_is_raised_begins_it(house: House) -> None:
    await house.open_for_alice()
    house.devices.doubted = [LAPTOP]
    await look(house)
    assert await entries(house) == []
    await house.report(incident(stated=SECRET, updated_at_ms=2000))
    await house.settle()
    await look(house)
    assert len(await entries(house)) == 1
    await house.report(incident(stated=Classification.INTERNAL, updated_at_ms=3000))
    await house.settle()
    await look(house)
    assert await entries(house) == []
    await house.advance(25 * HOUR)
    assert not removed(house)


async def test_one_letter_for_one_device_in_many_rooms(secret: House) -> None:
    await secret.report(incident(id=NO_2, number="INC-2", stated=SECRET, updated_at_ms=2000))
    await secret.settle()
    await secret.moves(ALICE, "join", await secret.room_id(NO_2))
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    assert len(letters(secret)) == 1
    await secret.advance(25 * HOUR)
    assert len(removed(secret)) == 2


async def test_nothing_is_told_twice_and_nobody_removed_twice_through_crashes(make_house: MakeHouse) -> None:
    for before in (False, True):
        house = await make_house()
        await house.open_for_alice(stated=SECRET)
        await house.die_again_and_again([1], before=before)
        house.devices.doubted = [LAPTOP]
        await look(house)
        await look(house)
        await house.advance(25 * HOUR)
        await house.die_no_more()
        await house.settle()
        assert house.crashes
        assert len(letters(house)) == 1
        assert removed(house) == [(await house.room_id(), ALICE)]


async def test_zero_hours_removes_nobody(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(devices=DevicePolicy(remove_after_s=0)))
    await house.open_for_alice(stated=SECRET)
    house.devices.doubted = [LAPTOP]
    await look(house)
    [letter] = letters(house)
    assert "removed" not in letter
    await house.advance(1000 * HOUR)
    assert not removed(house)


async def test_operators_and_break_glass_accounts_are_told_and_not_removed(make_house: MakeHouse) -> None:
    rooms = RoomPolicy(bot=BOT, additional_creators=(CAROL,))
    house = await make_house(policy=policy_of(rooms=rooms))
    await house.open_for_alice(stated=SECRET)
    await house.moves(CAROL, "join")
    house.devices.doubted = [
        SeenDevice(user_id=CAROL, device_id="SAFE"),
        SeenDevice(user_id=OPERATOR, device_id="DESK"),
    ]
    await look(house)
    assert "In **the control room**" in letters(house, OPERATOR)[0]
    assert len(letters(house, CAROL)) == 1
    await house.advance(100 * HOUR)
    assert not removed(house)


async def test_a_replaced_identity_is_told_to_its_owner_and_to_the_operators_until_one_accepts_it(
    secret: House,
) -> None:
    secret.devices.doubted = [replace(LAPTOP, is_replaced=True)]
    await look(secret)
    [letter] = letters(secret)
    assert "Your identity was reset" in letter
    assert "`!trust @alice:x.org`" in secret.troubles()[-1]
    control = secret.control_room()
    assert await secret.ask(OPERATOR, "!trust @alice:x.org", control) == (
        "The present identity of `@alice:x.org` counts from now on."
    )
    assert secret.world.accepted == [ALICE]
    assert "identity.accepted" in await secret.tags()


async def test_another_doubt_about_the_same_device_gives_no_more_time(secret: House) -> None:
    secret.devices.doubted = [LAPTOP]
    await look(secret)
    [first] = await entries(secret)
    secret.clock.advance(HOUR)
    secret.devices.doubted = [replace(LAPTOP, is_replaced=True)]
    await look(secret)
    [again] = await entries(secret)
    assert (again.since_ms, again.remove_ms, again.is_replaced) == (first.since_ms, first.remove_ms, True)
    assert len(letters(secret)) == 2, "what is to be done is another thing"


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("bob", "The present identity of `@bob:x.org` counts from now on."),
        ("nobody", "ETB user `nobody` has no Matrix account here."),
        (BOT, "That is one of mine."),
        (OPERATOR, "Another operator has to vouch for you."),
    ],
)
async def test_whose_identity_is_accepted(secret: House, word: str, answer: str) -> None:
    assert (await secret.ask(OPERATOR, f"!trust {word}", secret.control_room())).startswith(answer)
    assert secret.world.accepted == ([BOB] if word == "bob" else [])


async def test_the_card_is_sent_anew_for_whoever_had_no_other_device(house: House) -> None:
    house.world.without_devices = {ALICE}
    house.devices.doubted = [LAPTOP]
    room_id = await house.open_for_alice(stated=SECRET)
    await look(house)
    house.world.without_devices = set()
    before = len(house.world.cards(room_id))
    house.devices.doubted = []
    await look(house)
    assert len(house.world.cards(room_id)) == before + 1
    assert ALICE in (await house.room()).card_holders
    house.devices.doubted = [TABLET]
    await look(house)
    house.devices.doubted = []
    await look(house)
    assert len(house.world.cards(room_id)) == before + 1, "she holds its key by now"


async def test_the_next_message_follows_the_level_of_the_room(house: House) -> None:
    await house.open_for_alice()
    audience_of = audience_from(house.db, house.policy)

    async def is_strict(room_id: RoomId) -> bool:
        audience = await audience_of(room_id, ())
        assert audience is not None
        return audience.signed_only

    room_id, chat = await house.room_id(), await house.chat_with(ALICE)
    assert not await is_strict(room_id)
    await house.report(incident(stated=SECRET, updated_at_ms=2000))
    await house.settle()
    assert await is_strict(room_id)
    assert await is_strict(house.control_room())
    assert not await is_strict(chat)


# --- commands ---------------------------------------------------------------------------------------------


UNSIGNED: dict[str, Any] = {"trust": Trust.UNSIGNED.value}


async def test_a_command_counts_only_from_a_verified_device(secret: House) -> None:
    refused = await secret.ask(ALICE, "!status", **UNSIGNED)
    assert refused == (
        "Here a command counts only from a device that you have verified: a homeserver could add others. "
        "Verify this one in your client's settings, then send it again."
    )
    assert "INC-1" in await secret.ask(ALICE, "!status")


async def test_the_level_of_the_moment_decides(house: House) -> None:
    await house.open_for_alice()
    assert "INC-1" in await house.ask(ALICE, "!status", **UNSIGNED)
    await house.report(incident(stated=SECRET, updated_at_ms=2000))
    await house.settle()
    assert "only from a device that you have verified" in await house.ask(ALICE, "!status", **UNSIGNED)


async def test_a_rule_may_be_set_for_any_level(make_house: MakeHouse) -> None:
    strict = replace(DEFAULT_RULES[Classification.INTERNAL], signed_devices_only=True)
    rules = {**DEFAULT_RULES, Classification.INTERNAL: strict}
    house = await make_house(policy=policy_of(rooms=RoomPolicy(bot=BOT, rules=rules)))
    await house.open_for_alice()
    assert "only from a device that you have verified" in await house.ask(ALICE, "!status", **UNSIGNED)
    house.devices.doubted = [LAPTOP]
    await look(house)
    assert len(await entries(house)) == 1


async def test_an_unsigned_device_learns_nothing_of_such_incidents_in_a_direct_chat(secret: House) -> None:
    await secret.report(incident(id=NO_2, number="INC-2", title="Printer", updated_at_ms=2000))
    await secret.settle()
    chat = await secret.chat_with(ALICE)
    answer = await secret.ask(ALICE, "!incidents", chat, **UNSIGNED)
    assert "INC-2" in answer
    assert "INC-1" not in answer
    assert "no open incident of this number" in await secret.ask(ALICE, "!join INC-1", chat, **UNSIGNED)
    event_id = await secret.says(ALICE, "!incidents", chat)
    await secret.settle()
    [say] = [say for _, say in secret.world.said if say.reply_to == event_id]
    assert "INC-1" in str(say.content)
    assert say.signed_only, "and her unsigned devices can't read that either"
