"""`post`: a status update."""

import pytest

from etb_appservice.domain.policy import CadencePolicy
from etb_appservice.domain.posts import Post
from tests.harness.cast import ALICE, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse


@pytest.fixture
async def steady(make_house: MakeHouse) -> House:
    """A house with the usual rhythm."""
    return await make_house(policy=policy_of(cadence=CadencePolicy()))


async def test_an_update_is_said_to_the_room_with_when_the_next_one_is_due(steady: House) -> None:
    await steady.open_for_alice()
    answer = await steady.ask(ALICE, "!post Mail is *back*\nfor half of the users.")
    lines = answer.splitlines()
    assert lines[:2] == ["---", "**Status update** by `alice`, 2026-09-21 14:13 UTC"]
    assert lines[3:5] == ["Mail is \\*back\\*", "for half of the users."]
    assert lines[-1] == "The next one is due by 2026-09-21 15:13 UTC."


async def test_it_is_kept_and_on_the_timeline_here_and_in_etb(steady: House) -> None:
    await steady.open_for_alice()
    event_id = await steady.says(ALICE, "!post Mail is back\nfor all.")
    await steady.settle()
    room = await steady.room()
    async with steady.db.view() as view:
        [post] = await view.cases.of(room.war_room, Post)
    assert (post.text, post.by, post.event_id) == ("Mail is back\nfor all.", "alice", event_id)
    [entry] = [one for one in steady.etb.entries if one.title.startswith("Status update")]
    assert (entry.title, entry.description) == ("Status update: Mail is back for all.", "Mail is back\nfor all.")
    assert f"({_link(await steady.room_id(), event_id)})" in await steady.ask(ALICE, "!timeline")


async def test_in_a_thread_it_is_said_to_the_room_all_the_same(steady: House) -> None:
    room_id = await steady.open_for_alice()
    assert await steady.ask(ALICE, "!post Mail is back", thread_root="$root") == "Posted to the room."
    [block] = [one for one in steady.world.texts(room_id) if "**Status update**" in one]
    [say] = [say for _, say in steady.world.said if say.content == block]
    assert (say.thread_root, say.notify) == (None, False)


async def test_where_no_rhythm_is_kept_none_is_due(steady: House) -> None:
    await steady.open_for_alice(severity="LOW")
    assert (await steady.ask(ALICE, "!post fine")).endswith("No further one is due.")


async def test_an_update_without_text_is_none(steady: House) -> None:
    await steady.open_for_alice()
    assert "Usage: `!post <text>`" in await steady.ask(ALICE, "!post")


def _link(room_id: str, event_id: str) -> str:
    return f"https://matrix.to/#/{room_id}/{event_id}?via=x.org"
