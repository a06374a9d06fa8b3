"""The homeserver's admin API, as a promoted user of its own with an access token of its own.

It must never speak as the bot or with the appservice's token: whoever gets hold of that one must not be an
administrator. Source: Synapse, "Admin API" (`/_synapse/admin`): users, media, purge history.
"""

from urllib.parse import quote, urlsplit

import aiohttp
from mautrix.api import Method

from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Broken, Later, Refused, Unsure
from etb_appservice.matrix.api import Actor, make_client
from etb_appservice.matrix.server import Homeserver, Json, status_of
from etb_appservice.ports import Clock

_ADMIN = "_synapse/admin/v1"
_NOT_FOUND = 404
_FIRST_LOOK_S = 0.2
_LONGEST_LOOK_S = 5.0
_PATIENCE_S = 600.0


class SynapseAdmin:
    """`ports.HomeserverAdmin` on Synapse. Callers go through `flows.admin.RecordedAdmin`."""

    def __init__(
        self,
        homeserver_url: str,
        token: str,
        user_id: UserId,
        server_name: str,
        http: aiohttp.ClientSession,
        clock: Clock,
    ) -> None:
        # No `user_id` in the query: this token speaks for one user only.
        client = make_client(homeserver_url, token, "", "", http)
        self._server = Homeserver(Actor(user_id, "", client))
        self._user_id, self._server_name, self._clock = user_id, server_name, clock

    def __repr__(self) -> str:
        return f"SynapseAdmin({self._user_id})"

    async def is_admin(self) -> bool:
        """Whether the token is of the configured user, and that one is promoted."""
        try:
            who = await self._ask(Method.GET, "_matrix/client/v3/account/whoami")
            if who.get("user_id") != self._user_id:
                return False
            answer = await self._ask(Method.GET, f"{_ADMIN}/users/{quote(self._user_id, safe='')}/admin")
        except Refused as refusal:
            if refusal.code == "M_FORBIDDEN":
                return False
            raise
        return answer.get("admin") is True

    async def delete_media(self, mxc: str) -> int:
        """Files of this homeserver that were deleted: 0 when it wasn't there any more."""
        parts = urlsplit(mxc)
        name = parts.path.removeprefix("/")
        if parts.scheme != "mxc" or parts.netloc != self._server_name or not name or "/" in name:
            raise Refused(f"{mxc} is no media of {self._server_name}", code="not_ours")
        path = f"{_ADMIN}/media/{quote(parts.netloc, safe='')}/{quote(name, safe='')}"
        try:
            answer = await self._ask(Method.DELETE, path)
        except Refused as refusal:
            if status_of(refusal) == _NOT_FOUND and refusal.code != "M_UNRECOGNIZED":
                return 0
            raise
        deleted = answer.get("deleted_media")
        return len(deleted) if isinstance(deleted, list) else 0

    async def purge_history(self, room_id: RoomId, before_ms: int) -> bool:
        """Delete what was said before a moment, and wait until it is done; False when there was nothing.

        The newest events of a room can't be purged: say something there first. That also keeps clear of a foreign
        key on which Synapse fails when the last event before is an administrator's redaction.
        """
        body: Json = {"delete_local_events": True, "purge_up_to_ts": before_ms}
        try:
            answer = await self._ask(Method.POST, f"{_ADMIN}/purge_history/{quote(room_id, safe='')}", body)
        except Refused as refusal:
            if status_of(refusal) == _NOT_FOUND and refusal.code == "M_NOT_FOUND":
                return False
            if "already in progress" in str(refusal):
                raise Later("another purge of this room is under way", after_s=_LONGEST_LOOK_S) from refusal
            raise
        purge_id = answer.get("purge_id")
        if not isinstance(purge_id, str):
            raise Unsure("the homeserver's answer names no purge")
        await self._until_done(purge_id)
        return True

    async def _until_done(self, purge_id: str) -> None:
        wait_s, limit = _FIRST_LOOK_S, self._clock.monotonic() + _PATIENCE_S
        path = f"{_ADMIN}/purge_history_status/{quote(purge_id, safe='')}"
        while True:
            answer = await self._ask(Method.GET, path)
            match answer.get("status"):
                case "complete":
                    return
                case "failed":
                    raise Unsure("the homeserver's purge failed; its log says why")
            if self._clock.monotonic() > limit:
                raise Unsure("the homeserver has not finished its purge yet")
            await self._clock.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_LOOK_S)

    async def _ask(self, method: Method, path: str, content: Json | None = None) -> Json:
        try:
            answer = await self._server.ask(method, path, content)
        except Broken as broken:
            if getattr(broken.__cause__, "errcode", "") == "M_UNKNOWN_TOKEN":
                raise Broken(
                    "the homeserver doesn't know homeserver.admin_token: sign in again, and replace it"
                ) from broken
            raise
        if not isinstance(answer, dict):
            raise Unsure("the homeserver's answer can't be read")
        return answer
