"""Another recovery key for the same identity: the former one opens until its time is over, whatever dies."""

import json
from pathlib import Path

import pytest

from etb_appservice.domain.outcomes import Refused, Unsure
from etb_appservice.matrix.crosssigning import read_secrets
from etb_appservice.matrix.record import Record
from tests.harness.bot import DictKeepsakes
from tests.harness.keyserver import Crash, KeyServer
from tests.unit.matrix.conftest import Actor, MakeActor

HOUR = 3600 * 1000


async def key_of(bot: Actor) -> str:
    """The recovery key to be shown now; afterwards it was shown."""
    identity = await bot.open()
    key = await identity.recovery_key()
    assert key
    await identity.recovery_key_shown()
    return key


async def opens(server: KeyServer, bot: Actor, key: str) -> bool:
    """Whether a recovery key opens the seeds that the homeserver stores."""
    try:
        _, seeds = await read_secrets(server.client("", "", bot.mxid, "", None), bot.mxid, key)
    except Refused:
        return False
    return seeds.public("master") in server.masters_uploaded


async def test_the_former_key_opens_until_its_overlap_ends(actor: MakeActor, server: KeyServer) -> None:
    bot = await actor("bot")
    old, identity = await key_of(bot), await bot.open()
    assert not await identity.publish_recovery_keys()
    await identity.rotate_recovery_key(until_ms=HOUR)
    new = await key_of(bot)
    assert new != old
    assert await identity.former_recovery_keys() == (HOUR,)
    assert [await opens(server, bot, key) for key in (old, new)] == [True, True]
    assert await identity.end_former_recovery_keys(HOUR - 1) == 0
    assert await identity.end_former_recovery_keys(HOUR) == 1
    assert [await opens(server, bot, key) for key in (old, new)] == [False, True]
    assert await identity.end_former_recovery_keys(HOUR) == 0
    assert len(server.masters_uploaded) == 1


async def test_a_restart_in_the_overlap_keeps_both(actor: MakeActor, server: KeyServer) -> None:
    bot = await actor("bot")
    old = await key_of(bot)
    await (await bot.open()).rotate_recovery_key(until_ms=HOUR)
    new = await key_of(bot)
    await bot.close()
    server.devices[bot.mxid].clear()  # so that all is published again
    await bot.start()
    assert [await opens(server, bot, key) for key in (old, new)] == [True, True]


async def test_two_rotations_keep_each_key_until_its_own_end(actor: MakeActor, server: KeyServer) -> None:
    bot = await actor("bot")
    keys, identity = [await key_of(bot)], await bot.open()
    for until in (2 * HOUR, HOUR):
        await identity.rotate_recovery_key(until_ms=until)
        keys.append(await key_of(bot))
    assert [await opens(server, bot, key) for key in keys] == [True, True, True]
    assert await identity.end_former_recovery_keys(HOUR) == 1
    assert [await opens(server, bot, key) for key in keys] == [True, False, True]


@pytest.mark.parametrize("after", [False, True], ids=["before the request", "after the request"])
async def test_a_rotation_that_dies_at_any_request_is_finished(
    actor: MakeActor, server: KeyServer, after: bool
) -> None:
    probe = await actor("probe")
    before = len(server.requests)
    await (await probe.open()).rotate_recovery_key(until_ms=HOUR)
    total = len(server.requests) - before
    assert total > 4
    for step in range(1, total + 1):
        bot = await actor(f"bot{step}")
        old, identity = await key_of(bot), await bot.open()
        server.crash_at, server.crash_after = len(server.requests) + step, after
        with pytest.raises(Crash):
            await identity.rotate_recovery_key(until_ms=HOUR)
        server.crash_at = None
        new = await key_of(bot)
        assert await opens(server, bot, old) or await opens(server, bot, new), "never without any key"
        assert await identity.publish_recovery_keys()
        assert [await opens(server, bot, key) for key in (old, new)] == [True, True]


async def test_a_homeserver_that_is_away_ends_nothing(actor: MakeActor, server: KeyServer) -> None:
    bot = await actor("bot")
    old, identity = await key_of(bot), await bot.open()
    await identity.rotate_recovery_key(until_ms=HOUR)
    server.unreachable.add("account_data")
    with pytest.raises(Unsure):
        await identity.end_former_recovery_keys(HOUR)
    server.unreachable.clear()
    assert await identity.former_recovery_keys() == (HOUR,)
    assert await identity.end_former_recovery_keys(HOUR) == 1
    assert not await opens(server, bot, old)


async def test_nothing_is_rotated_before_there_is_an_identity(actor: MakeActor) -> None:
    bot = await actor("bot", start=False)
    with pytest.raises(Refused, match="not been started"):
        await (await bot.open()).rotate_recovery_key(until_ms=HOUR)


async def test_the_identity_is_recovered_with_a_key_whose_overlap_runs(
    actor: MakeActor, server: KeyServer, tmp_path: Path
) -> None:
    bot = await actor("bot")
    old = await key_of(bot)
    await (await bot.open()).rotate_recovery_key(until_ms=HOUR)
    await bot.close()
    (bot.folder / "crypto.db").unlink()
    bot.keepsakes = DictKeepsakes()
    await (await bot.open()).recover(old)
    assert len(set(server.masters_uploaded)) == 1
    assert await opens(server, bot, old)


async def test_a_record_of_an_earlier_version_is_read(actor: MakeActor) -> None:
    bot = await actor("bot")
    raw = await bot.keepsakes.get(f"matrix.identity.{bot.mxid}")
    assert raw is not None
    earlier = {name: value for name, value in json.loads(raw).items() if name not in {"former", "is_published"}}
    record = Record.from_bytes(json.dumps(earlier).encode())
    assert record == Record.from_bytes(raw)
    assert record.seeds.master.hex() not in repr(record)
