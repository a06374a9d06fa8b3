"""Who is put out of a room, when, and what else follows."""

from dataclasses import replace

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.effects import Remove, Say
from etb_appservice.domain.facts import LetterDue, RightsDoubted, RightsDue, UsersSeen
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.ids import RoomId, UserId, Username
from etb_appservice.domain.incident import OnCall
from etb_appservice.domain.policy import ClearancePolicy, RolePolicy
from etb_appservice.flows.permitted import Permission, permission
from etb_appservice.matrix.audience import audience_from
from tests.harness.cast import ALICE, BOT, CAROL, NO_1, OPERATOR, STRANGER, etb_user, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse


def removed(house: House) -> list[tuple[RoomId, UserId]]:
    return [(one.room_id, one.user_id) for one in house.world.order if isinstance(one, Remove)]


async def keys_for(house: House, room_id: RoomId | None = None) -> set[str]:
    """To whom the key of the next message would go."""
    where = room_id or await house.room_id()
    found = await audience_from(house.store, house.policy)(where, ())
    assert found is not None
    return {*found.joined, *(found.invited if found.keys_to_invited else ())}


async def asked(house: House, user_id: UserId) -> Permission:
    async with house.store.view() as view:
        return await permission(view, await house.room(), user_id, house.policy)


async def users(house: House, *names: str, **changes: object) -> None:
    """ETB says something else of people, and the poll has seen it."""
    for name in names:
        house.etb.users[Username(name)] = replace(house.etb.users[Username(name)] or etb_user(name), **changes)  # type: ignore[arg-type]
    seen = [house.etb.users[Username(name)] for name in names]
    await house.own(UsersSeen(users=tuple(one for one in seen if one)), lane="users")
    await house.settle()


async def on_duty(house: House, *names: str) -> None:
    house.etb.duty = [OnCall("r", Username(name)) for name in names]
    await house.on_call(*names, rotation="r")


