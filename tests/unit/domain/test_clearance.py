"""The whole truth table of `decide`: a rule of who is refused and why, written a second time, by hand."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import Actor, Approving, OurRole, Right, Subject, decide, may_enter, may_know
from etb_appservice.domain.ids import UserId, Username

YES_NO = (True, False)
STANDING = ("nothing", "commands the incident", "commander", "admin", "auditor")
"""What somebody is beyond being named: this incident's commander, or a role in ETB."""
ROLES: dict[str, frozenset[OurRole]] = {
    "commander": frozenset({"commander"}),
    "admin": frozenset({"admin"}),
    "auditor": frozenset({"auditor"}),
}
TABLE = list(
    product(
        Right, YES_NO, YES_NO, YES_NO, YES_NO, YES_NO, YES_NO, STANDING, [None, *Classification], Classification
    )
)


def expected(
    right: Right,
    *,
    control: bool,
    joined: bool,
    operator: bool,
    known: bool,
    active: bool,
    responder: bool,
    standing: str,
    clearance: Classification | None,
    level: Classification,
) -> str:
    """The first word that is missing, or nothing."""
    if not joined:
        return "not in this room"
    if control:
        if not operator:
            return "role operator"
        return "a break-glass role" if right is Right.BREAK_GLASS else ""
    if right is Right.ANYBODY:
        return ""
    leads = standing in {"commands the incident", "commander", "admin"}
    missing = [
        ("a break-glass role", right is Right.BREAK_GLASS),
        ("control room only", right is Right.OPERATOR),
        ("not linked", not known),
        ("not active", not active),
        ("clearance", clearance is None or clearance < level),
        ("role commander", right is Right.COMMANDER and not leads),
        ("role responder", right is Right.RESPONDER and not responder and not leads),
    ]
    return next((reason for reason, holds in missing if holds), "")


def test_every_combination_of_actor_action_and_subject_is_decided_as_written() -> None:
    allowed = 0
    for right, control, joined, operator, known, active, responder, standing, clearance, level in TABLE:
        actor = Actor(
            user_id=UserId("@a:x"),
            username=Username("a") if known else None,
            clearance=clearance,
            is_active=active,
            is_operator=operator,
            is_joined=joined,
            is_cross_signed=True,
            is_responder=responder,
            is_commander=standing == STANDING[1],
            roles=ROLES.get(standing, frozenset()),
        )
        decision = decide(actor, right, Subject(classification=level, is_control_room=control))
        reason = expected(
            right,
            control=control,
            joined=joined,
            operator=operator,
            known=known,
            active=active,
            responder=responder,
            standing=standing,
            clearance=clearance,
            level=level,
        )
        assert decision.allowed is (reason == ""), (actor, right, level)
        assert reason in decision.reason
        allowed += decision.allowed
    assert 0 < allowed < len(TABLE) / 2


def test_an_actor_of_whom_nothing_is_known_may_do_nothing() -> None:
    nobody = Actor(user_id=UserId("@a:x"))
    for right, level, control in product(Right, Classification, YES_NO):
        assert not decide(nobody, right, Subject(classification=level, is_control_room=control)).allowed


def test_an_operator_commands_only_from_a_device_that_is_signed() -> None:
    control = Subject(classification=Classification.TOP_SECRET, is_control_room=True)
    actor = Actor(user_id=UserId("@a:x"), is_operator=True, is_joined=True)
    assert "verified" in decide(actor, Right.OPERATOR, control).reason
    assert decide(replace(actor, is_cross_signed=True), Right.OPERATOR, control).allowed


def test_a_refusal_says_nothing_about_the_incident() -> None:
    actor = Actor(user_id=UserId("@a:x"), username=Username("a"), is_active=True, is_joined=True)
    reason = decide(actor, Right.MEMBER, Subject(classification=Classification.TOP_SECRET)).reason
    assert "SECRET" not in reason.upper()


