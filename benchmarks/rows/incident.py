"""From an incident's report to its usable room: five invites, Space, card sent and pinned.

The floor makes the same calls raw, one after another on one connection, with everything known beforehand. Ours
is measured from just before the webhook is posted to the last event of the room, by Synapse's own clock.
"""

import asyncio
import itertools
import json
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from standardwebhooks import Webhook

from benchmarks.etb_at_once import PEOPLE, incident
from benchmarks.stand import PASSWORD, Stand, stand, until
from benchmarks.table import Row, paired

_NUMBERS = itertools.count(1)
_IDS = itertools.count(1)
_UNSEEN_S = 1.5


async def rows(folder: Path, pairs: int) -> list[Row]:
    """One row."""
    async with stand(folder) as here:
        await here.service()
        await here.plain_floor()  # takes its transactions, as any application service must
        for name in PEOPLE:
            await here.synapse.register(name, PASSWORD)
        space = await here.as_floor_bot("POST", "createRoom", {"creation_content": {"type": "m.space"}})
        measured = []
        for turn in range(pairs + 2):
            pair = (await _ours(here), await raw(here, str(space["room_id"])))
            if turn >= 2:
                measured.append(pair)
        return [
            paired("incident to usable room, over the same calls made raw", measured, target="1.25", unit="ms")
        ]


async def report(here: Stand, **fields: Any) -> dict[str, Any]:
    """Post an incident, or a change of one, to the service's webhook; ETB knows it from then on."""
    settings = json.loads((here.folder / f"service-{here.ours.id}" / "config.yaml").read_text())
    secret, listen = settings["webhook"]["secrets"][0], settings["gateway"]["listen"]
    row = incident(next(_NUMBERS)) | fields
    here.etb.known[row["id"]] = row
    body = json.dumps({"event": "incident.created", "incident": row})
    now = time.time()
    stamp = datetime.fromtimestamp(int(now), UTC)
    name = f"msg_{uuid.uuid4().hex}"
    headers = {
        "webhook-id": name,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": Webhook(secret).sign(name, stamp, body),
        "Content-Type": "application/json",
    }
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"http://{listen}/hooks/etb/incident/", data=body, headers=headers) as response,
    ):
        response.raise_for_status()
    return row


async def _ours(here: Stand) -> float:
    """Milliseconds."""
    began = time.time() * 1000
    row = await report(here)
    # Looking while it happens would make Synapse work for the onlooker; its own clock tells when it was done.
    await asyncio.sleep(_UNSEEN_S)
    async with here.as_ours() as get:
        room = await here.room_of(get, row["id"])

        async def pinned() -> Any:
            return await get(f"rooms/{quote(room)}/state/m.room.pinned_events/")

        await until(pinned, "the pin")
        space = await here.room_of(get, "incidents")

        async def child() -> Any:
            return await get(f"rooms/{quote(space)}/state/m.space.child/{quote(room)}")

        await until(child, "the Space's child")
        state = await get(f"rooms/{quote(room)}/state")
        invited = [
            event
            for event in state
            if event["type"] == "m.room.member" and event["state_key"] != here.ours.bot_mxid
        ]
        assert len(invited) == len(PEOPLE), invited
        times = [event["origin_server_ts"] for event in state]
        times += [
            event["origin_server_ts"]
            for event in await get(f"rooms/{quote(space)}/state")
            if event["type"] == "m.space.child" and event["state_key"] == room
        ]
        return float(max(times)) - began


async def raw(here: Stand, space: str) -> float:
    """The calls that have to be made, and nothing else; milliseconds."""
    number = next(_IDS)
    headers = {"Authorization": f"Bearer {here.floor.as_token}"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def call(method: str, path: str, body: Any) -> Any:
            async with http.request(
                method,
                f"{here.synapse.url}/_matrix/client/v3/{path}",
                params={"user_id": here.floor.bot_mxid},
                json=body,
            ) as response:
                response.raise_for_status()
                return await response.json()

        began = time.time() * 1000
        made = await call("POST", "createRoom", _room(number))
        room = quote(made["room_id"])
        await call("PUT", f"rooms/{quote(space)}/state/m.space.child/{room}", {"via": ["localhost"]})
        for name in PEOPLE:
            await call("POST", f"rooms/{room}/invite", {"user_id": f"@{name}:localhost"})
        await call("POST", "keys/query", {"device_keys": {f"@{name}:localhost": [] for name in PEOPLE}})
        sealed = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "A" * 2500, "session_id": "B" * 43}
        sent = await call("PUT", f"rooms/{room}/send/m.room.encrypted/card{number}", sealed)
        await call("PUT", f"rooms/{room}/state/m.room.pinned_events/", {"pinned": [sent["event_id"]]})
        return time.time() * 1000 - began


def _room(number: int) -> dict[str, Any]:
    encryption = {"algorithm": "m.megolm.v1.aes-sha2"}
    return {
        "preset": "private_chat",
        "visibility": "private",
        "room_version": "12",
        "room_alias_name": f"_floor1_{number}",
        "name": f"INC-{number:06} Measured incident {number}",
        "topic": "Send !help for what the bot can do.",
        "creation_content": {"m.federate": True},
        "initial_state": [
            {"type": "m.room.encryption", "state_key": "", "content": encryption},
            {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "invite"}},
            {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "shared"}},
            {"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": "forbidden"}},
        ],
        "power_level_content_override": {"invite": 100, "kick": 100, "ban": 100, "state_default": 100},
    }
