"""Who and what tests of flows are about: people, two incidents, what the operator has decided."""

from dataclasses import replace
from typing import Any

from etb_appservice.domain.classification import Classification, ClassificationMap
from etb_appservice.domain.ghosts import Ghosts
from etb_appservice.domain.ids import IncidentId, UserId, Username
from etb_appservice.domain.incident import EtbUser, Incident
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import Backoff, CadencePolicy, CommandPolicy, KeyPolicy, Policy
from etb_appservice.domain.rooms import RoomPolicy

BOT = UserId("@etb:x.org")
ALICE = UserId("@alice:x.org")
BOB = UserId("@bob:x.org")
CAROL = UserId("@carol:x.org")
OPERATOR = UserId("@op:x.org")
STRANGER = UserId("@mallory:evil.example")
GHOSTS = Ghosts("@_etb_u_", "x.org")
NO_1 = IncidentId("11111111-1111-4111-8111-111111111111")
NO_2 = IncidentId("22222222-2222-4222-8222-222222222222")
SILENT = CadencePolicy(update_minutes={}, commander_minutes=0, catch_up_minutes=366 * 24 * 60)
"""Nothing is said by itself as time passes: tests of that ask for the defaults."""


def incident(**changes: Any) -> Incident:
    """INC-1: reported by alice, assigned to bob."""
    first = Incident(
        id=NO_1,
        number="INC-1",
        title="Mail is down",
        severity="HIGH",
        status="OPEN",
        updated_at_ms=1000,
        category="NETWORK",
        priority="P1",
        description="Nobody can send mail.",
        assignee=Username("bob"),
        reporter=Username("alice"),
    )
    return replace(first, **changes)


def etb_user(name: str, clearance: Classification = Classification.RESTRICTED, *, active: bool = True) -> EtbUser:
    """A user as ETB knows them."""
    return EtbUser(Username(name), name.title(), clearance, active)


def policy_of(**changes: Any) -> Policy:
    """What the operator of the house has decided."""
    policy = Policy(
        rooms=RoomPolicy(bot=BOT),
        people=PeopleMap(
            "", {Username(name): UserId(f"@{name}:x.org") for name in ("alice", "bob", "carol")}, GHOSTS
        ),
        classification=ClassificationMap(default=Classification.INTERNAL),
        operators=frozenset({OPERATOR}),
        server_name="x.org",
        commands=CommandPolicy(burst=5),
        cadence=SILENT,
        keys=KeyPolicy(tell_after_s=30, give_up_after_s=3600),
        intake=Backoff(first_s=1, most_s=4, tries=3),
        outbox=Backoff(first_s=1, most_s=4, tries=4),
    )
    return replace(policy, **changes)
