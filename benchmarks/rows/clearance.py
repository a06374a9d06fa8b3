"""Need to know: what it costs to remove a hundred people after a raise, and to ask who may be told what.

People are removed one after another, as Synapse takes a room's events in a line anyway; beside the raw kicks in a
line stand raw kicks ten at a time. Ours is measured from just before ETB's webhook, the floor from just before the
first kick, both to the last person's removal by Synapse's clock. What deciding costs is CPU in this process, over
the reads that any command makes.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from benchmarks.etb_at_once import PEOPLE
from benchmarks.rows.incident import report
from benchmarks.stand import PASSWORD, Stand, stand, until
from benchmarks.table import Row, paired
from etb_appservice.domain.clearance import Right, Subject, decide
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.roles import Admitted
from etb_appservice.flows.standing import actor_of
from etb_appservice.matrix.audience import audience_from
from etb_appservice.ports import Work
from tests.harness.cast import etb_user, policy_of
from tests.harness.house import House
from tests.harness.kit import house_at

_PEOPLE = 100
_MEMBERS = 50
_CALLS = 400
_AT_ONCE = 10
_UNSEEN_S = 4
"""Sooner nobody looks how far it is: looking would make the homeserver work."""
_ECHOES_S = 10
"""So long the echoes of a hundred joins are worked on; ours and the floor start after them."""


async def rows(folder: Path, pairs: int) -> list[Row]:
    """Removals on a real Synapse, then the CPU of deciding."""
    return [
        *await _removals(folder / "removals", max(2, min(pairs, 3))),
        *await _deciding(folder / "house", pairs),
    ]


# --- removing -------------------------------------------------------------------------------------------------


async def _removals(folder: Path, pairs: int) -> list[Row]:
    async with stand(folder) as here:
        await here.service()
        await here.plain_floor()
        for name in PEOPLE:
            await here.synapse.register(name, PASSWORD)
        # Of no application service: each removal is pushed to the one that removes, in both rooms alike.
        names = [f"c{number}" for number in range(_PEOPLE)]
        crowd = {here.synapse.mxid(name): await here.synapse.register(name, PASSWORD) for name in names}
        line, abreast = [], []
        for turn in range(pairs + 1):
            # Which of both comes first changes from pair to pair.
            ours = await _ours(here, crowd) if turn % 2 else 0.0
            one, many = await _raw(here, crowd, 1), await _raw(here, crowd, _AT_ONCE)
            ours = ours or await _ours(here, crowd)
            if turn:
                line.append((ours, one))
                abreast.append((ours, many))
        name = f"removing {_PEOPLE} people after a raise, over raw kicks"
        return [
            paired(f"{name} in a line", line, target="1.5", unit="ms"),
            paired(f"{name}, {_AT_ONCE} at a time", abreast, target="-", unit="ms"),
        ]


async def _ours(here: Stand, crowd: Mapping[str, str]) -> float:
    """Milliseconds from the webhook of a raised incident until nobody of the crowd is in its room.

    `crowd`: the people's ids and their access tokens.
    """
    here.etb.clearances = {who.split(":")[0][1:]: "INTERNAL" for who in crowd}
    here.etb.also_on_call = list(here.etb.clearances)
    row = await report(here, data_classification="INTERNAL")
    async with here.as_ours() as get:
        room = await here.room_of(get, row["id"])

        async def members(word: str) -> list[str]:
            found = await get(f"rooms/{quote(room)}/members?membership={word}")
            events = found["chunk"] if found else []  # an alias stands a moment before its room is joined
            return [event["state_key"] for event in events if event["state_key"] in crowd]

        async def all_are(word: str) -> bool:
            return len(await members(word)) == len(crowd)

        await until(lambda: all_are("invite"), "the invitations", 120, every_s=1)
        await _each(crowd, lambda who: here.join(crowd[who], room), 8)
        await until(lambda: all_are("join"), "everybody in the room", every_s=1)
        await asyncio.sleep(_ECHOES_S)
        began = time.time() * 1000
        await report(here, **{**row, "data_classification": "RESTRICTED", "updated_at": _now()})
        await asyncio.sleep(_UNSEEN_S)
        await until(lambda: all_are("leave"), "everybody out of the room", 120, every_s=2)
        return _last(await get(f"rooms/{quote(room)}/members?membership=leave")) - began


async def _raw(here: Stand, crowd: Mapping[str, str], at_once: int) -> float:
    """The kicks alone, by somebody who knows whom; milliseconds."""
    made = await here.as_floor_bot("POST", "createRoom", {"preset": "private_chat", "room_version": "12"})
    room = str(made["room_id"])
    for who in crowd:
        await here.as_floor_bot("POST", f"rooms/{quote(room)}/invite", {"user_id": who})
    await _each(crowd, lambda who: here.join(crowd[who], room), 8)
    headers = {"Authorization": f"Bearer {here.floor.as_token}"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def kick(who: str) -> None:
            url = f"{here.synapse.url}/_matrix/client/v3/rooms/{quote(room)}/kick"
            body = {"user_id": who, "reason": "You are no longer permitted to be in this room."}
            async with http.post(url, params={"user_id": here.floor.bot_mxid}, json=body) as response:
                response.raise_for_status()
                await response.read()

        await asyncio.sleep(_ECHOES_S)
        began = time.time() * 1000
        await _each(crowd, kick, at_once)
    return _last(await here.as_floor_bot("GET", f"rooms/{quote(room)}/members?membership=leave")) - began


def _last(members: dict[str, Any]) -> float:
    """When the last of them came to be so, by Synapse's clock in milliseconds."""
    return float(max(event["origin_server_ts"] for event in members["chunk"]))


