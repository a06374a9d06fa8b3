"""The database `etb` and its units of work, as protocols."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from etb_appservice.ports.acts import Acts
from etb_appservice.ports.conversation import Commands, Files, Messages
from etb_appservice.ports.copies import Incidents, Rooms
from etb_appservice.ports.queues import Inbox, Outbox
from etb_appservice.ports.records import AuditLog, Cases, Documents, Gaps, Once


class Work(Protocol):
    """One open unit of work."""

    inbox: Inbox
    outbox: Outbox
    rooms: Rooms
    incidents: Incidents
    messages: Messages
    files: Files
    commands: Commands
    acts: Acts
    cases: Cases
    documents: Documents
    audit: AuditLog
    once: Once
    gaps: Gaps

    def now_ms(self) -> int:
        """The moment at which this unit of work began."""
        ...

    async def alone_in(self, lane: str) -> None:
        """Until this unit ends, no other one that asks for it decides anything in this lane.

        Asked for first: what was read before may be old by then.
        """
        ...


USERS = "users"
"""The scope of `Store.stamp` for what ETB says of people."""
ON_CALL = "on-call"


class Store(Protocol):
    """The database `etb`. Raises nothing of the four outcomes: a failing database is fatal to its caller.

    A task that holds a unit of work or a view MUST NOT open another one: it could wait for itself.
    """

    def work(self) -> AbstractAsyncContextManager[Work]:
        """A unit of work: committed and durable at exit, rolled back on any exception and on cancellation."""
        ...

    def view(self) -> AbstractAsyncContextManager[Work]:
        """Read only; never waits for a writer. Writing through it is an error."""
        ...

    def stamp(self, *scopes: str) -> tuple[int, ...]:
        """Numbers that change with every commit after which other people may be in a room; reads nothing.

        The scopes are USERS, ON_CALL, incidents and war rooms. What was read after a stamp was taken holds for as
        long as the stamp stays the same, but for time; commits of other processes show once they were told of
        (gateway/relay.py), and never where they aren't.
        """
        ...


class Keepsakes(Protocol):
    """Small things to remember, sealed by the vault: positions, seeds, the recovery key."""

    async def get(self, name: str) -> bytes | None: ...

    async def put(self, name: str, value: bytes) -> None:
        """Durable at return."""
        ...
