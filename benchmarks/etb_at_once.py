"""An ETB that answers at once, so that a row shows the service and Synapse and not ETB.

Serves the few things that deciding about an incident reads: itself, users, people on call, SLA targets, the
timeline. With a delay it shows what a slower ETB costs.
"""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

PEOPLE = ("bea", "ben", "bill", "bob", "bud")
"""Reporter, assignee and three people on call."""


class EtbAtOnce:
    """`start`, then `.url`; any token will do."""

    def __init__(self) -> None:
        self.url = ""
        self.token = "any-token-will-do"
        self.delay_s = 0.0
        """How long it takes over each answer."""
        self.known: dict[str, dict[str, Any]] = {}
        """Incidents by id."""
        self.clearances: dict[str, str] = {}
        """Who is cleared for less than everything."""
        self.also_on_call: list[str] = []
        self._runner: web.AppRunner | None = None
        self._entries = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if request.method == "POST":
            self._entries += 1
            return web.json_response({"id": str(uuid.uuid4()), **json.loads(await request.text())}, status=201)
        if (row := self.known.get(path.rstrip("/").rsplit("/", 1)[-1])) is not None:
            return web.json_response(row)
        if path.endswith("/profile/"):  # a token is its user's name
            return web.json_response(_user(request.headers["Authorization"].split()[-1], "TOP_SECRET"))
        if path.endswith("/users/"):
            name = request.query.get("username", "")
            return _page([_user(name, self.clearances.get(name, "TOP_SECRET"))] if name else [])
        if path.endswith("/oncall-rotations/"):
            rotations = [] if self.also_on_call else range(3)
            return _page(
                [{"id": str(uuid.UUID(int=n)), "name": f"Rotation {n}", "status": "ACTIVE"} for n in rotations]
            )
        if path.endswith("/oncall-assignments/") and self.also_on_call:
            return _page([_assignment(n, name) for n, name in enumerate([*PEOPLE[2:], *self.also_on_call])])
        if path.endswith("/current_oncall/"):
            number = uuid.UUID(path.rstrip("/").split("/")[-2]).int
            return web.json_response(_assignment(number, PEOPLE[2 + number]))
        return _page([])


def incident(number: int) -> dict[str, Any]:
    """One that is reported now."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {
        "id": str(uuid.uuid4()),
        "incident_number": f"INC-{number:06}",
        "title": f"Measured incident {number}",
        "severity": "HIGH",
        "status": "OPEN",
        "category": "Infrastructure",
        "reporter_username": PEOPLE[0],
        "assigned_to_username": PEOPLE[1],
        "created_at": now,
        "updated_at": now,
    }


def _user(name: str, level: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        "username": name,
        "is_active": True,
        "clearance_level": level,
    }


def _assignment(number: int, name: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": str(uuid.UUID(int=100 + number)),
        "rotation": str(uuid.UUID(int=number)),
        "rotation_name": f"Rotation {number}",
        "user_username": name,
        "start_time": (now - timedelta(hours=1)).isoformat(),
        "end_time": (now + timedelta(hours=1)).isoformat(),
        "status": "ACTIVE",
    }


def _page(rows: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"count": len(rows), "next": None, "previous": None, "results": rows})