async def _each(people: Collection[str], do: Callable[[str], Awaitable[Any]], at_once: int) -> None:
    gate = asyncio.Semaphore(at_once)

    async def one(who: str) -> None:
        async with gate:
            await do(who)

    await asyncio.gather(*(one(who) for who in people))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.999Z", time.gmtime())


# --- deciding -------------------------------------------------------------------------------------------------


async def _deciding(folder: Path, pairs: int) -> list[Row]:
    folder.mkdir(parents=True)  # noqa: ASYNC240 - before anything runs
    names = [Username(f"u{number}") for number in range(_MEMBERS)]
    house = await house_at(folder, folder / "template.db", policy=policy_of(people=PeopleMap("@{username}:x.org")))
    try:
        house.know("alice", "bob", *names)
        await house.open_for_alice()
        room = await house.room()
        assert room.room_id is not None
        async with house.db.work() as work:
            for name in names:
                await work.incidents.put_user(etb_user(name), house.clock.now_ms())
                await work.cases.put(room.war_room, Admitted(id=name, username=name, by="x", at_ms=1))
                await work.rooms.set_member(room.room_id, UserId(f"@{name}:x.org"), "join")
        last = UserId(f"@{names[-1]}:x.org")
        audience_of = audience_from(house.store, house.policy)

        async def deciding(work: Work) -> None:
            actor = await actor_of(work, room, last, house.policy, is_cross_signed=True)
            assert decide(actor, Right.MEMBER, Subject(classification=room.classification)).allowed

        async def reading(work: Work) -> None:
            """What a command asks our tables anyway, and holds until it has answered."""
            assert room.incident_id is not None
            assert room.room_id is not None
            found = (
                await work.incidents.user(names[-1]),
                await work.incidents.get(room.incident_id),
                await work.cases.standing(room.war_room),
                await work.incidents.on_call(),
                await work.rooms.membership(room.room_id, last),
            )
            assert found[-1] == "join"

        async def listing(work: Work) -> None:
            """Who is in the room, whoever may be."""
            assert room.room_id is not None
            await work.rooms.by_id(room.room_id)
            await work.rooms.members(room.room_id, "join")
            await work.rooms.members(room.room_id, "invite")

        async def recipients() -> None:
            assert room.room_id is not None
            found = await audience_of(room.room_id, ())
            assert found is not None
            assert len(found.joined) > _MEMBERS

        decided, keyed = [], []
        for turn in range(pairs + 1):
            pair = await _by_turns(house, deciding, reading)
            keys = (await _alone(recipients), await _alone(lambda: _in_view(house, listing)))
            if turn:
                decided.append(pair)
                keyed.append(keys)
        more = statistics.median(ours - floor for ours, floor in decided)
        return [
            paired(
                f"deciding a command in a room of {_MEMBERS}, over its reads alone",
                decided,
                target="floor + 100",
                unit="µs",
                each=_CALLS,
                note=f"CPU; {more:.0f} µs more, in the middle of the pairs",
            ),
            paired(
                f"who gets a message's key among {_MEMBERS}, over listing them",
                keyed,
                target="-",
                unit="µs",
                each=_CALLS,
                note="CPU",
            ),
        ]
    finally:
        await house.stop()


async def _in_view(house: House, do: Callable[[Work], Awaitable[None]]) -> None:
    async with house.store.view() as work:
        await do(work)


async def _by_turns(house: House, *both: Callable[[Work], Awaitable[None]]) -> tuple[float, float]:
    """Microseconds of CPU a call, all threads counted; call by call, so that both meet the same noise."""
    spent = [0.0, 0.0]
    async with house.store.view() as work:
        for call in range(_CALLS + 20):
            for which, do in enumerate(both):
                before = time.process_time()
                await do(work)
                if call >= 20:
                    spent[which] += time.process_time() - before
    ours, floor = (one / _CALLS * 1e6 for one in spent)
    return ours, floor


async def _alone(do: Callable[[], Awaitable[None]]) -> float:
    for _ in range(20):
        await do()
    before = time.process_time()
    for _ in range(_CALLS):
        await do()
    return (time.process_time() - before) / _CALLS * 1e6
