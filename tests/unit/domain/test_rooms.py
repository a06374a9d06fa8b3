import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import IncidentId, UserId
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.rooms import (
    DEFAULT_RULES,
    RoomPolicy,
    RoomSpec,
    announcement_room,
    control_room,
    direct_room,
    has_privileged_creators,
    incident_room,
    incidents_space,
)

BOT, GLASS = UserId("@etb:x.org"), UserId("@glass:x.org")
POLICY = RoomPolicy(bot=BOT)
INCIDENT = Incident(
    id=IncidentId("11111111-1111-4111-8111-111111111111"),
    number="INC-7",
    title="Payroll leaked",
    severity="CRITICAL",
    status="OPEN",
    updated_at_ms=1,
    category="SECRETS",
    description="A long story",
    url="https://etb/x",
)
SECRET_LEVELS = [level for level in Classification if level > Classification.INTERNAL]


def readable(spec: RoomSpec) -> str:
    """Everything of a room that its homeservers can read."""
    return json.dumps(
        [spec.name, spec.topic, spec.alias_localpart, spec.creation_content, spec.initial_state, spec.power_levels]
    )


def state(spec: RoomSpec, event_type: str) -> dict[str, object]:
    [content] = [one["content"] for one in spec.initial_state if one["type"] == event_type]
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("version", ["10", "11", "12"])
@pytest.mark.parametrize("level", SECRET_LEVELS)
def test_above_internal_servers_read_the_number_and_nothing_else_of_an_incident(
    level: Classification, version: str
) -> None:
    spec = incident_room(INCIDENT, level, replace(POLICY, version=version))
    assert (spec.name, spec.topic) == ("INC-7", "")
    other = replace(INCIDENT, title="T", severity="LOW", status="X", category="C", description="D", url="")
    assert spec == incident_room(other, level, replace(POLICY, version=version))
    for text in ("Payroll", "CRITICAL", "SECRETS", "long story", level.name):
        assert text not in readable(spec)


@pytest.mark.parametrize("level", [Classification.PUBLIC, Classification.INTERNAL])
def test_up_to_internal_the_name_holds_the_title_cut_to_size(level: Classification) -> None:
    assert incident_room(INCIDENT, level, POLICY).name == "INC-7 Payroll leaked"
    assert len(incident_room(replace(INCIDENT, title="x" * 1000), level, POLICY).name) == 200


@pytest.mark.parametrize("level", Classification)
def test_history_federation_and_keys_follow_the_table(level: Classification) -> None:
    spec, rules = incident_room(INCIDENT, level, POLICY), DEFAULT_RULES[level]
    assert state(spec, "m.room.history_visibility") == {"history_visibility": rules.visibility}
    assert spec.creation_content["m.federate"] is rules.federate
    assert (spec.visibility, spec.keys_to_invited) == (rules.visibility, rules.keys_to_invited)
    assert spec.classification is level
    if level > Classification.INTERNAL:
        assert (spec.visibility, spec.keys_to_invited) == ("joined", False)
    if level > Classification.CONFIDENTIAL:
        assert spec.creation_content["m.federate"] is False


@pytest.mark.parametrize("version", ["10", "11", "12"])
@pytest.mark.parametrize("level", Classification)
def test_every_incident_room_is_encrypted_from_its_first_state_and_by_invitation(
    level: Classification, version: str
) -> None:
    spec = incident_room(INCIDENT, level, replace(POLICY, version=version))
    assert spec.encrypted
    assert spec.initial_state[0]["type"] == "m.room.encryption"
    assert spec.initial_state[0]["content"]["algorithm"] == "m.megolm.v1.aes-sha2"
    assert state(spec, "m.room.join_rules") == {"join_rule": "invite"}
    assert state(spec, "m.room.guest_access") == {"guest_access": "forbidden"}
    assert {one["state_key"] for one in spec.initial_state} == {""}


@pytest.mark.parametrize("level", Classification)
def test_a_room_that_federates_admits_our_homeservers_and_those_of_partners(level: Classification) -> None:
    policy = replace(POLICY, servers=frozenset({"branch.org"}))
    if DEFAULT_RULES[level].federate:
        assert incident_room(INCIDENT, level, POLICY).hosts == ("x.org",)
    else:
        assert incident_room(INCIDENT, level, POLICY, servers=["cert.net"]).hosts is None
    spec = incident_room(INCIDENT, level, policy, servers=["cert.net:1"], is_for_partners=True)
    assert spec.federates
    assert spec.hosts == ("branch.org", "cert.net", "x.org")
    assert state(spec, "m.room.server_acl")["deny"] == []
    assert spec.initial_state[0]["type"] == "m.room.encryption"


