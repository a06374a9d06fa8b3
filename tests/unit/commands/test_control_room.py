"""`health`, `rooms`, `queue`, `help`, as an operator uses them."""

from dataclasses import replace
from itertools import product

import pytest

from etb_appservice import commands
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import OpenRoom, Say
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Broken
from etb_appservice.domain.policy import CommandPolicy
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Place, command, find
from etb_appservice.flows.reference import people
from etb_appservice.ports import Vital
from tests.harness.cast import ALICE, NO_2, OPERATOR, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import broken, later, unsure


@pytest.fixture
async def patient(make_house: MakeHouse) -> House:
    """A house that lets a person ask as fast as they like."""
    house = await make_house(policy=replace(policy_of(), commands=CommandPolicy(burst=1000)))
    await house.open_for_alice()
    return house


async def ask(house: House, body: str) -> str:
    return await house.ask(OPERATOR, body, house.control_room())


# --- health -----------------------------------------------------------------------------------------------


async def test_health_shows_every_part_and_the_queues(house: House) -> None:
    await house.open_for_alice()
    house.signs.vitals = [Vital("Matrix", True, "syncing"), Vital("ETB", True, "polled 3 s ago")]
    answer = await ask(house, "!health")
    assert answer.splitlines()[:4] == ["**All is well.**", "", "- ✅ Matrix: syncing", "- ✅ ETB: polled 3 s ago"]
    assert "- Inbox: 1 waiting (oldest 0 s), 0 parked" in answer
    assert "- Outbox: 0 waiting (oldest 0 s), 0 parked" in answer


async def test_health_names_what_is_ill(house: House) -> None:
    await house.open_for_alice()
    house.signs.vitals = [Vital("Matrix", True, "ok"), Vital("ETB", False, "no answer for 5 min")]
    answer = await ask(house, "!health")
    assert answer.startswith("**Not well: ETB**")
    assert "- ❌ ETB: no answer for 5 min" in answer


async def test_health_says_for_how_long_the_oldest_waits(house: House) -> None:
    room_id = await house.open_for_alice()
    house.world.fail(Say, later(after_s=500), only=lambda say: say.room_id == room_id)
    house.world.decoder_trouble["$bad"] = Broken("no event")
    await house.says(ALICE, "!status")
    await house.says(ALICE, "x", event_id="$bad")
    await house.settle()
    await house.advance(100)
    answer = await ask(house, "!health")
    assert "- Outbox: 1 waiting (oldest 100 s), 0 parked" in answer
    assert ", 1 parked" in answer


# --- rooms ------------------------------------------------------------------------------------------------


async def test_rooms_lists_incident_rooms_newest_first_with_names_levels_and_people(house: House) -> None:
    room_id = await house.open_for_alice(title="*Mail* is down")
    await house.advance(1)
    house.world.fail(OpenRoom, later(after_s=500))
    await house.report(incident(id=NO_2, number="INC-2", stated=Classification.TOP_SECRET))
    await house.settle()
    link = f"[open](https://matrix.to/#/{room_id}?via=x.org)"
    assert (await ask(house, "!rooms")).splitlines() == [
        "**2 incident rooms**",
        "",
        "- **INC-2** (TOP_SECRET): being opened",
        f"- **INC-1 \\*Mail\\* is down** (INTERNAL): 1 joined, 1 invited, {link}",
    ]


async def test_rooms_says_when_there_are_none(house: House) -> None:
    await house.start_service()
    await house.moves(OPERATOR, "join", house.control_room())
    assert await ask(house, "!rooms") == "There are no incident rooms yet."