@pytest.mark.parametrize("level", Classification)
@pytest.mark.parametrize("clearance", [None, *Classification])
@pytest.mark.parametrize("active", YES_NO)
def test_only_an_active_person_cleared_for_the_level_may_enter(
    level: Classification, clearance: Classification | None, active: bool
) -> None:
    decision = may_enter(clearance, is_active=active, level=level)
    assert decision.allowed is (active and clearance is not None and clearance >= level)
    if not decision.allowed:
        assert decision.reason == ("inactive" if not active else "clearance")


@pytest.mark.parametrize("level", Classification)
@pytest.mark.parametrize("roles", [set(), {"responder"}, {"commander"}])
def test_somebody_of_a_partner_needs_no_etb_user_and_never_knows_more_than_its_ceiling(
    level: Classification, roles: set[OurRole]
) -> None:
    ann = Actor(
        user_id=UserId("@ann:b.org"),
        partner="b",
        clearance=Classification.CONFIDENTIAL,
        is_active=True,
        is_joined=True,
        is_cross_signed=True,
        is_responder="responder" in roles,
        roles=frozenset(roles),
    )
    subject, within = Subject(classification=level), level <= Classification.CONFIDENTIAL
    assert decide(ann, Right.MEMBER, subject).allowed is within
    assert decide(ann, Right.RESPONDER, subject).allowed is (within and bool(roles))
    assert decide(ann, Right.COMMANDER, subject).allowed is (within and "commander" in roles)
    assert not decide(ann, Right.OPERATOR, subject).allowed
    assert decide(ann, APPROVING, subject).reason == "People of a partner approve nothing."


APPROVING = Approving(role="commander", requester_id=UserId("@alice:x"), requester=Username("alice"))
SECOND = Actor(
    user_id=UserId("@bob:x"),
    username=Username("bob"),
    clearance=Classification.TOP_SECRET,
    is_active=True,
    is_joined=True,
    is_cross_signed=True,
    is_commander=True,
)


@pytest.mark.parametrize(
    ("changes", "role", "reason"),
    [
        ({}, "commander", ""),
        ({"user_id": UserId("@alice:x")}, "commander", "somebody else has to approve"),
        ({"username": Username("alice")}, "commander", "somebody else has to approve"),
        ({"is_cross_signed": False}, "commander", "a device that you have verified"),
        ({"is_joined": False}, "commander", "not in this room"),
        ({"username": None}, "commander", "not linked"),
        ({"is_active": False}, "commander", "not active"),
        ({"clearance": Classification.PUBLIC}, "commander", "clearance"),
        ({"is_commander": False}, "commander", "role commander"),
        ({"is_commander": False, "is_responder": True}, "commander", "role commander"),
        ({"is_commander": False, "roles": frozenset({"commander"})}, "commander", ""),
        ({}, "auditor", "role auditor"),
        ({"roles": frozenset({"auditor"})}, "auditor", ""),
        ({"roles": frozenset({"admin"})}, "auditor", ""),
        ({}, "responder", ""),
        ({"is_commander": False, "is_responder": True}, "responder", ""),
        ({"is_commander": False}, "responder", "role responder"),
    ],
)
def test_who_may_approve(changes: dict[str, Any], role: OurRole, reason: str) -> None:
    subject = Subject(classification=Classification.INTERNAL)
    decision = decide(replace(SECOND, **changes), replace(APPROVING, role=role), subject)
    assert decision.allowed is (reason == "")
    assert reason in decision.reason


def test_in_the_control_room_another_operator_approves() -> None:
    subject = Subject(classification=Classification.INTERNAL, is_control_room=True)
    operator = replace(SECOND, username=None, is_operator=True)
    assert decide(operator, APPROVING, subject).allowed
    assert not decide(replace(operator, is_operator=False), APPROVING, subject).allowed
    assert not decide(replace(operator, user_id=UserId("@alice:x")), APPROVING, subject).allowed
    assert not decide(replace(operator, is_cross_signed=False), APPROVING, subject).allowed


