"""`update status`, `severity`, `resolve`, `reopen`: what is said of a change, and what is never sent."""

from dataclasses import replace

import pytest

from etb_appservice.domain.classification import Classification, ClassificationMap
from etb_appservice.domain.effects import ChangeIncident
from etb_appservice.domain.facts import IncidentDue
from tests.harness.cast import ALICE, BOB, NO_1, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

STATUSES = (
    "Statuses that I know: `NEW`, `OPEN`, `ACKNOWLEDGED`, `INVESTIGATING`, `IN_PROGRESS`, `ON_HOLD`, `RESOLVED`, "
    "`CLOSED`, `REOPENED`, `CANCELLED`."
)
NO_CHOICE = 'ETB did not do that: ETB says of status: "{}" is not a valid choice.'


def changes(house: House) -> list[ChangeIncident]:
    return [one for one in house.etb.writes if isinstance(one, ChangeIncident)]


@pytest.mark.parametrize(
    ("line", "answer", "now"),
    [
        ("!update status in progress", "Status: **IN\\_PROGRESS** (was OPEN).", ("IN_PROGRESS", "HIGH")),
        ("!update status In-Progress", "Status: **IN\\_PROGRESS** (was OPEN).", ("IN_PROGRESS", "HIGH")),
        ('!UPDATE Status "in_progress"', "Status: **IN\\_PROGRESS** (was OPEN).", ("IN_PROGRESS", "HIGH")),
        ("!update status open", "The status is **OPEN** already; nothing was changed.", ("OPEN", "HIGH")),
        ("!severity critical", "Severity: **CRITICAL** (was HIGH).", ("OPEN", "CRITICAL")),
        ("!severity HIGH", "The severity is **HIGH** already; nothing was changed.", ("OPEN", "HIGH")),
        ("!resolve", "Status: **RESOLVED** (was OPEN).", ("RESOLVED", "HIGH")),
        ("!reopen", "The incident is open: its status is **OPEN**; nothing was changed.", ("OPEN", "HIGH")),
    ],
)  # fmt: skip
async def test_the_asker_learns_what_changed_old_and_new(
    house: House, line: str, answer: str, now: tuple[str, str]
) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, line) == answer
    kept = house.etb.known[NO_1]
    assert (kept.status, kept.severity) == now
    assert len(changes(house)) == (now != ("OPEN", "HIGH")), "what stands already is not sent"


async def test_what_is_resolved_can_be_reopened_and_not_resolved_twice(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, "!resolve") == "Status: **RESOLVED** (was OPEN)."
    assert await house.ask(ALICE, "!resolve") == "The status is **RESOLVED** already; nothing was changed."
    assert await house.ask(ALICE, "!reopen") == "Status: **OPEN** (was RESOLVED)."
    assert len(changes(house)) == 2


async def test_the_card_shows_a_change_at_once(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.ask(ALICE, "!severity critical")
    assert house.world.cards(room_id)[-1][2].severity == "CRITICAL"


async def test_a_severity_that_makes_an_incident_confidential_changes_its_room_at_once(
    make_house: MakeHouse,
) -> None:
    levels = ClassificationMap(
        default=Classification.INTERNAL, by_severity={"CRITICAL": Classification.CONFIDENTIAL}
    )
    house = await make_house(policy=replace(policy_of(), classification=levels))
    await house.open_for_alice()
    await house.ask(ALICE, "!severity critical")
    assert (await house.room()).classification is Classification.CONFIDENTIAL
    assert (await house.room()).name == "INC-1"


async def test_a_severity_by_which_somebody_would_lose_access_shows_them_before(make_house: MakeHouse) -> None:
    levels = ClassificationMap(
        default=Classification.INTERNAL, by_severity={"CRITICAL": Classification.CONFIDENTIAL}
    )
    house = await make_house(policy=replace(policy_of(), classification=levels))
    room_id = await house.open_for_alice()
    house.know("bob", clearance=Classification.INTERNAL)
    await house.report(incident(updated_at_ms=1001))
    await house.settle()
    await house.moves(BOB, "join")
    preview = await house.ask(ALICE, "!severity critical")
    assert "raise the classification from **INTERNAL** to **CONFIDENTIAL**" in preview
    assert "`@bob:x.org`" in preview
    assert (await house.room()).classification is Classification.INTERNAL
    await house.says(ALICE, "yes")
    await house.settle()
    assert (await house.room()).classification is Classification.CONFIDENTIAL
    async with house.store.view() as view:
        assert BOB not in await view.rooms.members(room_id, "join", "invite")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (
            "!update status resovled",
            f"{NO_CHOICE.format('RESOVLED')}\n\nDid you mean `RESOLVED`? {STATUSES}",
        ),
        (
            "!update status 🔥 <b>",
            NO_CHOICE.format("🔥\\_\\<B\\>") + f"\n\n{STATUSES}",
        ),
        (
            "!update status on hold",
            NO_CHOICE.format("ON\\_HOLD"),
        ),
        ('!update status ""', "That is no status.\n\nUsage: `!update status <value>`"),
        ("!update status " + "x" * 65, "That is no status.\n\nUsage: `!update status <value>`"),
        ("!update status", "`value` is missing.\n\nUsage: `!update status <value>`"),
        ("!update", "`field` is missing.\n\nUsage: `!update status <value>`"),
        ("!update severity high", "`field` is one of `status`.\n\nUsage: `!update status <value>`"),
        ("!severity", "`level` is missing.\n\nUsage: `!severity <level>`"),
        ("!resolve it", "I don't know what to do with “it”.\n\nUsage: `!resolve`"),
    ],
)  # fmt: skip
async def test_words_that_do_not_fit(house: House, line: str, answer: str) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, line) == answer
    assert house.etb.known[NO_1].status == "OPEN"


