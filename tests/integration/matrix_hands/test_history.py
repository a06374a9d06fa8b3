"""Invitations that carry the past, on a real homeserver: never in the way of an invitation, safe to repeat."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Invite, Say
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import RoomId, UserId, war_room_id
from etb_appservice.domain.media import Media
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.domain.past import Levels
from etb_appservice.matrix.history import BUNDLE
from tests.harness.bot import Bot, DictKeepsakes
from tests.harness.hands import Workbench, an_incident
from tests.harness.synapse import Slot, Synapse

INTERNAL = Classification.INTERNAL


@pytest.fixture(scope="module")
async def late(
    synapse: Synapse, take_slot: Callable[[], Slot], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bot]:
    """Somebody with keys of their own."""
    person = await Bot.start(synapse.url, take_slot(), tmp_path_factory.mktemp("late"), DictKeepsakes())
    yield person
    await person.stop()


async def talked_in(bench: Workbench, number: int, level: Classification = INTERNAL) -> RoomId:
    """A room in which the bot has said something."""
    room_id = await bench.open(bench.spec(number, level=level))
    async with bench.store.work() as work:
        await work.cases.put(war_room_id(an_incident(number).id), Levels().then(0, level))
    await bench.do(Say(room_id=room_id, content="before"), f"say/{number}")
    return room_id


async def invite(bench: Workbench, room_id: RoomId, person: Bot, key: str, **more: Any) -> Done:
    """As the flows do: the tables first."""
    user_id = UserId(person.mxid)
    await bench.member(room_id, person.mxid, "invite")
    effect = Invite(room_id=room_id, user_id=user_id, history_up_to=INTERNAL)
    return await bench.do(effect, key, **more)


async def bundles(person: Bot, room_id: RoomId) -> int:
    """How many bundles of a room reached a person's device since the last look."""
    found: list[Any] = []
    machine: Any = person.cipher._machine
    take = machine._apply

    async def look(sender: str, sender_key: str, payload: Any) -> Any:
        found.append(payload)
        return await take(sender, sender_key, payload)

    machine._apply = look
    await person.sync()
    machine._apply = take
    return sum(one["type"] == BUNDLE and one["content"]["room_id"] == room_id for one in found)


async def uploads(bench: Workbench, number: int) -> Sequence[Media]:
    async with bench.store.view() as view:
        return await view.cases.of(war_room_id(an_incident(number).id), Media)


async def test_an_invitation_carries_the_past_and_a_repeated_one_again(shared: Workbench, late: Bot) -> None:
    room_id = await talked_in(shared, 1)
    done = await invite(shared, room_id, late, "i/1")
    assert (done.detail, done.found) == ("invited", {"history": "1", "devices": "1"})
    assert await bundles(late, room_id) == 1
    again = await invite(shared, room_id, late, "i/1", attempts=1, first_tried_ms=shared.clock.now_ms())
    assert again.found == done.found
    assert await bundles(late, room_id) == 1
    kept = await uploads(shared, 1)
    assert [one.purpose for one in kept] == ["history", "history"]
    assert all(one.id.startswith("mxc://") for one in kept)


async def test_a_media_store_that_fails_keeps_nobody_out(
    shared: Workbench, late: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await talked_in(shared, 2)

    async def full(_content: bytes) -> str:
        raise Later("the media store is full")

    monkeypatch.setattr(shared.server, "upload", full)
    done = await invite(shared, room_id, late, "i/2")
    assert (done.detail, done.found) == ("invited", {})
    assert await shared.server.membership(room_id, UserId(late.mxid)) == "invite"
    assert await bundles(late, room_id) == 0
    assert shared.counted[-1] == "failed"


async def test_who_is_banned_is_given_nothing(shared: Workbench, late: Bot) -> None:
    room_id = await talked_in(shared, 3)
    await shared.server.act(room_id, "ban", {"user_id": late.mxid})
    with pytest.raises(Refused, match="banned"):
        await invite(shared, room_id, late, "i/3")
    assert await bundles(late, room_id) == 0
    assert await uploads(shared, 3) == []


async def test_a_room_that_shows_nobody_its_past_gives_none(shared: Workbench, late: Bot) -> None:
    room_id = await talked_in(shared, 4, Classification.CONFIDENTIAL)
    done = await invite(shared, room_id, late, "i/4")
    assert (done.detail, done.found) == ("invited", {})
    assert await bundles(late, room_id) == 0
    assert await uploads(shared, 4) == []
