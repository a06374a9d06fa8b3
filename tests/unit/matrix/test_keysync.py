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


class _Server:
    """Answers /sync from a list; an exception in it is raised."""

    def __init__(self, *answers: Any, device: str | None = "D") -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.api = self
        self.as_device_id = device

    async def request(self, _method: Method, _path: object, _content: Any, *, query_params: dict[str, str]) -> Any:
        self.asked.append(query_params)
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
    def __init__(self) -> None:
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
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


async def test_the_first_request_takes_no_rooms_and_does_not_wait() -> None:
    server, stored = _Server({"next_batch": "s1"}, {"next_batch": "s2"}), _Position()
    loop = _loop(server, _Cipher(), stored, None)
    await loop.turn()
    await loop.turn()
    assert [("since" in query, query["timeout"]) for query in server.asked] == [(False, "0"), (True, "30000")]
    assert all('"rooms": []' in query["filter"] for query in server.asked)
    assert stored.stored == ["s1", "s2"]


async def test_after_a_restart_the_first_request_does_not_wait_and_the_next_one_does() -> None:
    server, there = _Server({"next_batch": "s2"}, {"next_batch": "s3"}), asyncio.Event()

    async def stored(_result: SyncResult, position: str) -> None:
        if position == "s3":
            there.set()

    task = asyncio.create_task(KeySync(server, _Cipher(), _Clock(), position="s1", handled=stored).run())  # type: ignore[arg-type]
    await asyncio.wait_for(there.wait(), 5)
    task.cancel()
    assert [query["timeout"] for query in server.asked[:2]] == ["0", "30000"]


@pytest.mark.parametrize("trouble", [MatrixConnectionError("gone"), {"no": "position"}, ["odd"]])
async def test_a_failing_homeserver_is_asked_again_after_a_pause(trouble: Any) -> None:
    server, stored, clock = _Server(trouble, trouble, {"next_batch": "s2"}), _Position(), _Clock()
    task = asyncio.create_task(KeySync(server, _Cipher(), clock, position="s1", handled=stored).run())  # type: ignore[arg-type]
    await asyncio.wait_for(stored.any.wait(), 5)
    task.cancel()
    assert stored.stored == ["s2"]
    assert len(clock.slept) == 2
    assert all(pause > 0 for pause in clock.slept)


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
    assert clock.slept == [42.0]
