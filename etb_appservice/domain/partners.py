"""Partner organisations: whose people may be let into incidents although ETB doesn't know them, and how far.

A partner is configured once; into which incident it is let is decided there, by people (releasability). Until it
is, nobody of theirs is let in anywhere.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.ids import UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """One organisation, by configuration."""

    name: str
    servers: frozenset[str]
    """Its homeservers' names, as they stand after the colon in its people's ids."""
    people: frozenset[UserId] = frozenset()
    """Who of these homeservers belongs to it; with nobody named here or below, everybody there does."""
    patterns: tuple[str, ...] = ()
    """The same by localpart, with `*` for any characters, such as `cert-*`."""
    ceiling: Classification = Classification.PUBLIC
    """The highest level its people may know."""
    roles: frozenset[OurRole] = frozenset()
    """What its people are in an incident into which it was let; with none they read, talk and ask."""

    def includes(self, user_id: UserId) -> bool:
        """Whether somebody belongs to it.

        >>> Partner(name="x", servers=frozenset({"b.org"}), patterns=("cert-*",)).includes(UserId("@cert-a:b.org"))
        True
        """
        localpart, server = user_id.removeprefix("@").partition(":")[0], server_of(user_id)
        if not user_id.startswith("@") or server not in self.servers:
            return False
        if not self.people and not self.patterns:
            return True
        return user_id in self.people or any(_fits(localpart, pattern) for pattern in self.patterns)


SERVER_ACL = "m.room.server_acl"


def server_of(user_id: str) -> str:
    """The homeserver of somebody, with its port if its name has one.

    >>> server_of("@ann:b.org:8448")
    'b.org:8448'
    """
    return user_id.partition(":")[2]


def acl_hosts(own: str, servers: Iterable[str] = ()) -> tuple[str, ...]:
    """The homeservers that a room's ACL names: our own and these, without ports, which an ACL knows nothing of.

    Our own stands there with its port too: Synapse refuses an ACL by which it would shut out itself, and looks for
    its whole name (synapse/events/validator.py).

    >>> acl_hosts("x.org:1", ["b.org:8448", "[::1]:80"])
    ('[::1]', 'b.org', 'x.org', 'x.org:1')
    """
    return tuple(sorted({own, *map(_host, (own, *servers))}))


def server_acl(hosts: Iterable[str]) -> dict[str, Any]:
    """The content of `m.room.server_acl` that admits exactly these (Matrix specification, "Server ACLs").

    Addresses instead of names are admitted only where one of them is such an address, as in a test network.
    """
    named = sorted(hosts)
    return {"allow": named, "allow_ip_literals": any(map(_is_address, named)), "deny": []}


def _host(server: str) -> str:
    host, colon, port = server.rpartition(":")
    return host if colon and port.isdecimal() else server


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerAdmitted:
    """A partner was let into an incident. The id is the partner's name within the war room."""

    kind: Literal["PartnerAdmitted"] = "PartnerAdmitted"
    id: str
    by: UserId
    at_ms: int
    people: tuple[UserId, ...] = ()
    """Who of theirs was invited."""
    is_open: bool = True
    """False once it was revoked."""


def _fits(word: str, pattern: str) -> bool:
    """Whether a word is as a pattern says, in which only `*` means anything; no expression of theirs is run."""
    first, *others = pattern.split("*")
    if not others:
        return word == pattern
    if not word.startswith(first):
        return False
    rest = word[len(first) :]
    for part in others[:-1]:
        _, found, rest = rest.partition(part) if part else ("", "*", rest)
        if not found:
            return False
    return rest.endswith(others[-1])