async def test_a_word_that_only_etb_knows_is_its_to_take(house: House) -> None:
    await house.open_for_alice()
    house.etb.statuses |= {"IN_REVIEW"}
    assert await house.ask(ALICE, "!update status in review") == "Status: **IN\\_REVIEW** (was OPEN)."


@pytest.mark.parametrize("line", ["!update status resolved", "!severity low", "!resolve", "!reopen"])
async def test_while_etb_is_away_it_is_kept_and_done_once_when_it_is_back(house: House, line: str) -> None:
    await house.open_for_alice()
    house.etb.known[NO_1] = incident(status="CLOSED" if line == "!reopen" else "OPEN", updated_at_ms=2000)
    house.etb.down()
    event_id = await house.says(ALICE, line)
    await house.settle()
    [told] = house.answers(event_id)
    assert told.startswith("ETB does not answer just now.")
    house.etb.up()
    await house.advance(60)
    [answer] = house.answers(event_id)[1:]
    assert " (was " in answer
    assert len(changes(house)) == 1


async def test_what_was_done_meanwhile_is_said_when_etb_is_back(house: House) -> None:
    await house.open_for_alice()
    house.etb.down()
    event_id = await house.says(ALICE, "!resolve")
    await house.settle()
    house.etb.known[NO_1] = incident(status="RESOLVED", updated_at_ms=5000)
    house.etb.up()
    await house.advance(60)
    assert house.answers(event_id)[1:] == ["The status was **RESOLVED** already; nothing was changed."]


@pytest.mark.parametrize("line", ["!update status closed", "!severity low", "!resolve", "!reopen"])
async def test_only_responders_change_an_incident(house: House, line: str) -> None:
    await house.open_for_alice(assignee=None)
    await house.leave_over("bob")
    await house.moves(BOB, "join")
    assert await house.ask(BOB, line) == "This needs the role responder of this incident."
    assert changes(house) == []


async def test_an_incident_that_is_due_is_asked_for_a_few_times_and_then_the_poll_must_do(house: House) -> None:
    await house.open_for_alice()
    before = house.etb.calls.count("incident")
    house.etb.down()
    await house.own(IncidentDue(incident_id=NO_1), lane=NO_1)
    for _ in range(10):
        await house.advance(60)
    assert house.etb.calls.count("incident") == before + 5


async def test_an_incident_that_is_due_is_shown_as_soon_as_etb_answers(house: House) -> None:
    room_id = await house.open_for_alice()
    house.etb.known[NO_1] = incident(severity="LOW", updated_at_ms=3000)
    house.etb.down()
    await house.own(IncidentDue(incident_id=NO_1), lane=NO_1)
    await house.settle()
    house.etb.up()
    await house.advance(6)
    assert house.world.cards(room_id)[-1][2].severity == "LOW"
