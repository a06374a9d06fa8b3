"""What the routes of the chat API stand on: the store, ETB's reads, and the operator's decisions."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from etb_appservice.domain.ids import Username, WarRoomId
from etb_appservice.domain.policy import Policy
from etb_appservice.gateway.asking import Asking
from etb_appservice.gateway.desk import Desk
from etb_appservice.gateway.doors import Doors
from etb_appservice.gateway.fileroom import FileRoom
from etb_appservice.ports import Clock, EtbReads, Store

Online = Callable[[WarRoomId], Collection[Username]]
"""Whose sockets are open in a war room."""


def nobody(war_room: WarRoomId) -> Collection[Username]:
    """Whoever is online where no socket is served."""
    del war_room
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Handed to every route."""

    store: Store
    policy: Policy
    clock: Clock
    etb: EtbReads
    doors: Doors
    asking: Asking
    desk: Desk
    files: FileRoom
    page_size: int = 20
    most_page_size: int = 100
    online: Online = nobody
