"""The key loop: a position only after everything before it, and no death by a failing homeserver."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from mautrix.api import Method
from mautrix.errors import MatrixConnectionError

from etb_appservice.domain.outcomes import Later
from etb_appservice.matrix.keysync import KeySync, RoomWatch, SeenEvent, seen_events
from etb_appservice.matrix.results import SyncResult

NEWS: dict[str, Any] = {"to_device": {"events": [{"type": "m.dummy"}]}}


class _Server:
    """Answers /sync from a list; an exception in it is raised."""

    def __init__(self, *answers: Any, device: str | None = "D") -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.api = self
        self.as_device_id = device
        self.changed = asyncio.Condition()

    async def has_asked(self, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.asked) >= count)

    async def request(self, _method: Method, _path: object, _content: Any, *, query_params: dict[str, str]) -> Any:
        self.asked.append(query_params)
        async with self.changed:
            self.changed.notify_all()
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class _Cipher:
    def __init__(self, *, fail: BaseException | None = None) -> None:
        self.fail = fail
        self.seen: list[tuple[str, str]] = []

    async def handle_sync(self, sync: Mapping[str, Any], *, since: str) -> SyncResult:
        self.seen.append((since, sync["next_batch"]))
        if self.fail is not None:
            raise self.fail
        return SyncResult()


class _Clock:
    """`stands_at`: a sleep of so many seconds never ends."""

    def __init__(self, *, stands_at: float | None = None) -> None:
        self.slept: list[float] = []
        self.now_s = 0.0
        self.stands = asyncio.Event()
        self._stands_at = stands_at

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds == self._stands_at:
            self.stands.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)


class _Position:
    def __init__(self, *, fail: BaseException | None = None) -> None:
        self.fail = fail
        self.stored: list[str] = []
        self.any = asyncio.Event()

    async def __call__(self, _result: Any, position: str) -> None:
        if self.fail is not None:
            raise self.fail
        self.stored.append(position)
        self.any.set()


def _loop(server: Any, cipher: Any, handled: Any, position: str | None = "s1") -> KeySync:
    return KeySync(server, cipher, _Clock(), position=position, handled=handled)


async def test_the_position_is_stored_after_the_keys_were_handled() -> None:
    server, cipher, stored = _Server({"next_batch": "s2"}), _Cipher(fail=OSError("disk full")), _Position()
    loop = _loop(server, cipher, stored)
    with pytest.raises(OSError, match="disk full"):
        await loop.turn()
    assert stored.stored == []
    assert loop.position == "s1"


async def test_a_position_that_could_not_be_stored_is_not_used() -> None:
    server, cipher = _Server({"next_batch": "s2"}, {"next_batch": "s2"}), _Cipher()
    loop = _loop(server, cipher, _Position(fail=OSError("disk full")))
    for _ in range(2):
        with pytest.raises(OSError, match="disk full"):
            await loop.turn()
    assert [query["since"] for query in server.asked] == ["s1", "s1"]


async def test_no_request_takes_rooms_or_waits_at_the_homeserver() -> None:
    server, stored = _Server({"next_batch": "s1"}, {"next_batch": "s2", **NEWS}), _Position()
    loop = _loop(server, _Cipher(), stored, None)
    await loop.turn()
    await loop.turn()
    assert [("since" in query, query["timeout"]) for query in server.asked] == [(False, "0"), (True, "0")]
    assert all('"rooms": []' in query["filter"] for query in server.asked)
    assert stored.stored == ["s1", "s2"]


async def test_what_brings_nothing_costs_no_write_and_is_asked_on_from() -> None:
    server = _Server(
        {"next_batch": "s2"}, {"next_batch": "s3"}, {"next_batch": "s4", **NEWS}, {"next_batch": "s5"}
    )
    cipher, stored = _Cipher(), _Position()
    loop = _loop(server, cipher, stored)
    for _ in range(4):
        await loop.turn()
    assert [query["since"] for query in server.asked] == ["s1", "s2", "s3", "s4"]
    assert stored.stored == ["s2", "s4"]
    # A restart would ask from what was stored: what is handled must be known again by that position.
    assert cipher.seen == [("s1", "s2"), ("s2", "s4")]


@pytest.mark.parametrize(
    "news",
    [
        {"to_device": {"events": [{"type": "m.dummy"}]}},
        {"device_lists": {"changed": ["@a:x"]}},
        {"device_lists": {"left": ["@a:x"]}},
        {"device_one_time_keys_count": {"signed_curve25519": 3}},
        {"device_unused_fallback_key_types": []},
        {"to_device": "odd"},
    ],
)
async def test_whatever_it_brings_is_handled(news: dict[str, Any]) -> None:
    server, stored = _Server({"next_batch": "s2"}, {"next_batch": "s3", **news}), _Position()
    loop = _loop(server, _Cipher(), stored)
    await loop.turn()
    await loop.turn()
    assert stored.stored == ["s2", "s3"]


async def test_a_position_is_kept_now_and_then_though_nothing_came() -> None:
    server, stored, clock = _Server({"next_batch": "s2"}, {"next_batch": "s3"}), _Position(), _Clock()
    loop = KeySync(server, _Cipher(), clock, position="s1", handled=stored)  # type: ignore[arg-type]
    await loop.turn()
    clock.now_s = 31.0
    await loop.turn()
    assert stored.stored == ["s2", "s3"]


async def test_a_missed_key_is_asked_for_at_once() -> None:
    server, clock = _Server({"next_batch": "s2"}, {"next_batch": "s3"}), _Clock(stands_at=0.95)
    loop = KeySync(server, _Cipher(), clock, position="s1", handled=_Position())  # type: ignore[arg-type]
    task = asyncio.create_task(loop.run())
    async with asyncio.timeout(5):
        await clock.stands.wait()
        assert len(server.asked) == 1
        loop.hurry()
        await server.has_asked(2)
    task.cancel()
    assert clock.slept[:2] == [0.05, 0.95]


@pytest.mark.parametrize("trouble", [MatrixConnectionError("gone"), {"no": "position"}, ["odd"]])
async def test_a_failing_homeserver_is_asked_again_after_a_pause(trouble: Any) -> None:
    server, stored, clock = _Server(trouble, trouble, {"next_batch": "s2"}), _Position(), _Clock()
    task = asyncio.create_task(KeySync(server, _Cipher(), clock, position="s1", handled=stored).run())  # type: ignore[arg-type]
    await asyncio.wait_for(stored.any.wait(), 5)
    task.cancel()
    assert stored.stored == ["s2"]
    assert len([pause for pause in clock.slept if pause > 0.05 and pause != 0.95]) == 2


async def test_the_room_watch_refuses_to_carry_a_device() -> None:
    with pytest.raises(ValueError, match="device id"):
        RoomWatch(_Server(), _Clock(), position=None, seen=_Position())  # type: ignore[arg-type]


async def test_the_room_watch_tells_event_ids_and_gaps() -> None:
    answer = {
        "next_batch": "s2",
        "rooms": {
            "join": {
                "!a": {
                    "timeline": {
                        "events": [{"event_id": "$1", "sender": "@x:y"}],
                        "limited": True,
                        "prev_batch": "p",
                    }
                },
                "!b": {"timeline": {"events": [{"event_id": "$2"}, {"odd": 1}, 7]}},
                "!c": None,
            },
            "leave": {"!d": {"timeline": {"events": [{"event_id": "$3"}]}}},
        },
    }
    told: list[Any] = []

    async def seen(events: Any, position: str) -> None:
        told.append((events, position))

    server = _Server(answer, device=None)
    await RoomWatch(server, _Clock(), position="s1", seen=seen).turn()  # type: ignore[arg-type]
    assert told == [
        (
            (
                SeenEvent("!a", "$1", "@x:y", limited=True, prev_batch="p"),
                SeenEvent("!b", "$2", "", limited=False, prev_batch=None),
                SeenEvent("!d", "$3", "", limited=False, prev_batch=None),
            ),
            "s2",
        )
    ]


@pytest.mark.parametrize(
    "odd", [{}, {"rooms": 3}, {"rooms": {"join": []}}, {"rooms": {"join": {"!a": {"timeline": 1}}}}]
)
def test_an_odd_response_shows_no_events(odd: Any) -> None:
    assert seen_events(odd) == ()


async def test_the_homeservers_wish_to_wait_is_honoured() -> None:
    clock, stored = _Clock(), _Position()
    server = _Server(Later("slow down", after_s=42.0), {"next_batch": "s2"})
    task = asyncio.create_task(KeySync(server, _Cipher(), clock, position="s1", handled=stored).run())  # type: ignore[arg-type]
    await asyncio.wait_for(stored.any.wait(), 5)
    task.cancel()
    assert clock.slept[0] == 42.0