HOLDER = Actor(user_id=UserId("@a:x"), is_joined=True, is_cross_signed=True, glass=frozenset({"first"}))
SECRET = Subject(classification=Classification.TOP_SECRET)


@pytest.mark.parametrize(
    ("changes", "action", "reason"),
    [
        ({}, Right.BREAK_GLASS, ""),
        ({}, Right.WITNESS, ""),
        ({}, Right.MEMBER, "not linked"),
        ({"is_cross_signed": False}, Right.BREAK_GLASS, "verified"),
        ({"is_joined": False}, Right.BREAK_GLASS, "not in this room"),
        ({"glass": frozenset()}, Right.BREAK_GLASS, "a break-glass role"),
        ({}, replace(APPROVING, glass=frozenset({"second"})), "the break-glass role second"),
        ({"glass": frozenset({"second"})}, replace(APPROVING, glass=frozenset({"second"})), ""),
        ({}, replace(APPROVING, glass=frozenset({"first", "second"})), ""),
        ({}, replace(APPROVING, glass=frozenset({"first"}), requester_id=UserId("@a:x")), "somebody else"),
        ({"is_cross_signed": False}, replace(APPROVING, glass=frozenset({"first"})), "verified"),
        ({}, APPROVING, "not linked"),
    ],
)
def test_break_glass_is_decided_by_its_roles_alone(
    changes: dict[str, Any], action: Right | Approving, reason: str
) -> None:
    decision = decide(replace(HOLDER, **changes), action, SECRET)
    assert decision.allowed is (reason == "")
    assert reason in decision.reason


def test_who_is_let_in_is_a_responder_and_no_more() -> None:
    guest = Actor(user_id=UserId("@a:x"), is_joined=True, is_cross_signed=True, is_let_in=True)
    allowed = {right for right in Right if decide(guest, right, SECRET).allowed}
    assert allowed == {Right.ANYBODY, Right.MEMBER, Right.WITNESS, Right.RESPONDER}
    assert not decide(guest, replace(APPROVING, role="responder"), SECRET).allowed
    assert not decide(guest, Right.MEMBER, replace(SECRET, is_control_room=True)).allowed
    assert not decide(replace(guest, is_joined=False), Right.MEMBER, SECRET).allowed


def test_from_outside_a_room_its_responders_rule_holds_all_but_being_there() -> None:
    for right, control, joined, operator, known, active, responder, standing, clearance, level in TABLE:
        if right is not Right.RESPONDER or control or not joined:
            continue
        actor = Actor(
            user_id=UserId("@a:x"), username=Username("a") if known else None, clearance=clearance,
            is_active=active, is_operator=operator, is_responder=responder,
            is_commander=standing == "commands the incident", roles=ROLES.get(standing, frozenset()),
        )  # fmt: skip
        there = decide(replace(actor, is_joined=True), right, Subject(classification=level))
        assert may_know(actor, level) == there


def test_where_devices_must_be_verified_nothing_counts_from_another_one() -> None:
    actor = Actor(
        user_id=UserId("@a:x.org"),
        username=Username("a"),
        clearance=Classification.TOP_SECRET,
        is_active=True,
        is_operator=True,
        is_joined=True,
        is_responder=True,
        is_commander=True,
        roles=frozenset({"admin"}),
    )
    for control in (False, True):
        subject = Subject(
            classification=Classification.CONFIDENTIAL, is_control_room=control, needs_signed_device=True
        )
        for right in Right:
            refused = decide(actor, right, subject)
            assert not refused.allowed
            assert "Verify this one in your client's settings" in refused.reason
            signed = decide(replace(actor, is_cross_signed=True), right, subject)
            assert signed == decide(
                replace(actor, is_cross_signed=True), right, replace(subject, needs_signed_device=False)
            )
