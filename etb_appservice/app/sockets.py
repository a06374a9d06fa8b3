"""Sockets, wired: news of this process's commits and, through Redis, of other processes'.

hub_of ─► told after each commit (ports.Broadcast)         sockets_of ─► mounted on the public listener
   └────────── relay_of ─► run beside everything else
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from etb_appservice.app.foundation import Ground
from etb_appservice.gateway.acts import Acts
from etb_appservice.gateway.desk import Desk
from etb_appservice.gateway.entry import Entry
from etb_appservice.gateway.frame import Frame
from etb_appservice.gateway.hub import Hub
from etb_appservice.gateway.links import PREFIXES, Links
from etb_appservice.gateway.relay import Ears, Relay
from etb_appservice.gateway.shows import Shows
from etb_appservice.gateway.socket import Sockets, SocketTerms
from etb_appservice.gateway.watch import Patience
from etb_appservice.store.sql import SqlStore

_RELAYED = "relay"
"""What the key is for that seals news on their way through Redis (store/vault)."""


def hub_of(base: Ground) -> Hub:
    """Nobody sits in it yet."""
    return Hub(base.store, Entry(base.store, base.policy), _shows(base))


def sockets_of(base: Ground, hub: Hub, frame: Frame, desk: Desk) -> Sockets:
    """Ready to be mounted beside the chat API, whose callers and tickets they take."""
    settings = base.settings
    acts = Acts(
        store=base.store, entry=Entry(base.store, base.policy), shows=_shows(base), desk=desk, clock=base.clock
    )
    terms = SocketTerms(
        public=frame.public,
        token_in_url=settings.sockets.token_in_url,
        per_caller=settings.sockets.per_person,
        most=settings.sockets.most,
        patience=Patience(
            idle_s=settings.sockets.idle_minutes * 60.0,
            # Often: what is remembered costs nothing, and a revoked token shall not count much longer than that.
            token_s=settings.gateway.token_cache_s / 4,
            hold_s=base.policy.clearance.hold_s,
        ),
    )
    return Sockets(hub, acts, frame.callers, frame.tickets, base.clock, terms)


@dataclass(frozen=True, slots=True)
class SharedRedis:
    """A Redis that several processes of one service share. `keys`: the present one first; any of them opens."""

    url: str = field(repr=False)
    name: str
    """What everything of this service is called there, and of no other's."""
    keys: Callable[[], Sequence[bytes]]


def redis_of(base: Ground) -> SharedRedis | None:
    """None where none is named."""
    settings = base.settings
    if settings.sockets.redis_url is None:
        return None
    return SharedRedis(
        settings.sockets.redis_url.get_secret_value(),
        f"etb-appservice:{settings.homeserver.domain}:{settings.appservice.id}",
        lambda: [root.derive(_RELAYED) for root in base.store.vault.roots],
    )


def relay_of(base: Ground, hub: Hub, ears: Callable[[Ears], Ears], *, leads: bool) -> Relay | None:
    """To the processes that share this one's database and Redis; None where no Redis is named.

    `ears` makes what this process does about errands of what it does about news. `leads`: it decides.
    """
    found = redis_of(base)
    if found is None:
        return None
    return relayed(found.url, found.name, found.keys, base.store, hub, ears, leads=leads)


def relayed(
    url: str,
    channel: str,
    keys: Callable[[], Sequence[bytes]],
    store: SqlStore,
    hub: Hub,
    ears: Callable[[Ears], Ears] = lambda ears: ears,
    *,
    leads: bool = False,
) -> Relay:
    """Told of what this process commits, and telling its sockets and what it remembers of what others do."""
    clock = store.clock

    def touched(scopes: Collection[str]) -> None:
        store.touched(scopes)
        hub.look(clock.now_ms(), everywhere=False)

    def missed() -> None:
        store.missed()
        hub.missed()

    about = ears(Ears(heard=hub.heard, touched=touched, missed=missed))
    relay = Relay(url, channel, keys, clock, ears=about, leads=leads)
    hub.through(relay.send)
    store.tell(relay.touch)
    return relay


def _shows(base: Ground) -> Shows:
    return Shows(base.policy, Links(base.settings.gateway.public_url, PREFIXES[0]))
