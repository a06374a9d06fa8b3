"""Who is who: ETB usernames and Matrix user ids, in both directions.

By the operator's configuration, else by what people have linked themselves, else by the operator's template. A
ghost's id is its username's, whatever else that one has: a person is one person on both sides. It is never the
answer to where somebody is to be invited: a ghost comes when its person speaks.

An exact entry wins over the template. A Matrix id that the template could have made belongs to that username
only when no entry gives the username another id, nor the id to another username; an id that several entries claim
speaks for none of them: else two people could speak as one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from etb_appservice.domain.ghosts import Ghosts
from etb_appservice.domain.ids import UserId, Username

_LOCALPART = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._=-/+")


class Links:
    """Who has linked themselves, as the store has it: kept here to be asked without it, changed after a commit."""

    def __init__(self) -> None:
        self._by_name: dict[Username, UserId] = {}
        self._by_id: dict[UserId, Username] = {}

    def put(self, username: Username, user_id: UserId | None) -> None:
        """This is their Matrix id now; None: they have none."""
        before = self._by_name.pop(username, None)
        if before is not None:
            self._by_id.pop(before, None)
        if user_id is not None:
            self._by_name[username] = user_id
            self._by_id[user_id] = username

    def forget(self) -> None:
        """Nobody has, until the store says so."""
        self._by_name.clear()
        self._by_id.clear()

    def user_id(self, username: Username) -> UserId | None:
        """Whom an ETB user has linked."""
        return self._by_name.get(username)

    def username(self, user_id: UserId) -> Username | None:
        """By whom a Matrix id is linked."""
        return self._by_id.get(user_id)


@dataclass(frozen=True, slots=True)
class PeopleMap:
    """`template` such as `@{username}:example.org`, or empty for entries only; `entries` by ETB username."""

    template: str = ""
    entries: Mapping[Username, UserId] = field(default_factory=dict)
    ghosts: Ghosts = field(default_factory=Ghosts)
    links: Links = field(default_factory=Links, compare=False)
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
        linked = self.links.user_id(username)
        if linked is not None and linked not in self._claims:
            return linked
        if self.template and username and set(username) <= _LOCALPART:
            made = UserId(self.template.format(username=username))
            is_ghosts = bool(self.ghosts.prefix) and made.startswith(self.ghosts.prefix)
            return None if is_ghosts or made in self._claims or self.links.username(made) else made
        return None

    def username(self, user_id: UserId) -> Username | None:
        """The ETB user who is behind a Matrix id, or None for a stranger."""
        if (speaks_for := self.ghosts.username(user_id)) is not None:
            return speaks_for
        claims = self._claims.get(user_id)
        if claims:
            return claims[0] if len(claims) == 1 else None
        linked = self.links.username(user_id)
        if linked is not None:
            return None if linked in self.entries else linked
        head, _, tail = self.template.partition("{username}")
        if self.template and user_id.startswith(head) and user_id.endswith(tail):
            candidate = Username(user_id[len(head) : len(user_id) - len(tail)])
            if self.user_id(candidate) == user_id:
                return candidate
        return None
