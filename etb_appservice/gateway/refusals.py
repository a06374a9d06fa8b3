"""What the desk refuses, as the API answers it (docs/etb-contract.md 1.6 and 4)."""

from etb_appservice.gateway.desk import Refusal, Undecided
from etb_appservice.gateway.problems import Problem, away, conflict, invalid, not_found


def problem_of(no: Refusal) -> Problem:
    """A field that is wrong is 400, whatever was wrong with it."""
    if isinstance(no, Undecided):
        return away("busy", no.detail)
    if no.field not in {"", "message_id"}:
        return invalid(**{no.field: no.detail})
    match no.code:
        case "validation_error":
            return invalid(non_field_errors=no.detail)
        case "not_found":
            return not_found()
        case "forbidden":
            return Problem(403, "forbidden", no.detail)
        case "room_closed":
            return conflict(no.detail)
        case "legal_hold":
            return Problem(423, "legal_hold", no.detail)
        case "rate_limited":
            return Problem(429, "rate_limited", no.detail, headers={"Retry-After": "60"})
        case "upstream_error":
            return away("unavailable", no.detail)
