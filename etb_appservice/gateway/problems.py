"""Whatever an answer says that is no success (docs/etb-contract.md 1.6)."""

from collections.abc import Mapping


class Problem(Exception):
    """What a handler raises for any answer that is no success; the route MUST name its status in `errors`.

    `fields`: for 400, messages by field instead of `detail` and `code`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        fields: Mapping[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = fields or {}
        self.headers = headers or {}


def not_found() -> Problem:
    """It isn't there, or the caller may not know of it: nobody can tell which."""
    return Problem(404, "not_found", "Not found.")


def conflict(detail: str) -> Problem:
    """As things stand it can't be done; `detail` says what stands in the way."""
    return Problem(409, "conflict", detail)


def away(code: str, detail: str) -> Problem:
    """Not now, for no fault of the caller's: in a moment it may go."""
    return Problem(503, code, detail, headers={"Retry-After": "5"})


def invalid(**fields: str) -> Problem:
    """What is wrong with which field."""
    return Problem(400, "invalid", "", fields={name: [text] for name, text in fields.items()})


def too_slow(detail: str) -> Problem:
    """What was sent came too slowly; the connection ends."""
    return Problem(408, "timeout", detail)


def unauthenticated(code: str, detail: str) -> Problem:
    """It isn't known who calls."""
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Token"})
