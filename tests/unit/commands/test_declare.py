"""`declare`: from a sentence to an incident, its number, and its room."""

from dataclasses import replace

import pytest

from etb_appservice.domain.classification import Classification, ClassificationMap
from etb_appservice.domain.effects import DeclareIncident, OpenRoom
from etb_appservice.domain.ids import IncidentId
from etb_appservice.domain.people import PeopleMap
from tests.harness.cast import ALICE, OPERATOR, STRANGER, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import broken, later

NUMBER = "INC-1000"
FIRST = f"Declared **{NUMBER}**: Mail is down. I will name its room here as soon as it is open."


async def started(house: House) -> None:
    house.know("alice", "bob", "carol")
    await house.start_service()
    await house.moves(OPERATOR, "join", house.control_room())


def made(house: House) -> IncidentId:
    [incident_id] = house.etb.known
    return incident_id


async def test_the_number_comes_at_once_and_the_room_when_it_is_open(house: House) -> None:
    await started(house)
    chat = await house.chat_with(ALICE)
    event_id = await house.says(ALICE, "!declare high Mail is\ndown", chat, thread_root="$root")
    await house.settle()
    room_id = await house.room_id(made(house))
    assert house.answers(event_id) == [
        FIRST,
        f"The room of [{NUMBER}](https://matrix.to/#/{room_id}?via=x.org) is open. You are invited.",
    ]
    assert all(say.thread_root == "$root" for _, say in house.world.said if say.reply_to == event_id)
    assert ALICE in house.world.guests(room_id)
    incident = house.etb.known[made(house)]
    assert (incident.title, incident.severity) == ("Mail is down", "HIGH")
    assert incident.description == "Declared by alice (@alice:x.org) in the incident chat."
    await house.moves(ALICE, "join", room_id)
    assert (await house.ask(ALICE, "!resolve", room_id)).startswith("Status: **RESOLVED**")


async def test_whoever_declared_it_is_invited_though_the_report_came_from_the_service(house: House) -> None:
    await started(house)
    chat = await house.chat_with(ALICE)
    await house.says(ALICE, "!declare high Mail is down", chat)
    await house.settle()
    people = house.world.cards(await house.room_id(made(house)))[-1][2].responders
    assert [(one.username, one.roles) for one in people] == [("alice", ("let in",))]
    assert "person.admitted" in await house.tags()


async def test_when_the_room_can_not_be_opened_yet_it_is_named_later_and_once(house: House) -> None:
    await started(house)
    chat = await house.chat_with(ALICE)
    house.world.fail(OpenRoom, later(after_s=300))
    event_id = await house.says(ALICE, "!declare high Mail is down", chat)
    await house.settle()
    assert house.answers(event_id) == [FIRST]
    await house.crash()
    await house.advance(600)
    assert len(house.answers(event_id)) == 2
    await house.advance(600)
    assert len(house.answers(event_id)) == 2


async def test_when_etb_shows_the_incident_before_it_answers_the_room_is_named_all_the_same(house: House) -> None:
    await started(house)
    chat = await house.chat_with(ALICE)
    house.etb.lose_answers = 1
    event_id = await house.says(ALICE, "!declare high Mail is down", chat)
    for _ in range(3):
        await house.settle()
    await house.report(house.etb.known[made(house)], "poll")
    await house.settle()
    await house.advance(60)
    away, first, second = house.answers(event_id)
    assert away.startswith("ETB does not answer just now.")
    assert first == FIRST
    assert second.endswith("is open. You are invited.")
    assert sum(isinstance(one, DeclareIncident) for one in house.etb.writes) == 1


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_at_any_commit_declares_once_and_names_the_room_once(
    make_house: MakeHouse, before: bool
) -> None:
    house = await make_house()
    await started(house)
    chat = await house.chat_with(ALICE)
    await house.die_again_and_again([1, 2, 1, 3], before=before)
    event_id = await house.says(ALICE, "!declare high Mail is down", chat)
    await house.settle()
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert len(house.etb.known) == len(house.world.opened) - 3 == 1
    assert len(house.answers(event_id)) == 2


async def test_while_etb_is_away_it_is_kept_and_declared_once(house: House) -> None:
    await started(house)
    chat = await house.chat_with(ALICE)
    await house.ask(ALICE, "!oncall", chat)
    house.etb.down()
    event_id = await house.says(ALICE, "!declare high Mail is down", chat)
    await house.settle()
    assert house.answers(event_id)[0].startswith("ETB does not answer just now.")
    house.etb.up()
    await house.advance(60)
    assert house.answers(event_id)[1] == FIRST
    assert len(house.answers(event_id)) == 3
    assert len(house.etb.known) == 1


