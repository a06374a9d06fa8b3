"""A homeserver in the hands of somebody who keeps to no rule: makes events up and sends them to others, signed.

    forger = Forger(ground.partner, HOSTS["home.test"])
    as_it_was = forger.look(room)                        # before a ban, say
    await forger.send(ground.home, forger.event(as_it_was, sender, "m.room.message", {...}))

It signs with the key of a Synapse of the ground, and reads that one's database for what an event must refer to;
the Synapse itself learns nothing of what is sent. What the receiver answers is what a test looks at.
"""

import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from signedjson.key import read_signing_keys
from signedjson.sign import sign_json
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS, RoomVersion
from synapse.crypto.event_signing import add_hashes_and_signatures
from synapse.events import make_event_from_dict

from tests.harness.synapse import Synapse

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """A room at one moment, as one server has it."""

    room_id: str
    version: RoomVersion
    heads: tuple[str, ...]
    depth: int
    state: Mapping[tuple[str, str], str]
    """Event ids by type and state key."""


class Forger:
    """Speaks for `synapse`; `receiver` is the loopback address at which the other server listens."""

    def __init__(self, synapse: Synapse, receiver: str, authority: Path) -> None:
        self.synapse = synapse
        self._receiver = receiver
        self._tls = ssl.create_default_context(cafile=str(authority))
        [self._key] = read_signing_keys([(synapse.directory / "signing.key").read_text().strip()])

    def look(self, room_id: str) -> View:
        """The room as it stands now."""
        query = self.synapse.query
        heads = query(
            "SELECT event_id, depth FROM event_forward_extremities JOIN events USING (event_id)"
            " WHERE event_forward_extremities.room_id = ?",
            room_id,
        )
        [(version,)] = query("SELECT room_version FROM rooms WHERE room_id = ?", room_id)
        state = query("SELECT type, state_key, event_id FROM current_state_events WHERE room_id = ?", room_id)
        return View(
            room_id,
            KNOWN_ROOM_VERSIONS[version],
            tuple(event_id for event_id, _ in heads),
            max(depth for _, depth in heads) + 1,
            {(kind, key): event_id for kind, key, event_id in state},
        )

    def event(
        self, view: View, sender: str, type: str, content: Json, *, state_key: str | None = None  # noqa: A002
    ) -> Json:  # fmt: skip
        """An event of anybody's, signed by this server."""
        wanted = [("m.room.power_levels", ""), ("m.room.member", sender)]
        made: Json = {
            "room_id": view.room_id,
            "sender": sender,
            "type": type,
            "content": content,
            "prev_events": list(view.heads),
            "auth_events": [view.state[key] for key in wanted if key in view.state],
            "depth": view.depth,
            "origin_server_ts": int(time.time() * 1000),
        }
        if state_key is not None:
            made["state_key"] = state_key
        add_hashes_and_signatures(view.version, made, self.synapse.server_name, self._key)
        return made

    async def send(self, receiver: Synapse, view: View, event: Json) -> tuple[str, str]:
        """Send it; the event's id, and the receiver's objection (empty when it took the event in).

        A receiver takes in, and keeps to itself, what its rules for the room refuse: see `fate`.
        """
        event_id = str(make_event_from_dict(dict(event), view.version).event_id)
        path = f"/_matrix/federation/v1/send/{secrets.token_hex(8)}"
        body: Json = {
            "origin": self.synapse.server_name,
            "origin_server_ts": event["origin_server_ts"],
            "pdus": [event],
            "edus": [],
        }
        signed = sign_json(
            {
                "method": "PUT",
                "uri": path,
                "origin": self.synapse.server_name,
                "destination": receiver.server_name,
                "content": body,
            },
            self.synapse.server_name,
            self._key,
        )
        [(key, signature)] = signed["signatures"][self.synapse.server_name].items()
        header = (
            f'X-Matrix origin="{self.synapse.server_name}",destination="{receiver.server_name}",'
            f'key="{key}",sig="{signature}"'
        )
        port = receiver.server_name.rpartition(":")[2]
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
            http.put(
                f"https://{self._receiver}:{port}{path}",
                json=body,
                headers={"Authorization": header, "Host": receiver.server_name},
                ssl=self._tls,
                server_hostname=receiver.host,
            ) as response,
        ):
            answer = await response.json()
            if response.status != 200:
                return event_id, str(answer)
            return event_id, str(answer["pdus"][event_id].get("error", ""))


def fate(receiver: Synapse, event_id: str) -> str:
    """What a server made of an event, by its own books.

    `unknown`, `waiting`, `rejected`, `soft-failed` (kept from everybody) or `taken`.
    """
    if receiver.query("SELECT 1 FROM federation_inbound_events_staging WHERE event_id = ?", event_id):
        return "waiting"
    rows = receiver.query(
        "SELECT rejection_reason, internal_metadata FROM events JOIN event_json USING (event_id)"
        " WHERE event_id = ?",
        event_id,
    )
    if not rows:
        return "unknown"
    [(rejected, metadata)] = rows
    if rejected is not None:
        return "rejected"
    return "soft-failed" if '"soft_failed":true' in metadata else "taken"