async def test_rooms_lists_the_newest_and_counts_the_rest(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.commands.rooms._MOST", 1)
    await house.open_for_alice()
    await house.advance(1)
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    answer = await ask(house, "!rooms")
    assert "INC-2" in answer
    assert "INC-1" not in answer
    assert answer.endswith("… and 1 older ones.")


# --- queue ------------------------------------------------------------------------------------------------


async def test_queue_shows_what_is_parked_and_why_and_never_what(house: House) -> None:
    room_id = await house.open_for_alice()
    house.world.fail(Say, broken(), only=lambda say: say.purpose == "answer" and say.room_id == room_id)
    house.world.decoder_trouble["$bad"] = Broken("its *ids* are unusable")
    await house.says(ALICE, "!status")
    await house.says(ALICE, "the secret word", event_id="$bad")
    await house.settle()
    await house.advance(180)
    lines = (await ask(house, "!queue")).splitlines()
    assert lines[0] == "**2 parked**"
    assert lines[2].endswith("from matrix, 3 min old, 0 tries: its \\*ids\\* are unusable")
    assert lines[3].endswith("Say, 3 min old, 0 tries: a request that can't be right")
    assert "secret" not in "".join(lines)


async def test_queue_shows_so_many_rows_and_counts_the_rest(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.commands.queue._MOST", 2)
    await house.open_for_alice()
    for number in range(5):
        house.world.decoder_trouble[f"$bad{number}"] = Broken("no event")
        await house.says(ALICE, "x", event_id=f"$bad{number}")
    await house.settle()
    answer = await ask(house, "!queue")
    assert answer.startswith("**5 parked**")
    assert answer.count("- `i") == 2
    assert answer.endswith("… and 3 more.")


async def test_queue_drop_forgets_a_row_for_good(house: House) -> None:
    room_id = await house.open_for_alice()
    house.world.fail(Say, unsure(), times=5, only=lambda say: say.purpose == "answer" and say.room_id == room_id)
    event_id = await house.says(ALICE, "!status")
    for _ in range(5):
        await house.advance(5)
    listed = await ask(house, "!queue")
    assert "outcome unknown" in listed
    row = listed.split("- `")[1].split("`")[0]
    assert await ask(house, f"!queue DROP {row}") == f"`{row}` was dropped."
    await house.advance(60)
    assert house.answers(event_id) == []
    assert await ask(house, f"!queue retry {row}") == (
        f"There is no parked row `{row}`. `queue` lists those there are."
    )
    [entry] = [entry for entry in await house.audit() if entry.tag == "queue.drop"]
    assert (entry.actor, entry.subject) == (OPERATOR, row)


async def test_a_row_that_is_not_parked_can_not_be_touched(patient: House) -> None:
    for action, side, number in product(("retry", "drop"), "io", (0, 1, 999_999_999_999_999_999)):
        row = f"{side}{number}"
        assert await ask(patient, f"!queue {action} {row}") == (
            f"There is no parked row `{row}`. `queue` lists those there are."
        )
    assert not any(tag.startswith("queue.") for tag in await patient.tags())


async def test_a_row_that_is_none_gets_the_usage_line(patient: House) -> None:
    for row in ("", "12", "x12", "i", "o-1", "i1.5", "i٣", "i²", "I12", "i" + "9" * 30, "'i 1'", '"i1\n"'):
        assert await ask(patient, f"!queue retry {row}") == (
            "`row` is a row of the list, such as `i12` or `o7`.\n\nUsage: `!queue [retry|drop] [row]`"
        ), row


async def test_another_word_than_retry_or_drop_touches_nothing(house: House) -> None:
    await house.open_for_alice()
    house.world.decoder_trouble["$bad"] = Broken("no event")
    await house.says(ALICE, "x", event_id="$bad")
    await house.settle()
    row = (await ask(house, "!queue")).split("- `")[1].split("`")[0]
    assert (await ask(house, f"!queue show {row}")).startswith("`action` is one of `retry`, `drop`.")
    assert (await ask(house, "!queue")).startswith("**1 parked**")


# --- help -------------------------------------------------------------------------------------------------


async def test_help_lists_what_can_be_asked_in_this_room(house: House) -> None:
    room_id = await house.open_for_alice()
    here, there = await house.ask(ALICE, "!help", room_id), await ask(house, "!help")
    assert here.startswith("**What you can ask me here**")
    assert "- `!status`: Show where the incident stands" in here
    assert "queue" not in here
    assert "- `!queue [retry|drop] [row]`: Show what is parked" in there
    assert "`!status`" not in there
    assert "- `!help [about]`" in here


async def test_help_explains_one_command(house: House) -> None:
    await house.open_for_alice()
    answer = await ask(house, "!help !Queue")
    assert answer.splitlines()[0] == "`!queue [retry|drop] [row]`"
    assert "Rows of what came in begin with `i`" in answer
    assert "Example: `!queue retry o12`" in answer
    assert answer.endswith("For operators.")
    assert (await house.ask(ALICE, "!help status")).endswith(
        "For everybody in the room who is linked to an ETB account."
    )


async def test_help_for_a_command_of_one_line_is_short(house: House) -> None:
    await house.open_for_alice()
    assert (await ask(house, "!help health")).splitlines() == [
        "`!health`",
        "",
        "Show how every part of the service does.",
        "",
        "Example: `!health`",
        "",
        "For operators.",
    ]


async def test_help_about_what_there_is_not_suggests_the_nearest(house: House) -> None:
    await house.open_for_alice()
    assert await ask(house, "!help queu") == "There is no command `queu` here. Did you mean `!help queue`?"
    assert await house.ask(ALICE, "!help queue") == "There is no command `queue` here."
    assert await ask(house, '!help "`x` [y](z)"') == "There is no command `x [y](z)` here."


async def test_help_explains_every_command_with_usage_example_and_who_may_run_it(patient: House) -> None:
    chat = await patient.chat_with(ALICE)
    rooms: dict[Place, tuple[UserId, RoomId]] = {
        "incident": (ALICE, await patient.room_id()),
        "control": (OPERATOR, patient.control_room()),
        "direct": (ALICE, chat),
    }
    for name, one in patient.commands.items():
        for place in one.where:
            sender, room_id = rooms[place]
            lines = (await patient.ask(sender, f"!help {name}", room_id)).splitlines()
            assert lines[0] == f"`!{one.usage}`"
            assert lines[2] == one.help
            assert f"Example: `!{one.example or one.name}`" in lines
            assert lines[-1] == f"For {people(one)}."


def test_every_example_is_one(house: House) -> None:
    for one in house.commands.values():
        name, _, text = (one.example or one.name).partition(" ")
        assert name == one.name
        one.signature.read(text)


async def test_help_says_when_only_the_commander_may(make_house: MakeHouse) -> None:
    @command(needs=Right.COMMANDER, where=INCIDENT)
    async def lead(call: Call) -> Answer:
        """Lead."""
        return Answer("done")

    house = await make_house(commands={"help": find(commands)["help"], "lead": lead})
    await house.open_for_alice()
    assert (await house.ask(ALICE, "!help lead")).endswith("For the incident's commander.")
    assert await house.ask(ALICE, "!lead") == "This needs the role commander of this incident."
