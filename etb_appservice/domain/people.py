"""Who is who: ETB usernames and Matrix user ids, in both directions, by the operator's configuration.

An exact entry wins over the template. A Matrix id that the template could have made belongs to that username
only when no entry gives the username another id, nor the id to another username; an id that several entries claim
speaks for none of them: else two people could speak as one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from etb_appservice.domain.ids import UserId, Username

_LOCALPART = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._=-/+")


@dataclass(frozen=True, slots=True)
class PeopleMap:
    """`template` such as `@{username}:example.org`, or empty for entries only; `entries` by ETB username."""

    template: str = ""
    entries: Mapping[Username, UserId] = field(default_factory=dict)
    _claims: dict[UserId, list[Username]] = field(init=False, repr=False, compare=False)
    """The entries the other way round: asked for each member of a room."""

    def __post_init__(self) -> None:
        """Turn the entries round, once."""
        claims: dict[UserId, list[Username]] = {}
        for username, user_id in self.entries.items():
            claims.setdefault(user_id, []).append(username)
        object.__setattr__(self, "_claims", claims)

    def user_id(self, username: Username) -> UserId | None:
        """The Matrix id of an ETB user, or None when nothing maps them.

        A username that can't be a localpart (Matrix specification, "User identifiers") is not mapped by template.

        >>> PeopleMap("@{username}:x.org").user_id(Username("alice"))
        '@alice:x.org'
        """
        if username in self.entries:
            return self.entries[username]
        if self.template and username and set(username) <= _LOCALPART:
            made = UserId(self.template.format(username=username))
            return None if made in self._claims else made
        return None

    def username(self, user_id: UserId) -> Username | None:
        """The ETB user who is behind a Matrix id, or None for a stranger."""
        claims = self._claims.get(user_id)
        if claims:
            return claims[0] if len(claims) == 1 else None
        head, _, tail = self.template.partition("{username}")
        if self.template and user_id.startswith(head) and user_id.endswith(tail):
            candidate = Username(user_id[len(head) : len(user_id) - len(tail)])
            if self.user_id(candidate) == user_id:
                return candidate
        return None
