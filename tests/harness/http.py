"""A person without encryption: the client-server API by hand, for tests that need no crypto.

It must never retry or hide an answer: what the homeserver says is what the test sees.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

import aiohttp

Json = dict[str, Any]


class MatrixError(Exception):
    """The homeserver refused; `status` is the HTTP status, `errcode` and `error` its own words."""

    def __init__(self, status: int, body: Json) -> None:
        self.status = status
        self.errcode = str(body.get("errcode", ""))
        self.error = str(body.get("error", ""))
        super().__init__(f"{status} {self.errcode}: {self.error}")


class MatrixUser:
    """One access token on one homeserver. Close it, or use it as an async context manager.

    With `as_user` every call is made as that user by an application service's token (`user_id` in the query).
    """

    def __init__(self, homeserver: str, access_token: str, *, user_id: str = "", as_user: str = "") -> None:
        self.homeserver = homeserver
        self.access_token = access_token
        self.user_id = user_id or as_user
        self._as_user = as_user
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))

    @classmethod
    async def login(cls, homeserver: str, user: str, password: str) -> Self:
        """Log in with a password; a new device."""
        guest = cls(homeserver, "")
        try:
            who = {"type": "m.id.user", "user": user}
            body = {"type": "m.login.password", "identifier": who, "password": password}
            answer = await guest.request("POST", "/_matrix/client/v3/login", body)
        finally:
            await guest.close()
        return cls(homeserver, answer["access_token"], user_id=answer["user_id"])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    async def request(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str] | None = None
    ) -> Json:
        """One call, its JSON answer; MatrixError on any status but 2xx."""
        params = dict(query or {})
        if self._as_user:
            params["user_id"] = self._as_user
        headers = {"Authorization": f"Bearer {self.access_token}"} if self.access_token else {}
        json = {} if body is None and method in {"POST", "PUT"} else body
        async with self._session.request(
            method, self.homeserver + path, json=json, params=params, headers=headers
        ) as response:
            answer: Json = await response.json(content_type=None) or {}
            if response.status // 100 != 2:
                raise MatrixError(response.status, answer)
            return answer

    async def create_room(self, **options: Any) -> str:
        """createRoom with the options of the client-server API; the room id."""
        return str((await self.request("POST", "/_matrix/client/v3/createRoom", options))["room_id"])

    async def join(self, room: str, *, via: str = "") -> str:
        """Join by id or alias, through the server `via`; the room id."""
        query = {"server_name": via, "via": via} if via else {}
        answer = await self.request("POST", f"/_matrix/client/v3/join/{quote(room, safe='')}", query=query)
        return str(answer["room_id"])

    async def leave(self, room_id: str) -> None:
        await self.request("POST", f"{_room(room_id)}/leave")

    async def invite(self, room_id: str, user_id: str) -> None:
        await self.request("POST", f"{_room(room_id)}/invite", {"user_id": user_id})

    async def kick(self, room_id: str, user_id: str) -> None:
        await self.request("POST", f"{_room(room_id)}/kick", {"user_id": user_id})

    async def send(self, room_id: str, content: Json | str, *, type: str = "m.room.message", txn: str = "") -> str:  # noqa: A002
        """Send a plain event (a text when `content` is a str); the event id."""
        body = {"msgtype": "m.text", "body": content} if isinstance(content, str) else content
        path = f"{_room(room_id)}/send/{quote(type, safe='')}/{quote(txn or secrets.token_hex(8), safe='')}"
        return str((await self.request("PUT", path, body))["event_id"])

    async def redact(self, room_id: str, event_id: str) -> str:
        path = f"{_room(room_id)}/redact/{quote(event_id, safe='')}/{secrets.token_hex(8)}"
        return str((await self.request("PUT", path))["event_id"])

    async def get_state(self, room_id: str, type: str, key: str = "") -> Json:  # noqa: A002
        """The content of one state event; MatrixError 404 when there is none."""
        return await self.request("GET", f"{_room(room_id)}/state/{quote(type, safe='')}/{quote(key, safe='')}")

    async def put_state(self, room_id: str, type: str, content: Json, key: str = "") -> str:  # noqa: A002
        path = f"{_room(room_id)}/state/{quote(type, safe='')}/{quote(key, safe='')}"
        return str((await self.request("PUT", path, content))["event_id"])

    async def state(self, room_id: str) -> list[Json]:
        """Every state event of the room."""
        answer: Any = await self.request("GET", f"{_room(room_id)}/state")
        events: list[Json] = answer
        return events

    async def messages(self, room_id: str, *, limit: int = 100) -> list[Json]:
        """The last events of the room, newest first, as the server stores them."""
        query = {"dir": "b", "limit": str(limit)}
        events: list[Json] = (await self.request("GET", f"{_room(room_id)}/messages", query=query))["chunk"]
        return events

    async def members(self, room_id: str) -> dict[str, str]:
        """User id to membership (`join`, `invite`, `leave`, `ban`)."""
        chunk = (await self.request("GET", f"{_room(room_id)}/members"))["chunk"]
        return {event["state_key"]: event["content"]["membership"] for event in chunk}

    async def resolve_alias(self, alias: str) -> str:
        """The room id an alias points to; MatrixError 404 when it is free."""
        answer = await self.request("GET", f"/_matrix/client/v3/directory/room/{quote(alias, safe='')}")
        return str(answer["room_id"])

    async def sync(self, since: str = "", *, timeout_ms: int = 0) -> Json:
        query = {"timeout": str(timeout_ms)} | ({"since": since} if since else {})
        return await self.request("GET", "/_matrix/client/v3/sync", query=query)


def _room(room_id: str) -> str:
    return f"/_matrix/client/v3/rooms/{quote(room_id, safe='')}"
