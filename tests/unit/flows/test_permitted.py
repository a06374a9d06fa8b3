"""Who may be in an incident's room at this moment."""

from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.partners import Partner, PartnerAdmitted
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import RoomPolicy
from etb_appservice.flows.permitted import Permission, permission, permission_of
from tests.harness.cast import ALICE, BOT, CAROL, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

ANN = UserId("@ann:partner.example")


async def asked(house: House, user_id: str, policy: Policy | None = None) -> Permission:
    async with house.store.view() as view:
        return await permission(view, await house.room(), UserId(user_id), policy or house.policy)


async def test_whom_etb_names_and_clears_belongs(house: House) -> None:
    await house.open_for_alice()
    found = await asked(house, ALICE)
    assert (found.allowed, found.why) == (True, "belongs")


async def test_a_stranger_and_whoever_etb_does_not_name_may_not(house: House) -> None:
    await house.open_for_alice()
    assert (await asked(house, "@x:elsewhere.org")).why == "stranger"
    assert not (await asked(house, CAROL)).allowed


async def test_on_a_homeserver_that_is_not_ours_even_whom_etb_names_may_not(house: House) -> None:
    await house.open_for_alice()
    away = PeopleMap("", {Username("alice"): UserId("@alice:elsewhere.org")})
    assert (await asked(house, "@alice:elsewhere.org", policy_of(people=away))).why == "stranger"
    rooms = RoomPolicy(bot=BOT, servers=frozenset({"elsewhere.org"}))
    assert (await asked(house, "@alice:elsewhere.org", policy_of(people=away, rooms=rooms))).allowed


async def test_by_the_web_an_etb_user_is_judged_by_name_whatever_matrix_id_they_have(house: House) -> None:
    await house.open_for_alice()
    house.know("dave")
    await house.let_in("dave")
    unlinked = policy_of(people=PeopleMap("", {Username("bob"): UserId("@bob:elsewhere.org")}))

    async def by_name(name: str) -> Permission:
        async with house.store.view() as view:
            return await permission_of(view, await house.room(), Username(name), unlinked)

    assert [(await by_name(name)).why for name in ("alice", "bob", "dave")] == ["belongs"] * 3
    assert (await by_name("carol")).why == "stranger"
    assert (await by_name("nobody")).why == "stranger"
    house.clock.advance(house.policy.clearance.hold_s + 1)
    assert (await by_name("alice")).why == "outdated"
    async with house.store.view() as view:
        control = await view.rooms.by_id(house.control_room())
        assert control is not None
        assert not (await permission_of(view, control, Username("alice"), unlinked)).allowed


async def test_the_word_of_etb_ends_with_its_time(house: House) -> None:
    await house.open_for_alice()
    house.clock.advance(house.policy.clearance.hold_s + 1)
    assert (await asked(house, ALICE)).why == "outdated"


async def test_break_glass_lets_in_for_its_time(house: House) -> None:
    await house.open_for_alice()
    room, now = await house.room(), house.clock.now_ms()
    async with house.store.work() as work:
        await work.cases.put(
            room.war_room,
            BreakGlass(
                id=ANN, by=(UserId("@a:x"), UserId("@b:x")), reason="r", from_ms=now, until_ms=now + 60_000
            ),
        )
    assert (await asked(house, ANN)).why == "break-glass"
    house.clock.advance(61)
    assert not (await asked(house, ANN)).allowed


async def test_a_partner_may_where_it_was_let_in_up_to_its_ceiling(make_house: MakeHouse) -> None:
    partner = Partner(name="B", servers=frozenset({"partner.example"}), ceiling=Classification.INTERNAL)
    house = await make_house(policy=policy_of(partners=(partner,)))
    await house.open_for_alice()
    room = await house.room()
    assert (await asked(house, ANN)).why == "stranger"
    async with house.store.work() as work:
        await work.cases.put(room.war_room, PartnerAdmitted(id="B", by=UserId("@a:x"), at_ms=1))
    assert (await asked(house, ANN)).allowed is (room.classification <= Classification.INTERNAL)
    low = policy_of(partners=(Partner(name="B", servers=frozenset({"partner.example"})),))
    found = await asked(house, ANN, low)
    assert found.allowed is (room.classification <= Classification.PUBLIC)
