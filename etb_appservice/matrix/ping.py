"""Asks the homeserver to call us: proves the way back, and makes Synapse send at once what it held back.

After an outage Synapse waits up to 512 seconds before it tries again; a ping at our start ends the wait. The ping
can race with that very retry and be answered 502: ask again. Must never be called before our listener stands.

Source: Matrix application service API, "Pinging" (MSC2659).
"""

from urllib.parse import quote

from mautrix.api import Method

from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.matrix.server import Homeserver, status_of
from etb_appservice.ports import Clock

_GATEWAY = frozenset({502, 503, 504})
_TRIES = 5
_FIRST_WAIT_S = 0.25


async def ping(server: Homeserver, appservice_id: str, clock: Clock, *, tries: int = _TRIES) -> int:
    """Milliseconds that the homeserver needed to reach us. Raises the four outcomes, with what to do."""
    wait_s = _FIRST_WAIT_S
    for left in reversed(range(tries)):
        try:
            answer = await server.ask(
                Method.POST,
                f"_matrix/client/v1/appservice/{quote(appservice_id, safe='')}/ping",
                {"transaction_id": f"start-{clock.now_ms()}"},
            )
        except Failure as failure:
            if not left or status_of(failure) not in _GATEWAY:
                raise _explained(failure, appservice_id) from failure
            await clock.sleep(wait_s)
            wait_s *= 2
        else:
            took = answer.get("duration_ms") if isinstance(answer, dict) else None
            return took if isinstance(took, int) else 0
    raise ValueError("tries must be at least 1")


def _explained(failure: Failure, appservice_id: str) -> Failure:
    """The same outcome with the cause that an operator can remove."""
    code, hint = getattr(failure.__cause__, "errcode", None), ""
    match code:
        case "M_URL_NOT_SET":
            hint = "The registration that the homeserver loaded has no url: set it and restart the homeserver."
        case "M_BAD_STATUS":
            hint = "The homeserver reached us and was refused: compare appservice.hs_token with the registration."
        case "M_CONNECTION_FAILED" | "M_CONNECTION_TIMEOUT":
            hint = "The homeserver can't reach the url of the registration: compare it with appservice.listen."
        case "M_FORBIDDEN":
            hint = f"The token is of another application service than {appservice_id!r}: compare appservice.id."
        case "M_UNRECOGNIZED":
            hint = "This homeserver knows no appservice ping: Synapse 1.87 or later is needed."
    if not hint:
        return failure
    if isinstance(failure, Refused):
        return Refused(f"{failure}. {hint}", code=failure.code)
    return type(failure)(f"{failure}. {hint}")
