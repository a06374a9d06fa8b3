"""One command replaces a secret; whatever cuts it off, the same command finishes it."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etb_appservice.app.rotate import Wanted, rotate, rotate_encryption_key
from etb_appservice.app.secrets import LiveSecrets
from etb_appservice.config import Settings, load
from etb_appservice.config.places import Draft, NotHere
from etb_appservice.domain.facts import Troubled
from etb_appservice.domain.rotation import Secret
from etb_appservice.flows.turn import SERVICE_LANE
from etb_appservice.ports import InboxRow
from etb_appservice.store import migrate
from etb_appservice.store.codec import FactJson, decode_fact
from etb_appservice.store.errors import WrongKey
from etb_appservice.store.sql import SqlStore, open_store
from tests.unit.config.test_load import MINIMAL, SECRET, write

HOOK = "whsec_" + base64.b64encode(b"h" * 32).decode()
TEXT = MINIMAL + f"webhook:\n  enabled: true\n  secrets: [{HOOK}]\n"
HOUR = 3600 * 1000
NAMES: tuple[Secret, ...] = ("hs_token", "as_token", "webhook_secret")


class Clock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.added_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.added_ms

    def monotonic(self) -> float:
        return self.now_ms() / 1000

    async def sleep(self, seconds: float) -> None:
        self.added_ms += int(seconds * 1000)


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """An installation that has run before."""
    path = write(tmp_path, TEXT)
    write(tmp_path, f"id: etb\nas_token: {SECRET}-as\nhs_token: {SECRET}-hs\n", "registration.yaml")
    await migrate.upgrade(load(path, {}).settings.database.etb_url)
    return path


@contextmanager
def cut_off(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> Iterator[None]:
    """Drafts take their places `after` times, and then the program dies."""
    put, count = Draft.put, 0

    def dying(self: Draft) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        put(self)

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "put", dying)
        with pytest.raises(KeyboardInterrupt):
            yield


def text_of(path: Path) -> str:
    """What is in a file."""
    return path.read_text(encoding="utf-8")


def values(config: Path) -> dict[Secret, str]:
    """What the settings hold now."""
    settings = load(config, {}).settings
    return {
        "hs_token": settings.appservice.hs_token.get_secret_value(),
        "as_token": settings.appservice.as_token.get_secret_value(),
        "webhook_secret": settings.webhook.secrets[0].get_secret_value(),
    }


async def again(config: Path, name: Secret, *, overlap_ms: int = HOUR, to: Path | None = None) -> str:
    """Rotate as the command line does; what it says holds no secret."""
    before = values(config)
    said = " ".join(
        await rotate(
            load(config, {}).settings, name, Wanted(config=config, environ={}, overlap_ms=overlap_ms, to=to)
        )
    )
    for value in (*before.values(), *values(config).values()):
        assert value not in said
    return said


async def live(settings: Settings, store: SqlStore, clock: Clock) -> LiveSecrets:
    """A service of these settings, as it is after its first look."""
    secrets = LiveSecrets(settings, store, clock)
    await secrets.look()
    return secrets


@pytest.mark.parametrize("name", NAMES)
async def test_a_rotated_secret_counts_with_the_former_one_until_the_overlap_ends(
    config: Path, name: Secret
) -> None:
    started_before = load(config, {}).settings
    before = values(config)
    first = before[name]
    assert "until" in await again(config, name)
    second = values(config)[name]
    assert second != first
    assert {**values(config), name: first} == before
    registered = text_of(config.parent / "registration.yaml")
    assert (second in registered) is (name != "webhook_secret")
    assert (first in registered) is False
    clock = Clock()
    async with open_store(started_before.database.etb_url, started_before.encryption.key_bytes, clock) as store:
        for settings in (started_before, load(config, {}).settings):
            secrets = await live(settings, store, clock)
            assert secrets.of(name) == (second, first)
        clock.added_ms = HOUR + 1
        secrets = await live(started_before, store, clock)
        if name == "as_token":
            assert secrets.of(name) == (second, first), "the homeserver may not know the new one yet"
            assert await secrets.end_overlaps(FactJson()) == ()
            secrets.tokens.worked(second)
        assert [one.name for one in await secrets.end_overlaps(FactJson())] == [name]
        await secrets.look()
        assert secrets.of(name) == (second,)
        clock.added_ms = 0
        assert (await live(started_before, store, clock)).of(name) == (second,), "never again"


@pytest.mark.parametrize(
    ("name", "after"), [("hs_token", 0), ("hs_token", 1), ("as_token", 0), ("as_token", 1), ("webhook_secret", 0)]
)
async def test_a_rotation_that_was_cut_off_counts_and_is_finished_by_the_same_command(
    config: Path, name: Secret, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = values(config)[name]
    with cut_off(monkeypatch, after):
        await again(config, name)
    assert values(config)[name] == first
    settings, clock = load(config, {}).settings, Clock()
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
        counts = (await live(settings, store, clock)).of(name)
    assert counts[1:] == (first,)
    assert "finished" in await again(config, name)
    assert values(config)[name] == counts[0]
    assert list(config.parent.glob(".*")) == []
    if name != "webhook_secret":
        assert counts[0] in text_of(config.parent / "registration.yaml")


async def test_nothing_has_changed_when_a_file_can_not_be_written(config: Path) -> None:
    before = text_of(config)
    with pytest.raises(NotHere, match="--to FILE"):
        await again(config, "hs_token", to=config.parent / "none" / "hs")
    assert text_of(config) == before
    settings, clock = load(config, {}).settings, Clock()
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
        assert (await live(settings, store, clock)).of("hs_token") == (f"{SECRET}-hs",)


async def test_the_new_value_can_go_to_a_file_for_a_place_that_can_not_be_written(config: Path) -> None:
    text = text_of(config)
    said = await again(config, "hs_token", to=config.parent / "new-hs")
    assert "new-hs" in said
    assert text_of(config) == text
    new = text_of(config.parent / "new-hs").strip()
    assert (config.parent / "new-hs").stat().st_mode & 0o077 == 0
    write(config.parent, text.replace(f"hs_token: {SECRET}-hs", "hs_token_file: new-hs"))
    settings, clock = load(config, {}).settings, Clock()
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
        assert (await live(settings, store, clock)).of("hs_token") == (new, f"{SECRET}-hs")


async def test_without_an_overlap_the_former_one_ends_at_once(config: Path) -> None:
    await again(config, "hs_token", overlap_ms=0)
    settings, clock = load(config, {}).settings, Clock()
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
        assert len((await live(settings, store, clock)).of("hs_token")) == 1


async def test_a_registration_that_is_not_there_is_asked_for(config: Path) -> None:
    (config.parent / "registration.yaml").unlink()
    with pytest.raises(NotHere, match="--registration"):
        await again(config, "hs_token")
    assert "rotated" in await again(config, "webhook_secret")


async def rekey(config: Path, *, overlap_ms: int = HOUR, to: Path | None = None) -> str:
    """Replace CHAT_ENCRYPTION_KEY as the command line does; what it says holds no key."""
    settings = load(config, {}).settings
    said = " ".join(
        await rotate_encryption_key(settings, Wanted(config=config, environ={}, overlap_ms=overlap_ms, to=to))
    )
    for one in (settings, load(config, {}).settings):
        assert one.encryption.key.get_secret_value() not in said
    return said


async def kept_by(settings: Settings, clock: Clock) -> str | None:
    """A keepsake as a service of these settings reads it; None when its key isn't the database's."""
    try:
        async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
            return (await store.keepsakes.get("mine") or b"").decode()
    except WrongKey:
        return None


@pytest.fixture
async def used(config: Path) -> Path:
    """An installation whose database holds something."""
    settings = load(config, {}).settings
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, Clock()) as store:
        await store.keepsakes.put("mine", b"marmalade")
    return config


async def test_the_encryption_key_is_replaced_in_database_and_settings(used: Path) -> None:
    before, clock = load(used, {}).settings, Clock()
    assert "until" in await rekey(used)
    after = load(used, {}).settings
    assert after.encryption.key_bytes != before.encryption.key_bytes
    assert [await kept_by(one, clock) for one in (before, after)] == ["marmalade", "marmalade"]
    clock.added_ms = HOUR + 1
    assert [await kept_by(one, clock) for one in (before, after)] == [None, "marmalade"]
    raw = b"".join(path.read_bytes() for path in used.parent.glob("etb.db*"))
    for one in (before, after):
        assert one.encryption.key.get_secret_value().encode() not in raw
        assert one.encryption.key_bytes not in raw


async def test_a_rotation_of_the_encryption_key_that_was_cut_off_is_finished_even_late(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(used, {}).settings
    with cut_off(monkeypatch):
        await rekey(used, overlap_ms=0)
    assert load(used, {}).settings == before
    assert await kept_by(before, Clock()) is None, "the overlap is over, and the settings are behind"
    assert "finished" in await rekey(used)
    after = load(used, {}).settings
    assert after != before
    assert await kept_by(after, Clock()) == "marmalade"


async def test_a_running_service_goes_on_under_the_new_encryption_key_and_ends_the_overlap(used: Path) -> None:
    settings, clock = load(used, {}).settings, Clock()
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
        secrets = await live(settings, store, clock)
        await rekey(used)
        await secrets.look()
        assert store.vault.is_behind
        assert await store.keepsakes.get("mine") == b"marmalade"
        assert await secrets.end_overlaps(FactJson()) == ()
        clock.added_ms = HOUR + 1
        assert [one.name for one in await secrets.end_overlaps(FactJson())] == ["encryption_key"]
        await secrets.look()
        assert await secrets.end_overlaps(FactJson()) == ()
        async with store.work() as work:
            tags = [entry.tag for entry, _ in await work.audit.read()]
        assert tags == ["secret.rotated", "secret.overlap_ended"]


async def test_a_key_that_went_to_a_file_keeps_its_handover_until_a_service_was_started_with_it(
    used: Path,
) -> None:
    before = load(used, {}).settings
    await rekey(used, to=used.parent / "new-key")
    clock = Clock()
    clock.added_ms = HOUR + 1
    for_good = open_store(before.database.etb_url, before.encryption.key_bytes, clock, is_late=True)
    async with for_good as store:
        secrets = await live(before, store, clock)
        assert await secrets.end_overlaps(FactJson()) == ()
    key = text_of(used.parent / "new-key")
    write(used.parent, text_of(used).replace(before.encryption.key.get_secret_value(), key.strip()))
    after = load(used, {}).settings
    async with open_store(after.database.etb_url, after.encryption.key_bytes, clock) as store:
        secrets = await live(after, store, clock)
        assert [one.name for one in await secrets.end_overlaps(FactJson())] == ["encryption_key"]


async def test_an_encryption_key_of_the_environment_is_left_with_advice(used: Path) -> None:
    settings = load(used, {}).settings
    environ = {"CHAT_ENCRYPTION_KEY": settings.encryption.key.get_secret_value()}
    with pytest.raises(NotHere, match=r"CHAT_ENCRYPTION_KEY.*--to FILE"):
        await rotate_encryption_key(settings, Wanted(config=used, environ=environ, overlap_ms=HOUR))
    assert await kept_by(settings, Clock()) == "marmalade"


async def test_a_rotation_is_recorded_and_told_without_the_values(config: Path) -> None:
    for name in NAMES:
        await again(config, name)
    settings, clock = load(config, {}).settings, Clock()
    async with (
        open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store,
        store.work() as work,
    ):
        entries = [entry for entry, _ in await work.audit.read()]
        row = await work.inbox.next(SERVICE_LANE, clock.now_ms())
    assert [(entry.tag, entry.subject) for entry in entries] == [("secret.rotated", name) for name in NAMES]
    assert isinstance(row, InboxRow)
    told = decode_fact(row.payload)
    written = json.dumps([entry.details for entry in entries]) + repr(told)
    assert isinstance(told, Troubled)
    assert "hs_token" in told.text
    for value in (*values(config).values(), SECRET, HOOK):
        assert value not in written


async def test_no_secret_stands_in_the_database_in_the_clear(config: Path) -> None:
    first = values(config)
    for name in NAMES:
        await again(config, name)
    raw = b"".join(path.read_bytes() for path in config.parent.glob("etb.db*"))
    assert b"Rotated" in raw
    for value in (*first.values(), *values(config).values()):
        assert value.encode() not in raw
