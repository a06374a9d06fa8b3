"""What a lane decides and what an effect's answer changes of the same message don't overwrite each other."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import etb_appservice.commands
from etb_appservice.domain.facts import EffectAnswered
from etb_appservice.flows.commands import find
from etb_appservice.flows.turn import Turn
from etb_appservice.store.sql import SqlStore
from tests.contract.store.conftest import Reopen
from tests.harness.cast import NO_1, policy_of
from tests.harness.clock import MovedClock
from tests.harness.fakes_etb import FakeEtb
from tests.harness.house import House
from tests.harness.web import WebUser
from tests.harness.world import World

MOMENT_S = 0.5
THUMB, CHECK = "\N{THUMBS UP SIGN}", "\N{WHITE HEAVY CHECK MARK}"


@pytest.fixture
async def house(url: str, tmp_path: Path) -> AsyncIterator[House]:
    """alice's incident has a room."""
    made = House(
        tmp_path,
        clock=MovedClock(),
        world=World(),
        etb=FakeEtb(),
        policy=policy_of(),
        commands=find(etb_appservice.commands),
        url=url,
    )
    await made.start()
    await made.open_for_alice()
    yield made
    await made.stop()


async def reacts(web: WebUser, message_id: str, emoji: str) -> "asyncio.Task[None]":
    """Asked for, accepted, not decided yet."""
    accepted = asyncio.Event()
    desk = web.desk(lambda _: accepted.set())
    asked = asyncio.create_task(desk.react(web.caller, web.war_room, web.act(), message_id, emoji, is_added=True))
    await accepted.wait()
    return asked


async def test_who_decides_in_a_lane_waits_for_whoever_does_and_reads_what_they_wrote(
    store: SqlStore, reopen: Reopen
) -> None:
    order = []

    async def second() -> None:
        async with reopen() as other, other.work() as work:
            await work.alone_in("lane")
            is_first = await work.once.first_time("a notice")
            order.append(("second", is_first))

    async with store.work() as work:
        await work.alone_in("lane")
        assert await work.once.first_time("another notice")
        waits = asyncio.create_task(second())
        await asyncio.wait([waits], timeout=MOMENT_S)
        order.append(("first", await work.once.first_time("a notice")))
    await waits
    assert order == [("first", True), ("second", False)]


async def test_a_reaction_given_while_another_ones_answer_is_written_down_is_kept(house: House) -> None:
    alice, bob = WebUser(house, "alice"), WebUser(house, "bob")
    message_id = await alice.post("The disk of mail1 is full")
    gives = await reacts(alice, message_id, THUMB)
    await house.intake.step(NO_1)
    await gives
    also = await reacts(bob, message_id, CHECK)
    written = asyncio.Event()

    async def decides() -> None:
        await written.wait()
        await house.intake.step(NO_1)

    deciding = asyncio.create_task(decides())

    async def slowly(turn: Turn, fact: EffectAnswered) -> None:
        await house.decider.answers.record(turn, fact)
        written.set()
        await asyncio.wait([deciding], timeout=MOMENT_S)

    async with house.db.view() as view:
        [target] = await view.outbox.targets()
    await replace(house.outbox, record=slowly).step(target)
    await deciding
    await also
    await house.settle()
    found = (await alice.message(message_id)).details.reactions
    assert {(one.username, one.emoji) for one in found} == {("alice", THUMB), ("bob", CHECK)}
    assert not [one for one in found if one.event_id.startswith("~")], "each has its event's name"
