"""Approval of what is dangerous: by others than its requester, each from a device of their own identity.

    OPEN ──enough approve──► APPROVED ──it runs──► RUN
      │  ◄──one takes theirs back──┘
      ├──requester withdraws──► WITHDRAWN        (also from APPROVED)
      └──time is over─────────► EXPIRED          (also from APPROVED)

A reaction is never an approval: it is not encrypted and names no device.
"""

from dataclasses import dataclass, field
from typing import Literal

from etb_appservice.domain.breakglass import GlassRole
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.living import Living
from etb_appservice.domain.questions import Held

LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""What a code is made of: nothing that is read as something else."""
CODE_LENGTH = 4

ApprovalState = Literal["OPEN", "APPROVED", "RUN", "WITHDRAWN", "EXPIRED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """Somebody's approval."""

    user_id: UserId
    username: Username
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A request for approval, and the command that waits for it."""

    kind: Literal["Approval"] = "Approval"
    id: str
    code: str
    held: Held
    what: str
    """What is asked for, as Markdown."""
    requester: Username | None
    needed: int
    role: str
    """The role of ours that an approver needs, or `operator` in the control room."""
    asked_ms: int
    expires_ms: int
    is_signed: bool = False
    """Whether the requester asked from a cross-signed device."""
    by: tuple[Approved, ...] = ()
    state: ApprovalState = "OPEN"
    living: Living = field(default_factory=Living)
    is_open: bool = True
    glass: tuple[GlassRole, ...] = ()
    """Break-glass only: the roles of which an approver needs one. Such a request is answered from any room."""


def code_of(word: str) -> str:
    """A code as somebody typed it, in the one way in which it is kept.

    >>> code_of(" k7-qf")
    'K7QF'
    """
    return "".join(sign for sign in word.upper() if sign.isalnum())
