"""Three homeservers over TLS on loopback, each with a host name of its own, for tests of who may federate.

    home.test     127.0.0.2   our side: knows an application service for each slot
    partner.test  127.0.0.3   an organisation that is admitted where a test admits it
    other.test    127.0.0.4   one that never is

How to use it (`ground` is a fixture of tests/federation/, one for the session):

    async def test_...(ground: Ground):
        async with ground.user(ground.partner, "carol") as carol:          # without encryption, on one server
            await carol.join(room, via=ground.home.server_name)            # `via`: a server that is in the room

    Scene.open(folder, ground.home, ground.take_slot(), etb, ...)          # the service itself, on home
    JsClient.start(ground.partner.url, "carol", PASSWORD)                  # an encrypted client on partner

A server's name is `partner.test:PORT` (`ground.partner.server_name`), what an ACL names is `partner.test`
(`ground.partner.host`): the specification has ports ignored, see `acl`. Names of users are shared by all tests of
a session: end them in the slot's id. `ground.answered` waits until a server has taken or refused an event. A test
that stops or breaks a server starts it again.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.harness.certificates import Authority
from tests.harness.http import Json, MatrixUser
from tests.harness.processes import free_port
from tests.harness.scene import eventually
from tests.harness.synapse import Federation, Slot, Synapse, write_slot

HOSTS = {"home.test": "127.0.0.2", "partner.test": "127.0.0.3", "other.test": "127.0.0.4"}
"""`.test` is nobody's (RFC 2606)."""
_SLOTS = 24


@dataclass(frozen=True, slots=True)
class Ground:
    """The three of them, running."""

    home: Synapse
    partner: Synapse
    other: Synapse
    authority: Path
    """The certificate that vouches for all three."""
    _free: Iterator[Slot]

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path) -> AsyncIterator[Self]:
        """Start all three side by side (a few seconds); they are stopped at the end."""
        authority = Authority.make(directory / "authority")
        speaks = {name: Federation(name, free_port(at), authority, HOSTS) for name, at in HOSTS.items()}
        home_name = f"home.test:{speaks['home.test'].port}"
        slots = [write_slot(directory, home_name, f"etb{number}") for number in range(1, _SLOTS + 1)]
        starting = (
            Synapse.start(
                directory / name, server_name=f"{name}:{federation.port}", federation=federation,
                registrations=[slot.registration_path for slot in slots] if name == "home.test" else [],
            )
            for name, federation in speaks.items()
        )  # fmt: skip
        started = await asyncio.gather(*starting, return_exceptions=True)
        servers = [one for one in started if isinstance(one, Synapse)]
        try:
            for one in started:
                if isinstance(one, BaseException):
                    raise one
            home, partner, other = servers
            home.slots = slots
            yield cls(home, partner, other, authority.certificate_path, iter(slots))
        finally:
            await asyncio.gather(*(server.stop() for server in servers))

    def take_slot(self) -> Slot:
        """An application service of home that nobody has used."""
        try:
            return next(self._free)
        except StopIteration:
            raise RuntimeError(f"all {_SLOTS} slots are taken: raise _SLOTS in tests/harness/ground.py") from None

    @asynccontextmanager
    async def user(self, server: Synapse, localpart: str = "") -> AsyncIterator[MatrixUser]:
        """A new user of one of the servers, without encryption."""
        async with await server.user(localpart or f"user-{secrets.token_hex(4)}") as user:
            yield user

    async def answered(self, sender: Synapse, receiver: Synapse, event_id: str) -> None:
        """Wait until `receiver` has answered the transaction in which `sender` sent it an event; taken or refused.

        Afterwards, what isn't in `receiver.stored_events` never will be.
        """

        async def look() -> bool:
            """By the sender's own books, and the receiver's of what it has taken and not yet looked at."""
            was_answered = sender.query(
                "SELECT 1 FROM destinations JOIN events ON event_id = ?"
                " WHERE destination = ? AND last_successful_stream_ordering >= stream_ordering",
                event_id, receiver.server_name,
            )  # fmt: skip
            staged = "SELECT 1 FROM federation_inbound_events_staging WHERE event_id = ?"
            return bool(was_answered) and not receiver.query(staged, event_id)

        await eventually(look, f"{receiver.host}'s answer to {sender.host}")


def acl(*servers: Synapse) -> Json:
    """The content of an `m.room.server_acl` that lets in these and nobody else.

    Servers ask it with the other's name less its port, but Synapse asks it with its own name whole before it sets
    one, and refuses to be shut out: so each stands there both ways.
    """
    names = [name for server in servers for name in (server.host, server.server_name)]
    return {"allow": names, "deny": [], "allow_ip_literals": False}
