"""From ETB's web page to a person's Matrix client, and back: the WebSocket here, matrix-js-sdk there.

Forwards, time counts from before the frame is sent until the syncing client has decrypted the message; back, from
before the client is asked to send until the socket has shown it. Two floors, each with the same client at the same
end: a plain send to sync by an account without encryption over bare HTTP, and an encrypted send between two such
clients. One block of each after the other, and again.
"""

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from benchmarks.etb_at_once import PEOPLE
from benchmarks.rows.incident import report
from benchmarks.stand import PASSWORD, Stand, stand, until
from benchmarks.table import Row, paired
from etb_appservice.domain.ghosts import ghosts_of
from etb_appservice.domain.ids import IncidentId, Username, war_room_id
from tests.harness.jsclient import JsClient

_EACH = 15
"""Below what one socket may send in ten seconds; every block has a socket of its own."""
_WEB = PEOPLE[1]
_LIMIT_S = 30.0
_TEXTS = itertools.count(1)
Say = Callable[[str], Awaitable[Any]]
Heard = Callable[[str], Awaitable[Any]]


@dataclass(slots=True)
class _Ears:
    """Whoever listens all the time: tells who waits for a text that it came."""

    waiting: dict[str, asyncio.Future[None]] = field(default_factory=dict)

    async def heard(self, text: str) -> None:
        """Until this text has come."""
        self.waiting[text] = asyncio.get_running_loop().create_future()
        await self.waiting[text]

    def has_come(self, text: str) -> None:
        if (waits := self.waiting.pop(text, None)) is not None:
            waits.set_result(None)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way that a message can go; the socket's are made anew with each socket."""

    say: Say
    heard: Heard


async def rows(folder: Path, pairs: int) -> list[Row]:
    """Forwards and back, each over both floors."""
    async with stand(folder) as here:
        service = await here.service(gateway={"public_url": "", "token_cache_s": 3600})
        bea, cleo = await here.person(PEOPLE[0]), await here.person("cleo")
        incident = await report(here)
        room = await here.enter(bea, incident)
        url = f"http://127.0.0.1:{service.public_port}/ws/chat/{war_room_id(IncidentId(incident['id']))}/"
        ghost = str(ghosts_of(f"@{here.ours.user_prefix}", "localhost").user_id(Username(_WEB)))
        sealed = await _sealed_room(bea, cleo)
        measured: dict[str, list[float]] = {name: [] for name in ("to", "plain to", "sealed to")}
        measured |= {name: [] for name in ("from", "plain from", "sealed from")}
        async with _plain(here, bea) as (clear, plain_say, plain_ears):
            floors = {
                "plain to": _Way(plain_say, _reads(bea, clear)),
                "sealed to": _Way(_sends(cleo, sealed), _reads(bea, sealed)),
                "plain from": _Way(_sends(bea, clear), plain_ears.heard),
                "sealed from": _Way(_sends(bea, sealed), _reads(cleo, sealed)),
            }
            for turn in range(pairs + 1):  # the first one warms up
                async with _socket(url) as (socket_say, socket_ears):
                    ours = {
                        "to": _Way(socket_say, _reads(bea, room, ghost)),
                        "from": _Way(_sends(bea, room), socket_ears.heard),
                    }
                    for name, found in measured.items():
                        took = await _block((ours | floors)[name])
                        if turn:
                            found.append(took)
    to, back = "the web to a client that decrypted it", "a client to the web's socket"
    return [
        _row(f"{to}, over a plain send to sync", measured, "plain", "to", "1.6"),
        _row(f"{to}, over an encrypted send between clients", measured, "sealed", "to", "1.25"),
        _row(f"{back}, over a plain send to sync", measured, "plain", "from", "1.6"),
        _row(f"{back}, over an encrypted send between clients", measured, "sealed", "from", "1.25"),
    ]


def _row(name: str, measured: dict[str, list[float]], floor: str, way: str, target: str) -> Row:
    pairs = list(zip(measured[way], measured[f"{floor} {way}"], strict=True))
    return paired(name, pairs, target=target, unit="ms", each=_EACH)


async def _block(way: _Way) -> float:
    """Milliseconds of one message, one after another: the median."""
    took = []
    for _ in range(_EACH):
        text = f"Message {next(_TEXTS):06}, which says how things stand with the queue."

        async def heard(text: str = text) -> float:
            await way.heard(text)
            return time.perf_counter()

        began = time.perf_counter()
        ended, _ = await asyncio.wait_for(asyncio.gather(heard(), way.say(text)), _LIMIT_S)
        took.append((ended - began) * 1000)
    return statistics.median(took)


def _sends(client: JsClient, room: str) -> Say:
    return lambda text: client.send(room, text)


def _reads(client: JsClient, room: str, sender: str | None = None) -> Heard:
    return lambda text: client.wait_for(room=room, sender=sender, body=text)


@asynccontextmanager
async def _socket(url: str) -> AsyncIterator[tuple[Say, _Ears]]:
    """Somebody of ETB's at the WebSocket."""
    ears = _Ears()
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, headers={"Authorization": f"Token {_WEB}"}) as ws,
    ):
        first = await ws.receive_json(timeout=_LIMIT_S)
        assert first["type"] == "connection_established", first["type"]

        async def listen() -> None:
            async for message in ws:
                frame = message.json()
                assert frame["type"] != "error", frame
                # Updated: its key came after it.
                if frame["type"] in {"chat_message", "message_updated"}:
                    ears.has_come(frame["message"]["content"])

        async with _meanwhile(listen()):
            yield lambda text: ws.send_json({"type": "chat_message", "content": text}), ears


@asynccontextmanager
async def _plain(here: Stand, bea: JsClient) -> AsyncIterator[tuple[str, Say, _Ears]]:
    """Pia, who has an account and no client: bare calls, and a /sync of one room's timeline that never rests."""
    token = await here.synapse.register("pia", PASSWORD)
    room = await bea.create_room(encrypted=False)
    await bea.invite(room, here.synapse.mxid("pia"))
    await here.join(token, room)
    ears = _Ears()
    api = f"{here.synapse.url}/_matrix/client/v3"
    timeline = {"types": ["m.room.message"]}
    only = json.dumps({"room": {"rooms": [room], "timeline": timeline, "state": {"types": []}}})
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:

        async def say(text: str) -> None:
            path = f"{api}/rooms/{quote(room)}/send/m.room.message/{next(_TEXTS)}"
            async with http.put(path, json={"msgtype": "m.text", "body": text}) as answer:
                answer.raise_for_status()
                await answer.read()

        async def listen() -> None:
            asked = {"filter": only, "timeout": "0"}
            while True:
                async with http.get(f"{api}/sync", params=asked) as answer:
                    answer.raise_for_status()
                    found = await answer.json()
                joined = found.get("rooms", {}).get("join", {}).get(room, {})
                for event in joined.get("timeline", {}).get("events", ()):
                    ears.has_come(str(event["content"].get("body", "")))
                asked |= {"since": found["next_batch"], "timeout": "30000"}

        async with _meanwhile(listen()):
            yield room, say, ears


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Beside what is done here, and ended with it; where it fails, this fails."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        task.cancel()


async def _sealed_room(bea: JsClient, cleo: JsClient) -> str:
    """Where two clients talk, and nobody else."""
    room = await bea.create_room()
    await bea.invite(room, cleo.user_id)
    await cleo.wait_for_invite(room=room)
    await cleo.join(room)

    async def joined() -> bool:
        return (await bea.members(room)).get(cleo.user_id) == "join"

    await until(joined, "cleo to join")
    return room
