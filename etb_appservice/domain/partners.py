"""Partner organisations: whose people may be let into incidents although ETB doesn't know them, and how far.

A partner is configured once; into which incident it is let is decided there, by people (releasability). Until it
is, nobody of theirs is let in anywhere.
"""

from dataclasses import dataclass
from typing import Literal

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
        localpart, _, server = user_id.removeprefix("@").partition(":")
        if not user_id.startswith("@") or server not in self.servers:
            return False
        if not self.people and not self.patterns:
            return True
        return user_id in self.people or any(_fits(localpart, pattern) for pattern in self.patterns)


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