async def test_who_is_not_cleared_for_what_they_declared_is_told_so_and_not_invited(make_house: MakeHouse) -> None:
    levels = ClassificationMap(
        default=Classification.INTERNAL, by_severity={"CRITICAL": Classification.RESTRICTED}
    )
    house = await make_house(policy=replace(policy_of(), classification=levels))
    await started(house)
    house.know("alice", clearance=Classification.INTERNAL)
    chat = await house.chat_with(ALICE)
    event_id = await house.says(ALICE, "!declare critical Mail is down", chat)
    await house.settle()
    assert house.answers(event_id)[1].endswith(
        "is open. You are not invited: ETB user `alice` is not cleared for the level of this incident. "
        "Clearance and level are set in ETB; this is looked at every five minutes."
    )
    assert ALICE not in house.world.guests(await house.room_id(made(house)))


async def test_an_operator_without_an_etb_account_declares_from_the_control_room(house: House) -> None:
    await started(house)
    event_id = await house.says(OPERATOR, "!declare low Mail is down", house.control_room())
    await house.settle()
    first, second = house.answers(event_id)
    assert first == FIRST
    assert second.endswith("You are not invited, since your Matrix account is not linked to an ETB user.")
    assert house.etb.known[made(house)].description == "Declared by @op:x.org in the incident chat."


async def test_a_linked_operator_is_invited(make_house: MakeHouse) -> None:
    people = PeopleMap("", {**policy_of().people.entries, "op": OPERATOR})  # type: ignore[dict-item]
    house = await make_house(policy=replace(policy_of(), people=people))
    house.know("op")
    await started(house)
    event_id = await house.says(OPERATOR, "!declare low Mail is down", house.control_room())
    await house.settle()
    assert house.answers(event_id)[1].endswith("is open. You are invited.")


async def test_the_configured_category_is_sent(make_house: MakeHouse) -> None:
    policy = policy_of()
    commands = replace(policy.commands, declared_category="Application")
    house = await make_house(policy=replace(policy, commands=commands))
    await started(house)
    await house.says(OPERATOR, "!declare low Mail is down", house.control_room())
    await house.settle()
    assert house.etb.known[made(house)].category == "Application"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("!declare", "`severity` is missing.\n\nUsage: `!declare <severity> <title>`"),
        ("!declare high", "`title` is missing.\n\nUsage: `!declare <severity> <title>`"),
        ("!declare “” x", "That is no severity.\n\nUsage: `!declare <severity> <title>`"),
        (
            "!declare high " + "x" * 201,
            "That title is too long: at most 200 characters.\n\nUsage: `!declare <severity> <title>`",
        ),
    ],
)  # fmt: skip
async def test_words_that_do_not_fit(house: House, line: str, answer: str) -> None:
    await started(house)
    assert await house.ask(OPERATOR, line, house.control_room()) == answer
    assert house.etb.writes == []


async def test_quotes_and_unicode_in_a_title_stay_as_they_are_and_are_no_markdown(house: House) -> None:
    await started(house)
    event_id = await house.says(OPERATOR, "!declare high „Müll“ *ist* 'weg' 🚮 [x](y)", house.control_room())
    await house.settle()
    assert house.etb.known[made(house)].title == "„Müll“ *ist* 'weg' 🚮 [x](y)"
    assert "„Müll“ \\*ist\\* 'weg' 🚮 \\[x\\](y)" in house.answers(event_id)[0]


async def test_etb_refuses_a_severity_that_nobody_knows(house: House) -> None:
    await started(house)
    house.etb.refuse("400")
    answer = await house.ask(OPERATOR, "!declare hihg Mail is down", house.control_room())
    assert answer == (
        "ETB did not do that: ETB said no\n\nDid you mean `HIGH`? Severities that I know: `EMERGENCY`, "
        "`CRITICAL`, `HIGH`, `MEDIUM`, `LOW`, `INFO`."
    )


async def test_in_an_incidents_room_nothing_is_declared(house: House) -> None:
    await house.open_for_alice()
    assert (await house.ask(ALICE, "!declare high x")).startswith("I don't know `declare`.")


async def test_a_stranger_declares_nothing(house: House) -> None:
    await started(house)
    chat = await house.chat_with(STRANGER)
    answer = await house.ask(STRANGER, "!declare high x", chat)
    assert answer == "Your Matrix account is not linked to an ETB user. Ask an operator to link it."
    assert house.etb.writes == []


async def test_a_room_that_can_not_be_made_takes_no_answer_away(house: House) -> None:
    await started(house)
    chat = await house.chat_with(ALICE)
    house.world.fail(OpenRoom, broken())
    event_id = await house.says(ALICE, "!declare high Mail is down", chat)
    await house.settle()
    assert house.answers(event_id) == [FIRST]
    assert any("`OpenRoom` was parked" in one for one in house.troubles())
