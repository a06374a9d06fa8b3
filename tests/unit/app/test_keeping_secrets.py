"""The loop that takes over what was rotated, and what `check` says of ages and overlaps."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from etb_appservice.app import loops
from etb_appservice.app.ages import ages
from etb_appservice.app.secrets import LiveSecrets
from etb_appservice.config import Settings, load
from etb_appservice.domain.facts import Troubled
from etb_appservice.domain.outcomes import Later
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.domain.rotation import rotated
from etb_appservice.domain.text import moment
from etb_appservice.flows.turn import SERVICE_LANE
from etb_appservice.ports import InboxRow
from etb_appservice.store.codec import FactJson
from tests.harness.house import House
from tests.unit.app.test_loops import own, pass_time, turning
from tests.unit.config.test_load import MINIMAL, SECRET, write

HOUR = 3600 * 1000
OLD, NEW = f"{SECRET}-hs", "the-new-token-of-the-homeserver"


@dataclass
class Keys:
    """Recovery keys as the loop sees them."""

    ended: int = 0
    away: bool = False
    asked: int = 0

    async def publish_recovery_keys(self) -> bool:
        self.asked += 1
        if self.away:
            raise Later("the homeserver can't be reached")
        return False

    async def end_former_recovery_keys(self, now_ms: int) -> int:
        assert now_ms > 0
        ended, self.ended = self.ended, 0
        return ended


def settings_in(folder: Path) -> Settings:
    return load(write(folder, MINIMAL), {}).settings


async def rotate(house: House, overlap_ms: int = HOUR) -> None:
    """What `rotate hs-token` commits."""
    now = house.clock.now_ms()
    async with house.db.work() as work:
        await work.cases.put(
            CONTROL_ROOM, rotated("hs_token", [OLD], None, NEW, now_ms=now, until_ms=now + overlap_ms)
        )


async def told(house: House) -> list[str]:
    """What the operators are told next."""
    async with house.db.work() as work:
        row = await work.inbox.next(SERVICE_LANE, house.clock.now_ms())
    if not isinstance(row, InboxRow):
        return []
    fact = FactJson().decode(row.payload)
    return [fact.text] if isinstance(fact, Troubled) else []


async def test_a_rotation_counts_within_seconds_and_its_overlap_ends_in_time(house: House, tmp_path: Path) -> None:
    secrets = LiveSecrets(settings_in(tmp_path), house.db, house.clock)
    await secrets.begin()
    taken: list[tuple[str, ...]] = []
    secrets.given_to("hs_token", lambda tokens: taken.append(tuple(tokens)))
    async with turning(loops.keep_secrets(secrets, Keys(), own(house))) as task:
        await rotate(house)
        await pass_time(house, 2, task)
        assert taken == [(OLD,), (NEW, OLD)]
        await pass_time(house, HOUR / 1000, task)
        assert taken[2:] == [(NEW,)]
        assert "only the new **hs_token**" in (await told(house))[0]
    assert [tag for tag in await house.tags() if tag.startswith("secret.")] == ["secret.overlap_ended"]


async def test_a_homeserver_that_still_speaks_with_the_former_token_is_named_at_the_end(
    house: House, tmp_path: Path
) -> None:
    secrets = LiveSecrets(settings_in(tmp_path), house.db, house.clock)
    secrets.hs_token_used = lambda: 1
    await rotate(house)
    async with turning(loops.keep_secrets(secrets, Keys(), own(house))) as task:
        await pass_time(house, HOUR / 1000, task)
        await pass_time(house, 2, task)
        assert "still speaks with it" in (await told(house))[0]


async def test_a_homeserver_that_is_away_ends_neither_the_loop_nor_the_key(house: House, tmp_path: Path) -> None:
    secrets, keys = LiveSecrets(settings_in(tmp_path), house.db, house.clock), Keys(ended=1, away=True)
    async with turning(loops.keep_secrets(secrets, keys, own(house))) as task:
        await pass_time(house, 2, task)
        await pass_time(house, 2, task)
        assert keys.asked == 1, "not at each look"
        assert await told(house) == []
        keys.away = False
        await pass_time(house, 60, task)
        assert "only the new **recovery_key**" in (await told(house))[0]


def shown(found: list[tuple[str, bool, str]]) -> Callable[[str], tuple[bool, str]]:
    """Look up what is said of a secret."""
    return lambda name: next((is_well, text) for found_name, is_well, text in found if found_name == name)


async def test_check_says_how_old_secrets_are_and_which_overlaps_run(house: House, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    secrets = LiveSecrets(settings, house.db, house.clock)
    await secrets.begin()
    assert secrets.behind_at_start == ()
    now = house.clock.now_ms()
    found = ages(secrets, (), now)
    assert [name for name, _, _ in found] == ["encryption_key"]
    await rotate(house)
    house.clock.advance(1)
    behind = LiveSecrets(settings, house.db, house.clock)
    await behind.begin()
    assert behind.behind_at_start == ("hs_token",)
    is_well, text = shown(ages(behind, (now + 2 * HOUR,), now))("hs_token")
    assert not is_well
    assert "rotate hs-token" in text
    assert moment(now + HOUR) in text
    assert moment(now + 2 * HOUR) in shown(ages(behind, (now + 2 * HOUR,), now))("recovery_key")[1]
    written = load(write(tmp_path, MINIMAL.replace(OLD, NEW)), {}).settings
    present = LiveSecrets(written, house.db, house.clock)
    await present.begin()
    is_well, text = shown(ages(present, (), now + 3 * 24 * HOUR))("hs_token")
    assert is_well
    assert text == "rotated 3 days ago"
    for value in (OLD, NEW):
        assert value not in repr(ages(behind, (), now)) + repr(behind)
