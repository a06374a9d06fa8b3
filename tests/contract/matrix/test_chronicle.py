"""What `results.Crypto.held` promises of the record, on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mautrix.crypto import InboundGroupSession
from mautrix.types import EventID, IdentityKey, RoomID, SessionID, SigningKey
from olm.group_session import OutboundGroupSession

from etb_appservice.domain.classification import Classification
from etb_appservice.matrix import chronicle
from etb_appservice.matrix.keeper import Keeper
from etb_appservice.matrix.results import Held
from etb_appservice.matrix.store import CryptoStore, open_crypto_database
from tests.harness.postgres import Postgres

ROOM = "!room:x"
OURS, THEIRS = "o" * 43, "t" * 43
INTERNAL = Classification.INTERNAL
HOUR_MS = 3_600_000
Run = Callable[[Callable[[CryptoStore], Awaitable[Any]]], Awaitable[Any]]


@pytest.fixture(params=["sqlite", "postgres"])
async def run(request: pytest.FixtureRequest, postgres: Postgres, tmp_path: Path) -> AsyncIterator[Run]:
    """Does something on a store of our own, as the cipher does."""
    url = await postgres.fresh_database() if request.param == "postgres" else f"sqlite:///{tmp_path / 'crypto.db'}"
    keeper = Keeper()
    database = await keeper.run(lambda: open_crypto_database(url))
    store = CryptoStore("@etb:x/DEVICE", "a test's own key", database)

    async def run(work: Callable[[CryptoStore], Awaitable[Any]]) -> Any:
        async def inside() -> Any:
            async with store.transaction():
                return await work(store)

        return await keeper.run(inside)

    yield run
    await keeper.close()
    await database.stop()


def a_session(device: str, room_id: str = ROOM) -> InboundGroupSession:
    return InboundGroupSession(
        OutboundGroupSession().session_key,
        signing_key=SigningKey("s" * 43),
        sender_key=IdentityKey(device),
        room_id=RoomID(room_id),
    )


async def held(run: Run, since_ms: int = 0, room_id: str = ROOM) -> Sequence[Held]:
    found: Sequence[Held] = await run(lambda store: store.chronicle.held(room_id, since_ms))
    return found


async def made(
    run: Run, level: Classification | None = INTERNAL, *, is_marked: bool = True
) -> InboundGroupSession:
    session = a_session(OURS)

    async def work(store: CryptoStore) -> None:
        await store.put_group_session(RoomID(ROOM), IdentityKey(OURS), SessionID(session.id), session)
        await store.chronicle.made(ROOM, session.id, is_marked=is_marked, level=level)

    await run(work)
    return session


async def came(run: Run, session: InboundGroupSession, *, is_marked: bool = True) -> bool:
    kept: bool = await run(lambda store: store.keep_room_key(session, is_marked=is_marked))
    return kept


async def heard(run: Run, session: InboundGroupSession, index: int, at_ms: int) -> None:
    event_id = EventID(f"${session.id[:5]}{index}")
    await run(
        lambda store: store.validate_message_index(
            session.sender_key, SessionID(session.id), event_id, index, at_ms
        )
    )


async def said(run: Run, session: InboundGroupSession, hour: int, index: int) -> None:
    await run(lambda store: store.chronicle.said(session.id, hour, index))


async def test_ours_and_those_in_which_somebody_was_heard_are_told_latest_first(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = chronicle.now_ms()
    moments = iter(range(now, now + 1000))
    monkeypatch.setattr(chronicle, "now_ms", lambda: next(moments))
    ours, theirs, unheard = await made(run), a_session(THEIRS), a_session(THEIRS)
    for session in (theirs, unheard):
        assert await came(run, session)
    await heard(run, theirs, 0, now - 5)
    found = await held(run)
    assert [(one.session_id, one.device, one.is_ours, one.is_marked) for one in found] == [
        (theirs.id, THEIRS, False, True),
        (ours.id, OURS, True, True),
    ]
    assert [(one.level, one.heard_ms, one.start) for one in found] == [(None, now - 5, 0), (INTERNAL, None, 0)]
    assert now <= found[1].came_ms < found[0].came_ms
    assert await held(run, room_id="!other:x") == []


async def test_ours_without_a_level_was_never_said_to_have_one(run: Run) -> None:
    await made(run, level=None)
    assert await held(run) == []


async def test_a_mark_is_lost_once_and_never_won(run: Run) -> None:
    marked, unmarked = a_session(THEIRS), a_session(THEIRS)
    for session in (marked, unmarked):
        await came(run, session, is_marked=session is marked)
        await heard(run, session, 0, 1)
    assert {one.session_id: one.is_marked for one in await held(run)} == {marked.id: True, unmarked.id: False}
    for session in (marked, unmarked):
        await came(run, session, is_marked=session is unmarked)
    assert [one.is_marked for one in await held(run)] == [False, False]


async def test_somebody_elses_word_changes_no_mark(run: Run) -> None:
    session = a_session(THEIRS)
    await came(run, session)
    await heard(run, session, 0, 1)
    stolen = InboundGroupSession.import_session(
        session.export_session(0), SigningKey("m" * 43), IdentityKey("m" * 43), RoomID(ROOM)
    )
    assert not await came(run, stolen, is_marked=False)
    [one] = await held(run)
    assert (one.device, one.is_marked) == (THEIRS, True)


async def test_ours_begins_with_an_hour_and_theirs_behind_what_is_older(run: Run) -> None:
    ours, theirs = await made(run), a_session(THEIRS)
    await came(run, theirs)
    now = chronicle.now_ms()
    for hours, index in ((1, 4), (1, 6), (3, 9)):
        await said(run, ours, chronicle.hour_of(now) + hours, index)
        await heard(run, theirs, index, now + hours * HOUR_MS)

    async def starts(hours: int) -> dict[str, int | None]:
        return {one.session_id: one.start for one in await held(run, now + hours * HOUR_MS)}

    assert await starts(0) == {ours.id: 0, theirs.id: 0}
    assert await starts(1) == {ours.id: 4, theirs.id: 0}
    assert await starts(2) == {ours.id: 9, theirs.id: 7}
    assert await starts(4) == {ours.id: None, theirs.id: None}


async def test_what_is_wiped_is_forgotten(run: Run) -> None:
    await made(run)
    await run(lambda store: store.reset(wipe=False))
    assert len(await held(run)) == 1
    await run(lambda store: store.reset(wipe=True))
    assert await held(run) == []