async def test_whoever_joins_without_being_permitted_is_removed_recorded_and_told_of(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(STRANGER, "join")
    assert removed(house) == [(room_id, STRANGER)]
    [kick] = [one for one in house.world.order if isinstance(one, Remove)]
    assert "not among the people" in kick.reason
    assert "violation.membership" in await house.tags()
    assert any("mallory" in text and "has joined and was removed" in text for text in house.troubles())
    assert STRANGER not in await keys_for(house)


async def test_whoever_somebody_else_invites_is_removed_before_they_join(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(CAROL, "invite", sender=STRANGER)
    assert removed(house) == [(room_id, CAROL)]
    assert any("was invited by" in text for text in house.troubles())


async def test_whoever_was_forced_in_gets_no_key_even_before_the_kick(house: House) -> None:
    room_id = await house.open_for_alice()
    async with house.db.work() as work:
        await work.rooms.set_member(room_id, CAROL, "join")
    assert await keys_for(house) >= {BOT, ALICE}
    assert CAROL not in await keys_for(house)


async def test_our_own_invitation_is_no_violation(house: House) -> None:
    await house.open_for_alice()
    assert "violation.membership" not in await house.tags()
    assert removed(house) == []


async def test_a_lowered_clearance_removes_from_every_room_at_once(house: House) -> None:
    room_id = await house.open_for_alice()
    before = await keys_for(house)
    assert ALICE in before
    async with house.db.work() as work:
        await work.incidents.put_user(etb_user("alice", Classification.PUBLIC), house.clock.now_ms())
    assert ALICE not in await keys_for(house), "from the commit on, whatever the homeserver says"
    async with house.db.work() as work:
        await work.incidents.put_user(etb_user("alice"), house.clock.now_ms())
    await users(house, "alice", clearance=Classification.PUBLIC)
    assert removed(house) == [(room_id, ALICE)]
    assert any("is not cleared" in text for text in house.troubles())


async def test_an_account_that_is_locked_or_gone_removes(house: House) -> None:
    room_id = await house.open_for_alice()
    await users(house, "alice", is_active=False)
    assert removed(house) == [(room_id, ALICE)]


async def test_nothing_new_about_somebody_removes_nobody_and_refreshes_their_rights(house: House) -> None:
    await house.open_for_alice()
    house.clock.advance(house.policy.clearance.hold_s + 1)
    assert (await asked(house, ALICE)).why == "outdated"
    await users(house, "alice")
    assert (await asked(house, ALICE)).why == "belongs"
    assert removed(house) == []
    assert ALICE in await keys_for(house)


async def test_whom_etb_has_not_confirmed_for_too_long_gets_no_keys_but_stays(house: House) -> None:
    await house.open_for_alice()
    house.clock.advance(house.policy.clearance.hold_s + 1)
    assert ALICE not in await keys_for(house)
    await house.own(RightsDue(room_id=await house.room_id()), lane="x")
    await house.settle()
    assert removed(house) == []


async def test_a_token_that_etb_refuses_ends_the_hold_at_once_and_is_told_once(house: House) -> None:
    await house.open_for_alice()
    house.etb.refuse("401")
    house.clock.advance(600)
    for _ in range(2):
        now = house.clock.now_ms()
        await house.own(RightsDoubted(before_ms=now - 300_000, since_ms=5), lane="users")
        await house.settle()
    assert (await asked(house, ALICE)).why == "outdated"
    assert len([text for text in house.troubles() if "401" in text]) == 1
    assert removed(house) == []
    house.etb.up()
    await users(house, "alice")
    assert (await asked(house, ALICE)).allowed


async def test_a_raised_level_removes_before_anything_else_is_said(house: House) -> None:
    room_id = await house.open_for_alice()
    house.know("alice", clearance=Classification.INTERNAL)
    await users(house, "alice")
    assert removed(house) == []
    already = len(house.world.order)
    await house.report(incident(stated=Classification.RESTRICTED, updated_at_ms=2000, severity="LOW"))
    await house.settle()
    after = [one for one in house.world.order[already:] if getattr(one, "room_id", None) == room_id]
    assert isinstance(after[0], Remove)
    assert after[0].user_id == ALICE
    assert any(isinstance(one, Say) for one in after[1:])


async def test_whom_a_raised_level_removes_at_once_the_operators_are_told_of_at_once(house: House) -> None:
    await on_duty(house, "carol")
    room_id = await house.open_for_alice()
    for person in (ALICE, CAROL):
        await house.moves(person, "join")
    await users(house, "alice", "carol", clearance=Classification.INTERNAL)
    assert removed(house) == []
    await house.report(incident(stated=Classification.RESTRICTED, updated_at_ms=2000, severity="LOW"))
    await house.settle()
    assert sorted(removed(house)) == [(room_id, ALICE), (room_id, CAROL)]
    [told] = [text for text in house.troubles() if "removed from the room" in text]
    assert told.startswith(f"**INC-1**: 2 people were removed from the room (`{ALICE}`, `{CAROL}`), since each ")


async def test_whoever_was_on_call_stays_up_to_a_level_and_is_removed_above_it(house: House) -> None:
    house.know("carol")
    await on_duty(house, "carol")
    await house.open_for_alice()
    await house.moves(CAROL, "join")
    await on_duty(house)
    await house.settle()
    assert (await asked(house, CAROL)).why == "stays"
    assert removed(house) == []
    assert CAROL in await keys_for(house)
    await house.report(incident(stated=Classification.RESTRICTED, updated_at_ms=2000))
    await house.settle()
    assert removed(house) == [(await house.room_id(), CAROL)]
    async with house.store.view() as view:
        guest = await view.cases.get((await house.room()).war_room, Guest, "carol")
    assert guest is None or not guest.came_in(CAROL)


async def test_with_nobody_staying_a_handover_removes(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(clearance=ClearancePolicy(stay_up_to=Classification.PUBLIC)))
    house.know("carol")
    await on_duty(house, "carol")
    await house.open_for_alice()
    await house.moves(CAROL, "join")
    await on_duty(house)
    await house.settle()
    assert removed(house) == [(await house.room_id(), CAROL)]


async def test_whoever_came_by_an_etb_role_goes_with_it(make_house: MakeHouse) -> None:
    meaning: dict[str, OurRole] = {"Manager": "commander"}
    house = await make_house(policy=policy_of(roles=RolePolicy(meaning=meaning)))
    room_id = await house.open_for_alice()
    await users(house, "carol", roles=("Manager",))
    chat = await house.chat_with(CAROL)
    await house.ask(CAROL, "!join INC-1", chat)
    await house.moves(CAROL, "join")
    assert (await asked(house, CAROL)).why == "belongs"
    async with house.db.work() as work:
        await work.incidents.put_user(etb_user("carol"), house.clock.now_ms())
    assert (await asked(house, CAROL)).why == "role"
    async with house.db.work() as work:
        await work.incidents.put_user(replace(etb_user("carol"), roles=("Manager",)), house.clock.now_ms())
    await users(house, "carol", roles=())
    assert removed(house) == [(room_id, CAROL)]
    assert not (await asked(house, CAROL)).allowed


async def test_a_command_that_learns_of_a_withdrawal_removes_from_the_other_rooms_too(house: House) -> None:
    room_id = await house.open_for_alice()
    house.know("alice", clearance=Classification.PUBLIC)
    chat = await house.chat_with(ALICE)
    house.clock.advance(400)
    await house.says(ALICE, "!incidents", chat)
    await house.settle()
    assert removed(house) == [(room_id, ALICE)]


async def test_the_control_room_is_for_operators_alone(house: House) -> None:
    await house.open_for_alice()
    await house.moves(ALICE, "join", house.control_room())
    assert removed(house) == [(house.control_room(), ALICE)]
    assert await keys_for(house, house.control_room()) == {BOT, OPERATOR}


async def test_a_start_looks_at_every_room_by_the_configuration_of_now(house: House) -> None:
    room_id = await house.open_for_alice()
    async with house.db.work() as work:
        await work.rooms.set_member(room_id, CAROL, "join")
    await house.start_service()
    await house.advance(10)
    assert removed(house) == [(room_id, CAROL)]


async def test_whoever_may_not_be_there_runs_no_command(house: House) -> None:
    room_id = await house.open_for_alice()
    async with house.db.work() as work:
        await work.rooms.set_member(room_id, CAROL, "join")
    assert "not among the people" in await house.ask(CAROL, "!status")


async def test_a_letter_with_contents_is_not_said_to_whoever_may_no_longer_know_them(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!catchup")
    letters = [say for _, say in house.world.said if "Mail is down" in str(say.content) and say.purpose != "card"]
    assert letters
    async with house.db.work() as work:
        await work.rooms.set_member(await house.room_id(), CAROL, "join")
    await house.ask(CAROL, "!catchup")
    after = [say for _, say in house.world.said if "Mail is down" in str(say.content) and say.purpose != "card"]
    assert after == letters


async def test_of_whom_etb_states_no_clearance_stands_before_every_door(house: House) -> None:
    """What ETB doesn't state is the lowest level (docs/etb-contract.md 10.3); the incident is above it."""
    room_id = await house.open_for_alice()
    house.know("carol", clearance=Classification.PUBLIC)
    chat = await house.chat_with(CAROL)
    house.clock.advance(400)
    assert "not cleared" in await house.ask(ALICE, "!invite carol")
    assert "not cleared" in await house.ask(ALICE, "!page carol")
    assert "no open incident of this number" in await house.ask(CAROL, "!join INC-1", chat)
    assert "INC-1" not in await house.ask(CAROL, "!incidents", chat)
    await house.let_in("carol")
    async with house.db.work() as work:
        await work.rooms.set_member(room_id, CAROL, "join")
    assert CAROL not in await keys_for(house)
    assert "clearance" in await house.ask(CAROL, "!status")
    await house.own(LetterDue(user_id=CAROL, text="of INC-1", incident_id=NO_1), lane=f"direct/{CAROL}")
    await house.own(RightsDue(room_id=room_id), lane=NO_1)
    await house.settle()
    assert "of INC-1" not in house.world.texts()
    assert "letter.withheld" in await house.tags()
    assert removed(house) == [(room_id, CAROL)]
    assert CAROL not in house.world.guests(room_id)


async def test_who_is_named_but_was_never_looked_up_gets_no_keys_and_stays(house: House) -> None:
    room_id = await house.open_for_alice()
    async with house.db.desk() as desk:
        await desk.write(
            lambda transaction: transaction.connection.exec_driver_sql(
                "DELETE FROM etb_copies WHERE kind = 'user'"
            )
        )
    assert (await asked(house, ALICE)).why == "outdated"
    house.etb.down()
    assert "has not confirmed your account" in await house.ask(ALICE, "!status")
    await house.own(RightsDue(room_id=room_id), lane=NO_1)
    await house.settle()
    assert removed(house) == []