def test_other_rooms_admit_nobody_who_is_not_meant_to_be_there() -> None:
    policy = replace(POLICY, servers=frozenset({"branch.org"}))
    assert control_room(policy).hosts is None
    assert incidents_space(policy).hosts is None
    assert direct_room(UserId("@ann:cert.net"), policy).hosts == ("cert.net", "x.org")
    announced = announcement_room(Classification.INTERNAL, policy, [UserId("@dan:press.net")])
    assert announced.hosts == ("press.net", "x.org")


@pytest.mark.parametrize("version", ["10", "11"])
def test_before_version_12_the_bot_and_break_glass_stand_in_the_power_levels(version: str) -> None:
    spec = incident_room(
        INCIDENT, Classification.INTERNAL, replace(POLICY, version=version, additional_creators=(GLASS,))
    )
    assert spec.power_levels["users"] == {BOT: 100, GLASS: 100}
    assert "additional_creators" not in spec.creation_content
    assert spec.power_levels["events"]["m.room.tombstone"] == 100


@pytest.mark.parametrize("version", ["12", "13", "org.matrix.hydra.11"])
def test_from_version_12_creators_are_absent_from_the_power_levels(version: str) -> None:
    policy = replace(POLICY, version=version, additional_creators=(GLASS,))
    spec = incident_room(INCIDENT, Classification.INTERNAL, policy)
    assert spec.power_levels["users"] == {}
    assert spec.creation_content["additional_creators"] == [GLASS]
    assert spec.power_levels["events"]["m.room.tombstone"] == 150
    assert has_privileged_creators(version)
    assert "additional_creators" not in incident_room(INCIDENT, Classification.INTERNAL, POLICY).creation_content


@pytest.mark.parametrize("version", ["10", "12"])
def test_nobody_but_the_bot_invites_removes_or_sets_state(version: str) -> None:
    policy = replace(POLICY, version=version)
    for spec in (
        incident_room(INCIDENT, Classification.PUBLIC, policy),
        control_room(policy),
        incidents_space(policy),
    ):
        levels = spec.power_levels
        assert min(levels[name] for name in ("invite", "kick", "ban", "state_default")) == 100
        assert levels["users_default"] == levels["events_default"] == 0
        assert levels["events"]["m.room.encryption"] == 100


def test_the_alias_is_made_of_the_uuid_and_the_generation() -> None:
    def alias(generation: int) -> str:
        return incident_room(INCIDENT, Classification.INTERNAL, POLICY, generation=generation).alias_localpart

    assert alias(1) == "_etb_11111111-1111-4111-8111-111111111111"
    assert alias(2) == "_etb_11111111-1111-4111-8111-111111111111.2"


def test_a_room_names_its_incident_and_generation_from_creation() -> None:
    spec = incident_room(INCIDENT, Classification.INTERNAL, POLICY, generation=3)
    assert spec.creation_content["org.etb.incident"] == INCIDENT.id
    assert spec.creation_content["org.etb.generation"] == spec.generation == 3


def test_the_control_room_is_encrypted_and_stays_at_home() -> None:
    spec = control_room(POLICY)
    assert spec.encrypted
    assert spec.creation_content["m.federate"] is False
    assert (spec.visibility, spec.keys_to_invited, spec.kind) == ("joined", False, "control")


def test_the_space_is_a_space_without_messages() -> None:
    spec = incidents_space(POLICY)
    assert not spec.encrypted
    assert spec.creation_content["type"] == "m.space"
    assert all(one["type"] != "m.room.encryption" for one in spec.initial_state)


@given(st.text(max_size=400), st.text(max_size=50), st.sampled_from(Classification))
def test_a_room_says_the_same_for_the_same_incident(title: str, category: str, level: Classification) -> None:
    one = incident_room(replace(INCIDENT, title=title, category=category), level, POLICY)
    two = incident_room(replace(INCIDENT, title=title, category=category + "x"), level, POLICY)
    assert one == two
    assert len(one.name) <= 200
