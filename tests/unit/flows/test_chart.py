"""`timeline chart`: what is drawn, where it goes, and what becomes of it when ETB is away."""

import io
from dataclasses import replace

from PIL import Image

from etb_appservice.domain.duty import Escalation, Sla
from etb_appservice.domain.effects import SendFile
from etb_appservice.domain.ids import EventId, UserId, Username
from etb_appservice.domain.posts import Post
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.story import Limit, Phase
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows.chart import told
from tests.harness.cast import ALICE, NO_1, incident
from tests.harness.house import House
from tests.harness.kit import MakeHouse

MINUTE = 60_000
NOON = 1_790_000_000_000


def change(at_ms: int, new: str, old: str, *, is_open: bool = True) -> TimelineItem:
    title = f"Status: {new} (was {old})"
    return TimelineItem(id=f"c{at_ms}", event_type="STATUS_CHANGED", title=title, at_ms=at_ms, is_open=is_open)


def sla(target_ms: int, status: str = "ACTIVE") -> Sla:
    return Sla(id="s", name="Response", kind="RESPONSE_TIME", status=status, started_ms=NOON, target_ms=target_ms)


async def drawn(house: House, text: str = "!timeline chart", **fields: str) -> SendFile:
    await house.says(ALICE, text, **fields)
    await house.settle()
    [(_, file, content)] = house.world.sent
    image = Image.open(io.BytesIO(content))
    assert image.size == (file.width, file.height)
    assert file.size == len(content)
    return file


async def test_a_picture_is_sent_where_it_was_asked_for(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.ask(ALICE, "!post We are on it")
    house.etb.levels[NO_1] = [sla(house.clock.now_ms() + 5 * MINUTE)]
    file = await drawn(house, thread_root="$root")
    assert (file.room_id, file.thread_root, file.msgtype) == (room_id, "$root", "m.image")
    assert (file.filename, file.mime) == ("timeline.png", "image/png")
    for part in ("Timeline of INC-1", "We are on it", "Response by"):
        assert part in file.caption
    async with house.db.view() as view:
        [run, *_] = await view.commands.of_room(room_id)
    assert (run.name, run.status, run.result) == ("timeline", "SUCCESS", file.caption)


async def test_without_etb_the_picture_says_what_is_missing(house: House) -> None:
    await house.open_for_alice()
    house.etb.down()
    assert "service levels and escalations are missing" in (await drawn(house)).caption


async def test_a_picture_is_sent_once_through_crashes(make_house: MakeHouse) -> None:
    house = await make_house()
    await house.open_for_alice()
    await house.die_again_and_again([1, 2, 3], before=True)
    await drawn(house)
    await house.advance(60)
    assert house.crashes > 1
    assert len(house.world.sent) == 1


def test_phases_follow_the_changes_that_were_written_down() -> None:
    items = [change(NOON + 30 * MINUTE, "RESOLVED", "IN_PROGRESS"), change(NOON, "IN_PROGRESS", "OPEN")]
    items.append(TimelineItem(id="n", event_type="NOTE", title="t", at_ms=NOON - 10 * MINUTE))
    story = told(incident(status="RESOLVED"), items, [], [], ((), ()), NOON + 999 * MINUTE)
    assert story.phases == (
        Phase(status="OPEN", from_ms=NOON - 10 * MINUTE, to_ms=NOON),
        Phase(status="IN_PROGRESS", from_ms=NOON, to_ms=NOON + 30 * MINUTE),
        Phase(status="RESOLVED", from_ms=NOON + 30 * MINUTE, to_ms=NOON + 30 * MINUTE),
    )
    assert story.to_ms == NOON + 30 * MINUTE, "it ended when it was closed"


def test_an_incident_in_which_nothing_happened_has_one_phase_and_a_span() -> None:
    story = told(incident(), [], [], [], ((), ()), NOON)
    assert [one.status for one in story.phases] == ["OPEN"]
    assert story.to_ms - story.from_ms == 10 * MINUTE


def test_a_target_far_ahead_does_not_press_the_rest_into_a_corner() -> None:
    duty = ((sla(NOON + 30 * MINUTE, "MET"), sla(NOON + 9999 * MINUTE), sla(NOON + 31 * MINUTE, "CANCELLED")), ())
    story = told(incident(), [], [], [], duty, NOON + 20 * MINUTE)
    assert story.limits == (Limit(name="Response", at_ms=NOON + 30 * MINUTE, state="met"),)
    assert (story.from_ms, story.to_ms) == (NOON, NOON + 30 * MINUTE)


def test_everything_that_happened_is_a_mark_in_its_order() -> None:
    run = RunbookRun(
        id="r",
        runbook_id="b",
        name="Restart",
        asker=UserId("@a:x"),
        username=Username("a"),
        event_id=EventId("$e"),
        asked_ms=NOON,
        started_ms=NOON + MINUTE,
    )
    ended = replace(run, started_ms=NOON + 2 * MINUTE, ended_ms=NOON + 3 * MINUTE, is_open=False)
    post = Post(id="p", text="On it", by=Username("a"), at_ms=NOON + 30_000)
    level = Escalation(
        id="e", status="TRIGGERED", level=2, reason="", triggered_ms=NOON + 4 * MINUTE, notified=("bob",)
    )
    story = told(incident(), [], [post], [run, ended], ((), (level,)), NOON + 20 * MINUTE)
    assert [(one.kind, one.label, one.to_ms) for one in story.marks] == [
        ("update", "On it", None),
        ("runbook", "Restart: WAITING", NOON + 20 * MINUTE),
        ("runbook", "Restart: WAITING", NOON + 3 * MINUTE),
        ("escalation", "Level 2: bob", None),
    ]


def test_withdrawn_entries_are_not_drawn() -> None:
    story = told(incident(), [change(NOON, "RESOLVED", "OPEN", is_open=False)], [], [], ((), ()), NOON)
    assert [one.status for one in story.phases] == ["OPEN"]
