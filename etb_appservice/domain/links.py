"""How an ETB user links a Matrix account of their own: they prove both sides.

    signed in at ETB: a code, shown to them alone ──> typed in a chat alone with the bot ──> Linked
                      └─ ten minutes, or once used, or a newer one ──> no code any more

All of it stands in the case of the control room, which is there once.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import UserId, Username

LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""What can't be taken for one another when read out or typed."""
_LENGTH = 12
CODE_MS = 10 * 60_000
"""How long a code is good for."""
MOST_OFFERS = 5
OFFERS_MS = 60 * 60_000
"""Within how long somebody is given so many codes."""
MOST_GUESSES = 5
GUESSES_MS = 60 * 60_000
"""Within how long somebody may be wrong so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCode:
    """A code that somebody may type. The id is their ETB username, so that a newer code ends the one before."""

    kind: Literal["LinkCode"] = "LinkCode"
    id: Username
    digest: str
    until_ms: int
    count: int = 1
    """How many codes they were given since `since_ms`."""
    since_ms: int = 0
    is_open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """Which Matrix account an ETB user has linked. The id is their ETB username."""

    kind: Literal["Linked"] = "Linked"
    id: Username
    user_id: UserId
    at_ms: int
    is_open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """How often somebody has typed a wrong code. The id is their Matrix id."""

    kind: Literal["Guesses"] = "Guesses"
    id: UserId
    count: int
    since_ms: int
    is_open: bool = False


def new_code() -> str:
    """A code of 58 bits that nobody can guess, as it is shown.

    >>> len(new_code()), new_code() != new_code()
    (14, True)
    """
    letters = "".join(secrets.choice(LETTERS) for _ in range(_LENGTH))
    return "-".join(letters[start : start + 4] for start in range(0, _LENGTH, 4))


def digest_of(code: str) -> str:
    """What is kept of a code; however it was typed.

    >>> digest_of("abcd-efgh-jkmn") == digest_of("ABCD EFGH JKMN")
    True
    """
    typed = "".join(letter for letter in code.upper() if letter.isalnum())
    return hashlib.sha256(typed.encode("utf-8", "surrogatepass")).hexdigest()


def opens(code: LinkCode, digest: str, now_ms: int) -> bool:
    """Whether what was typed is this code, and in time. Takes as long for a wrong one as for the right one."""
    is_right = hmac.compare_digest(code.digest, digest)
    return is_right and code.is_open and now_ms < code.until_ms
