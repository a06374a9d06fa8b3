"""What the desk refuses, as the API answers it (docs/etb-contract.md 1.6 and 4)."""

from etb_appservice.gateway.desk import Refusal, Undecided
from etb_appservice.gateway.problems import Problem

_AGAIN = {"Retry-After": "5"}


def problem_of(no: Refusal) -> Problem:
    """A field that is wrong is 400, whatever was wrong with it."""
    if isinstance(no, Undecided):
        return Problem(503, "busy", no.detail, headers=_AGAIN)
    if no.field not in {"", "message_id"}:
        return Problem(400, "invalid", "", fields={no.field: [no.detail]})
    match no.code:
        case "validation_error":
            return Problem(400, "invalid", "", fields={"non_field_errors": [no.detail]})
        case "not_found":
            return Problem(404, "not_found", "Not found.")
        case "forbidden" | "clearance_required" as code:
            return Problem(403, code, no.detail)
        case "room_closed":
            return Problem(409, "room_closed", no.detail)
        case "legal_hold":
            return Problem(423, "legal_hold", no.detail)
        case "rate_limited":
            return Problem(429, "rate_limited", no.detail, headers={"Retry-After": "60"})
        case "upstream_error":
            return Problem(503, "unavailable", no.detail, headers=_AGAIN)
