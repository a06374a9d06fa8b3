"""A push gateway that a test stands in for (Matrix Push Gateway API): it tells which events made a phone ring.

It listens on loopback and answers every notification as delivered. Synapse sends a person's pushes in the order of
the events, so whatever rang before a mark has arrived when the mark has.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.harness.http import MatrixUser
from tests.harness.scene import eventually

_PATH = "/_matrix/push/v1/notify"


@dataclass(slots=True)
class PushGateway:
    """`rung` are the notifications received, in order; those that only clear a badge are left out."""

    url: str = ""
    rung: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """A gateway on a free port, until the context ends."""
        gateway = cls()
        app = web.Application()
        app.router.add_post(_PATH, gateway._notified)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}{_PATH}"
            yield gateway
        finally:
            await runner.cleanup()

    async def register(self, person: MatrixUser) -> None:
        """From now on this person's phone is here."""
        body = {
            "kind": "http",
            "app_id": "org.etb.test",
            "pushkey": f"phone of {person.user_id}",
            "app_display_name": "test",
            "device_display_name": "phone",
            "lang": "en",
            "data": {"url": self.url},
        }
        await person.request("POST", "/_matrix/client/v3/pushers/set", body)

    def rooms(self) -> list[str]:
        """The rooms in which something rang, in order."""
        return [one["room_id"] for one in self.rung]

    def has_rung(self, event_id: str) -> bool:
        """Whether an event has made the phone ring."""
        return any(one["event_id"] == event_id for one in self.rung)

    async def until(self, event_id: str) -> None:
        """Wait until an event has made the phone ring."""

        async def look() -> bool:
            return self.has_rung(event_id)

        await eventually(look, f"a ring for {event_id}")

    async def _notified(self, request: web.Request) -> web.Response:
        notification = (await request.json())["notification"]
        if "event_id" in notification:
            self.rung.append(notification)
        return web.json_response({"rejected": []})
