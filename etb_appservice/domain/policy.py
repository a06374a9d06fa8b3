"""What the operator has decided, in the domain's own words. Flows get these and never the settings file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from etb_appservice.domain.classification import ClassificationMap
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.rooms import RoomPolicy


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting between tries: `first_s` doubles up to `most_s`, with full jitter; parked after `tries`."""

    first_s: float = 1.0
    most_s: float = 300.0
    tries: int = 10

    def wait_s(self, attempt: int, jitter: float) -> float:
        """Seconds before try number `attempt` + 1. `jitter` in 0..1; at least half of the step is waited."""
        step = min(self.most_s, self.first_s * 2.0 ** min(attempt - 1, 30))
        return float(step * (0.5 + jitter / 2))


@dataclass(frozen=True, slots=True)
class CommandPolicy:
    """`prefixes` begin a command; `per_minute` commands a sender may send, in bursts of `burst`."""

    prefixes: tuple[str, ...] = ("!", "/")
    per_minute: int = 30
    burst: int = 10
    etb_wait_s: float = 2.0
    """How long a command waits for ETB before it answers from the last known copy."""
    rights_fresh_s: float = 300.0
    """How long ETB's word on a person's account and clearance counts as fresh."""
    rights_hold_s: float = 24 * 3600.0
    """How long it holds while ETB can't be reached; after that: no."""


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """How long a message waits for its key, by our clock, before the room is told, and before we give up."""

    tell_after_s: float = 30.0
    give_up_after_s: float = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class RolePolicy:
    """What ETB's roles mean here: `meaning` by ETB's name; `by_category` whom an incident's category lets in."""

    meaning: Mapping[str, OurRole] = field(default_factory=dict)
    by_category: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def of(self, etb_roles: Iterable[str]) -> frozenset[OurRole]:
        """What somebody with these roles in ETB is here.

        >>> sorted(RolePolicy({"Incident Manager": "commander"}).of(["Incident Manager", "Cook"]))
        ['commander']
        """
        return frozenset(self.meaning[name] for name in etb_roles if name in self.meaning)

    def lets_in(self, etb_roles: Iterable[str], category: str) -> bool:
        """Whether a role of somebody's makes them a responder of every incident of this category."""
        return not self.by_category.get(category, frozenset()).isdisjoint(etb_roles)


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it."""

    rooms: RoomPolicy
    people: PeopleMap
    classification: ClassificationMap
    operators: frozenset[UserId] = frozenset()
    server_name: str = ""
    commands: CommandPolicy = field(default_factory=CommandPolicy)
    keys: KeyPolicy = field(default_factory=KeyPolicy)
    roles: RolePolicy = field(default_factory=RolePolicy)
    intake: Backoff = field(default_factory=lambda: Backoff(tries=5, most_s=30.0))
    outbox: Backoff = field(default_factory=lambda: Backoff(tries=300))
    own_users: str = "@_etb_"
    """What the ids of our ghosts begin with; the bot's id is in `rooms.bot`."""

    def is_ours(self, user_id: UserId) -> bool:
        """Whether a Matrix id is the bot or one of our ghosts."""
        return user_id == self.rooms.bot or (
            user_id.startswith(self.own_users) and user_id.endswith(f":{self.server_name}")
        )
