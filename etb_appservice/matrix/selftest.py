"""Proves at the start that this homeserver does what we rely on, and says what is missing and what to do.

Harmless: it writes one private account-data entry of the bot, and a state event in the control room where there is
one. Must never say that something works which was not tried.
"""

import json
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from mautrix.api import Method

from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.outcomes import Broken, Failure, Refused
from etb_appservice.matrix.arrivals import Intake
from etb_appservice.matrix.ping import ping
from etb_appservice.matrix.server import Homeserver, status_of
from etb_appservice.ports import Clock, Vital

_SPEC = "v1.7"
"""The oldest version of the specification that has all we use; the ping came with it."""
_STATE = "org.etb.selftest"
_EVENT_WAIT_S = 10.0
_LOOK_EVERY_S = 0.05
_NO_ROOMS = json.dumps({"room": {"rooms": []}, "presence": {"types": []}, "account_data": {"types": []}})
_SERVER_ERROR = 500


class SelfTest:
    """The checks, each of which answers one line for the operator."""

    def __init__(
        self,
        server: Homeserver,
        clock: Clock,
        *,
        appservice_id: str,
        alias_prefix: str,
        server_name: str,
        ping_tries: int = 5,
    ) -> None:
        """`alias_prefix` as in `rooms.alias_prefix`, without `#`."""
        self._server = server
        self._clock = clock
        self._appservice_id = appservice_id
        self._alias = f"#{alias_prefix}selftest:{server_name}"
        self._ping_tries = ping_tries

    async def run(self) -> tuple[Vital, ...]:
        """All checks that need no room, in order; the first that fails may explain the next ones."""
        checks: tuple[tuple[str, Callable[[], Awaitable[str]]], ...] = (
            ("homeserver", self._versions),
            ("identity", self._identity),
            ("sync", self._sync),
            ("sending", self._sending),
            ("aliases", self._aliases),
            ("transactions", self._ping),
        )
        return tuple([await _checked(name, check) for name, check in checks])

    async def prove_events(self, room_id: RoomId, intake: Intake) -> Vital:
        """Sends a state event in a room of ours and waits until a transaction brings it back."""

        async def check() -> str:
            nonce = {"at": self._clock.now_ms()}
            event_id = await self._server.put_state(room_id, _STATE, "", nonce)
            until = self._clock.monotonic() + _EVENT_WAIT_S
            while not intake.has_recent(event_id):
                if self._clock.monotonic() >= until:
                    raise Broken(
                        f"an event we sent did not come back within {_EVENT_WAIT_S:g} s. "
                        "Look for the application service in the homeserver's log, and ping it again."
                    )
                await self._clock.sleep(_LOOK_EVERY_S)
            return "an event that we sent came back in a transaction"

        return await _checked("events", check)

    async def _versions(self) -> str:
        answer = await self._server.ask(Method.GET, "_matrix/client/versions")
        versions = answer.get("versions") if isinstance(answer, dict) else None
        if not isinstance(versions, list) or _SPEC not in versions:
            raise Broken(f"this homeserver doesn't speak version {_SPEC} of the Matrix specification: update it.")
        return f"speaks {versions[-1]}"

    async def _identity(self) -> str:
        try:
            answer = await self._server.ask(Method.GET, "_matrix/client/v3/account/whoami")
        except Refused as refusal:
            hint = {
                "M_UNKNOWN_DEVICE": "the bot's device is gone from the homeserver: run `etb-appservice recover`.",
                "M_FORBIDDEN": f"namespaces.users of the registration must cover {self._server.user_id}, "
                "and the bot must be registered.",
            }.get(refusal.code, "compare the registration the homeserver loaded with ours.")
            raise Broken(f"we can't speak as the bot: {refusal}. What to do: {hint}") from refusal
        if answer.get("user_id") != self._server.user_id:
            raise Broken(f"the homeserver takes us for another user than {self._server.user_id}.")
        if self._server.device_id and answer.get("device_id") != self._server.device_id:
            raise Broken(
                "the homeserver doesn't let us speak from the bot's device (MSC3202, MSC4190): set "
                "`io.element.msc4190: true` in the registration and restart the homeserver."
            )
        return f"speaks as {self._server.user_id} from device {self._server.device_id or '(none yet)'}"

    async def _sync(self) -> str:
        try:
            answer = await self._server.ask(
                Method.GET, "_matrix/client/v3/sync", query={"timeout": "0", "filter": _NO_ROOMS}
            )
        except Failure as failure:
            if status_of(failure) != _SERVER_ERROR:
                raise
            raise Broken(
                f"the homeserver fails on the bot's /sync: {failure}. Synapse does so when sender_localpart in "
                "the registration is the bot's own name: give it a name nobody uses, and restart the homeserver."
            ) from failure
        if not isinstance(answer, dict) or not isinstance(answer.get("next_batch"), str):
            raise Broken("the homeserver's answer to /sync has no next_batch.")
        return "answers the bot's /sync"

    async def _sending(self) -> str:
        user_id = quote(self._server.user_id, safe="")
        path = f"_matrix/client/v3/user/{user_id}/account_data/{_STATE}"
        await self._server.ask(Method.PUT, path, {"at": self._clock.now_ms()})
        return "takes what the bot writes"

    async def _aliases(self) -> str:
        try:
            await self._server.free_alias(self._alias)
        except Refused as refusal:
            if refusal.code != "M_EXCLUSIVE":
                raise
            raise Broken(
                f"namespaces.aliases of the registration doesn't cover {self._alias}: add it as exclusive, with a "
                "regex that begins with rooms.alias_prefix, and restart the homeserver."
            ) from refusal
        return "lets us make the rooms' aliases"

    async def _ping(self) -> str:
        took_ms = await ping(self._server, self._appservice_id, self._clock, tries=self._ping_tries)
        return f"reaches us in {took_ms} ms"


async def _checked(name: str, check: Callable[[], Awaitable[str]]) -> Vital:
    try:
        return Vital(name, is_well=True, text=await check())
    except Failure as failure:
        return Vital(name, is_well=False, text=str(failure))
