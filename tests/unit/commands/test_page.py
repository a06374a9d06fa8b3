"""`page`: who is called, how, and that nobody is called twice by mistake."""

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Say, TriggerEscalation
from etb_appservice.domain.ids import RoomId, UserId, Username, direct_id
from etb_appservice.domain.incident import OnCall
from etb_appservice.domain.pages import Page
from etb_appservice.domain.roles import Admitted
from etb_appservice.domain.timeline import TimelineItem
from tests.harness.cast import ALICE, BOB, CAROL, NO_1, etb_user, incident
from tests.harness.house import House
from tests.harness.kit import MakeHouse


async def direct_room_id(house: House, user_id: UserId) -> RoomId | None:
    async with house.db.view() as view:
        room = await view.rooms.by_war_room(direct_id(user_id))
    return room.room_id if room else None


async def letters(house: House, user_id: UserId) -> list[Say]:
    """What was said to one person alone."""
    room_id = await direct_room_id(house, user_id)
    return [say for _, say in house.world.said if say.room_id == room_id]


async def the_page(house: House) -> Page:
    async with house.db.view() as view:
        [page] = await view.cases.of((await house.room()).war_room, Page)
    return page


def calls(house: House, room_id: RoomId) -> list[Say]:
    """Pages in the incident's room."""
    return [say for _, say in house.world.said if say.room_id == room_id and say.notify]


def triggers(house: House) -> list[TriggerEscalation]:
    return [one for one in house.etb.writes if isinstance(one, TriggerEscalation)]


async def test_a_page_rings_in_the_room_and_alone_and_is_an_escalation_in_etb(house: House) -> None:
    room_id = await house.open_for_alice()
    answer = await house.ask(ALICE, "!page carol the mail\nqueue is full")
    assert answer == "Paged `carol`. ETB has started an escalation, level 1."
    [call] = calls(house, room_id)
    assert call.mentions == (CAROL,)
    assert call.content == (
        "**Page** for [@carol:x.org](https://matrix.to/#/@carol:x.org)\n\n"
        "**INC-1** (HIGH): Mail is down\n\n"
        "`alice` pages you: the mail queue is full\n\n"
        "Acknowledge with `!ack` here, or with ✅ on this message."
    )
    [letter] = await letters(house, CAROL)
    assert (letter.notify, letter.mentions) == (True, (CAROL,))
    assert letter.content == (
        "**Page: INC-1** (HIGH)\n\n"
        "`alice` pages you: the mail queue is full\n\n"
        f"Room: https://matrix.to/#/{room_id}?via=x.org\n\n"
        "Acknowledge with `!ack` there, or with ✅ on this message."
    )
    [trigger] = triggers(house)
    page = await the_page(house)
    assert (trigger.reason, trigger.ref) == ("alice pages carol: the mail queue is full", page.id)
    assert page.escalation_ids == (house.etb.escalated[NO_1][0].id,)
    assert house.world.said[[say for _, say in house.world.said].index(call)][0] == page.event_id


