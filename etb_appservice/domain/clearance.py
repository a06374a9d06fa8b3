"""Who may do what: one function, total, deny by default, the same for Matrix, API and control room.

`decide(actor, action, subject)` answers with the reason; the reason may be shown to the actor and discloses
nothing about the subject.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from etb_appservice.domain.breakglass import GlassRole
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import UserId, Username

OurRole = Literal["responder", "commander", "compliance", "auditor", "admin"]
"""What a role in ETB, whose names are free text, may mean here (docs/etb-contract.md 10.3)."""


class Right(Enum):
    """What an action asks of whoever wants it."""

    ANYBODY = "anybody"
    """To be in the room, whoever they are."""
    MEMBER = "member"
    """To be in the room, and known."""
    RESPONDER = "responder"
    """To belong to the incident: reporter, assignee, on call, holder of a role, or let in."""
    COMMANDER = "commander"
    """To be the incident's commander, or to hold that role in ETB."""
    OPERATOR = "operator"
    """To be one of the configured operators, in the control room."""
    WITNESS = "witness"
    """To be a member, or to hold a break-glass role, whose word counts in any room."""
    BREAK_GLASS = "break-glass"
    """To hold one of the two break-glass roles, on a device of one's own identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approving:
    """To approve what somebody else asked for, as one who holds `role`, or one of the break-glass roles."""

    role: OurRole
    requester_id: UserId
    requester: Username | None
    glass: frozenset[GlassRole] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks. `username` None: nobody we know. `clearance` None: ETB has not told us, so none."""

    user_id: UserId
    username: Username | None = None
    clearance: Classification | None = None
    is_active: bool = False
    is_operator: bool = False
    is_joined: bool = False
    is_cross_signed: bool = False
    """Whether the device they ask from is signed by their own identity."""
    has_token: bool = False
    """Whether they come by ETB's web pages, with a token of their own that ETB has confirmed."""
    barred: str = ""
    """Why they may not be in the room though they are, as a sentence for them; empty when they may."""
    is_responder: bool = False
    """Whether they belong to this incident: named by ETB, holding a role in it, or let in."""
    is_commander: bool = False
    """Whether they are this incident's commander now."""
    roles: frozenset[OurRole] = frozenset()
    """What ETB's roles of theirs mean here."""
    etb_roles: tuple[str, ...] = ()
    """ETB's own names of their roles, by which a category lets people in."""
    partner: str = ""
    """The partner organisation, let in here, to which they belong: such people have no ETB user."""
    glass: frozenset[GlassRole] = frozenset()
    """The break-glass roles they hold."""
    is_let_in: bool = False
    """Whether break-glass lets them into this room now: then they are a responder there, whatever ETB says."""

    @property
    def is_proven(self) -> bool:
        """Whether nobody else could have asked, as far as their own identity or ETB vouches for them."""
        return self.is_cross_signed or self.has_token

    def is_person(self, username: Username | None, user_id: UserId) -> bool:
        """Whether this is they, whichever Matrix id they use."""
        return user_id == self.user_id or (username is not None and username == self.username)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is asked about: an incident's room, or the control room."""

    classification: Classification
    is_control_room: bool = False
    needs_signed_device: bool = False
    """Whether what is asked counts only from a device that the actor has verified."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, and why; `reason` is a sentence for the person who asked."""

    allowed: bool
    reason: str


_YES = Decision(allowed=True, reason="permitted")
_VERIFY_IT = "a homeserver could add others. Verify this one in your client's settings, then send it again."
ONLY_VERIFIED = f"This works only from a device that you have verified: {_VERIFY_IT}"
"""Whoever reads it may do it, but not from there."""