async def test_whoever_is_paged_is_invited_and_may_act(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    assert CAROL in house.world.guests(room_id)
    async with house.db.view() as view:
        [entry] = await view.cases.of((await house.room()).war_room, Admitted)
    assert (entry.username, entry.by, entry.why) == ("carol", "alice", "paged")
    await house.moves(CAROL, "join")
    assert (await house.ask(CAROL, "!assign carol")).startswith("Assigned to `carol`")


async def test_whoever_is_there_already_is_not_invited_again(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.ask(ALICE, "!page bob")
    assert house.world.guests(room_id).count(BOB) == 1


async def test_a_page_is_on_the_timeline_here_and_etb_writes_its_own(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!page carol now")
    async with house.db.view() as view:
        items = await view.cases.of((await house.room()).war_room, TimelineItem)
    assert [(one.event_type, one.title, one.by) for one in items] == [("ESCALATED", "carol paged", "alice")]
    assert [one.event_type for one in house.etb.entries] == ["OTHER"]
    assert "person.paged" in await house.tags()


@pytest.mark.parametrize("word", ["Platform", "platform", '"Core team"'])
async def test_a_team_is_whoever_is_on_call_in_its_rotation(house: House, word: str) -> None:
    await house.open_for_alice()
    house.etb.duty = [
        OnCall("Platform", Username("carol"), "Core team"),
        OnCall("Platform", Username("bob"), "Core team"),
        OnCall("Network", Username("alice")),
    ]
    assert (await house.ask(ALICE, f"!page {word}")).startswith("Paged `bob`, `carol`.")
    assert len(await letters(house, BOB)) == len(await letters(house, CAROL)) == 1


async def test_only_those_who_are_cleared_are_paged_and_the_asker_learns_why(house: House) -> None:
    await house.open_for_alice(stated=Classification.CONFIDENTIAL)
    house.etb.users[Username("carol")] = etb_user("carol", Classification.INTERNAL)
    house.etb.duty = [OnCall("Platform", Username("carol")), OnCall("Platform", Username("bob"))]
    assert await house.ask(ALICE, "!page Platform") == (
        "Paged `bob`. ETB has started an escalation, level 1.\n"
        "Not paged: `carol` is not cleared for this incident."
    )
    assert await direct_room_id(house, CAROL) is None


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("!page carol", "Not paged: `carol` has an ETB account that is locked or not active."),
        ("!page dave", "Not paged: `dave` has no Matrix account here."),
        ("!page @carol:x.org", "Not paged: `carol` has an ETB account that is locked or not active."),
        ("!page @bobby", "Not paged: `bobby` has no Matrix account here."),
        ("!page", "`target` is missing.\n\nUsage: `!page <target> [text]`"),
        (
            "!page @mallory:evil.example",
            "`@mallory:evil.example` is not linked to an ETB user.\n\nUsage: `!page <target> [text]`",
        ),
        (
            "!page nobody",
            (
                "ETB knows no user `nobody`, and nobody is on call in a team of that name. "
                "On call now: `Platform`.\n\nUsage: `!page <target> [text]`"
            ),
        ),
    ],
)
async def test_whom_nobody_can_page(house: House, line: str, answer: str) -> None:
    await house.open_for_alice()
    house.etb.users |= {Username("carol"): etb_user("carol", active=False), Username("dave"): etb_user("dave")}
    house.etb.duty = [OnCall("Platform", Username("bob"))]
    assert await house.ask(ALICE, line) == answer
    assert triggers(house) == []


async def test_the_same_person_is_not_paged_twice_within_a_minute(house: House) -> None:
    room_id = await house.open_for_alice()
    house.etb.duty = [OnCall("Platform", Username("carol")), OnCall("Platform", Username("bob"))]
    await house.ask(ALICE, "!page carol")
    assert await house.ask(ALICE, "!page carol") == (
        "`carol` was paged less than a minute ago. Wait a minute, then page again."
    )
    assert await house.ask(ALICE, "!page Platform") == (
        "Paged `bob`. ETB has started an escalation, level 2.\n"
        "Not paged: `carol` was paged less than a minute ago."
    )
    await house.advance(61)
    await house.ask(ALICE, "!page carol")
    assert [call.mentions for call in calls(house, room_id)] == [(CAROL,), (BOB,), (CAROL,)]


async def test_only_responders_page(house: House) -> None:
    await house.open_for_alice(assignee=None)
    await house.leave_over("bob")
    await house.moves(BOB, "join")
    assert await house.ask(BOB, "!page carol") == "This needs the role responder of this incident."


async def test_the_title_of_an_incident_whose_level_was_raised_stays_out_of_its_room(house: House) -> None:
    room_id = await house.open_for_alice()
    async with house.db.work() as work:
        known = await work.incidents.get(NO_1)
        assert known is not None
        raised = incident(stated=Classification.CONFIDENTIAL, title="A secret")
        await work.incidents.put(type(known)(incident=raised, confirmed_ms=1))
    await house.ask(ALICE, "!page carol")
    [call] = calls(house, room_id)
    assert "secret" not in str(call.content)


async def test_while_etb_is_away_the_last_copies_do_and_the_page_goes_out_at_once(house: House) -> None:
    room_id = await house.open_for_alice()
    house.etb.duty = [OnCall("Platform", Username("bob"))]
    await house.report(incident(updated_at_ms=2000))
    await house.settle()
    house.etb.down()
    event_id = await house.says(ALICE, "!page Platform")
    await house.settle()
    assert len(calls(house, room_id)) == len(await letters(house, BOB)) == 1
    assert house.answers(event_id)[0].startswith("ETB does not answer just now.")
    house.etb.up()
    await house.advance(60)
    assert house.answers(event_id)[1:] == ["Paged `bob`. ETB has started an escalation, level 1."]
    assert len(triggers(house)) == 1


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("lives", [(1, 2), (2, 1, 1), (3, 1)])
async def test_a_crash_at_every_commit_pages_once(
    make_house: MakeHouse, before: bool, lives: tuple[int, ...]
) -> None:
    house = await make_house()
    room_id = await house.open_for_alice()
    await house.die_again_and_again(lives, before=before)
    event_id = await house.says(ALICE, "!page carol look")
    await house.settle()
    await house.advance(601)
    await house.die_no_more()
    await house.advance(601)
    assert house.crashes > 5
    assert house.answers(event_id) == ["Paged `carol`. ETB has started an escalation, level 1."]
    assert [str(call.content).split(" for ")[0] for call in calls(house, room_id)] == [
        "**Page**",
        "Nobody has acknowledged the page",
    ]
    assert len(await letters(house, CAROL)) == 1
    assert house.world.guests(room_id).count(CAROL) == 1
    page = await the_page(house)
    assert [one.ref for one in triggers(house)] == [page.id, f"{page.id}/again"]
    assert page.escalation_ids == tuple(one.id for one in house.etb.escalated[NO_1])
    assert [say for _, say in house.world.said if "**Escalation**" in str(say.content)] == []


# --- drills -----------------------------------------------------------------------------------------------


async def test_a_page_in_a_drill_stays_in_its_room(house: House) -> None:
    room_id = await house.open_for_alice(tags=("drill",))
    answer = await house.ask(ALICE, "!page carol")
    assert answer == "Called in this room only: this is a drill."
    [call] = calls(house, room_id)
    assert call.mentions == (CAROL,)
    await house.advance(3600)
    assert await direct_room_id(house, CAROL) is None
    assert triggers(house) == []
    assert len(calls(house, room_id)) == 1, "nobody is told that it was escalated"


async def test_a_drill_is_not_escalated(house: House) -> None:
    await house.open_for_alice(tags=("drill",))
    assert (await house.ask(ALICE, "!escalate now")).startswith("This is a drill")
    assert triggers(house) == []


async def test_a_drill_that_nobody_joins_calls_nobody_outside(house: House) -> None:
    house.know("alice", "bob", "carol")
    house.etb.duty.append(OnCall("network", Username("carol")))
    await house.start_service()
    await house.report(incident(tags=("drill",)))
    await house.advance(3600)
    await house.advance(3600)
    assert triggers(house) == []
    assert await direct_room_id(house, CAROL) is None