def decide(actor: Actor, action: Right | Approving, subject: Subject) -> Decision:
    """Whether `actor` may do what asks for `action` on `subject`."""
    if not actor.is_joined:
        return _no("You are not in this room.")
    if doubt := _doubt(actor, action, subject):
        return _no(doubt)
    if subject.is_control_room:
        if not actor.is_operator:
            return _no("This needs the role operator.")
        if not actor.is_cross_signed:
            return _no(ONLY_VERIFIED)
    if action is Right.ANYBODY:
        return _YES
    wanted = _glass_of(action)
    if wanted:
        return _as_holder(actor, wanted)
    if subject.is_control_room or (action is Right.WITNESS and actor.glass):
        return _YES
    if actor.is_let_in and action in {Right.MEMBER, Right.WITNESS, Right.RESPONDER}:
        return _YES
    return _in_incident(actor, action, subject)


def _in_incident(actor: Actor, action: Right | Approving, subject: Subject) -> Decision:
    """What ETB has to say of somebody."""
    if action is Right.OPERATOR:
        return _no("This works in the control room only, for operators.")
    if obstacle := _kept_out(actor, subject):
        return _no(obstacle)
    leads = actor.is_commander or not actor.roles.isdisjoint({"commander", "admin"})
    if isinstance(action, Approving):
        holds = leads if action.role == "commander" else action.role in actor.roles or "admin" in actor.roles
        if action.role == "responder":
            holds = actor.is_responder or leads
        return _YES if holds else _no(f"Approving this needs the role {action.role}.")
    if action is Right.COMMANDER and not leads:
        return _no("This needs the role commander of this incident.")
    if action is Right.RESPONDER and not (actor.is_responder or leads):
        return _no("This needs the role responder of this incident.")
    return _YES


def _kept_out(actor: Actor, subject: Subject) -> str:
    """Why somebody may not know of an incident at all; empty when they may."""
    if actor.username is None and not actor.partner:
        return actor.barred or "Your Matrix account is not linked to an ETB user. Ask an operator to link it."
    if not actor.is_active:
        return "Your ETB account is not active."
    if actor.clearance is None or actor.clearance < subject.classification:
        return "Your clearance does not reach the level of this incident."
    return actor.barred


def _doubt(actor: Actor, action: Right | Approving, subject: Subject) -> str:
    """Why it doesn't count by whom it comes from, or from which device; empty when it does."""
    if isinstance(action, Approving) and (doubt := _as_second_person(actor, action)):
        return doubt
    if subject.needs_signed_device and not actor.is_proven:
        return f"Here a command counts only from a device that you have verified: {_VERIFY_IT}"
    return ""


def _as_second_person(actor: Actor, approving: Approving) -> str:
    """Why somebody can't be the second pair of eyes; empty when they can."""
    if actor.partner:
        return "People of a partner approve nothing."
    if actor.is_person(approving.requester, approving.requester_id):
        return "You asked for it: somebody else has to approve."
    if not actor.is_cross_signed:
        return f"An approval counts only from a device that you have verified: {_VERIFY_IT}"
    return ""


def _glass_of(action: Right | Approving) -> frozenset[GlassRole]:
    """The break-glass roles of which an action needs one; empty when it needs none."""
    if isinstance(action, Approving):
        return action.glass
    return frozenset({"first", "second"}) if action is Right.BREAK_GLASS else frozenset()


def _as_holder(actor: Actor, wanted: frozenset[GlassRole]) -> Decision:
    """By the configuration alone, so that it can be decided while ETB is away."""
    if actor.glass.isdisjoint(wanted):
        named = f"the break-glass role {next(iter(wanted))}" if len(wanted) == 1 else "a break-glass role"
        return _no(f"This needs {named}.")
    return _YES if actor.is_cross_signed else _no(ONLY_VERIFIED)


def may_know(actor: Actor, level: Classification) -> Decision:
    """Whether somebody who isn't in an incident's room may know of it and be let in: as its responders may."""
    return decide(replace(actor, is_joined=True), Right.RESPONDER, Subject(classification=level))


def may_enter(clearance: Classification | None, *, is_active: bool, level: Classification) -> Decision:
    """Whether a person who belongs to an incident may be invited to its room."""
    if not is_active:
        return _no("inactive")
    if clearance is None or clearance < level:
        return _no("clearance")
    return _YES


def _no(reason: str) -> Decision:
    return Decision(allowed=False, reason=reason)
