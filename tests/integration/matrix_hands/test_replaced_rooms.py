"""A closed room is replaced by one that federates: made, taken over, closed, in every version of rooms."""

from dataclasses import replace

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import FollowUpgrade, OpenRoom, PutState
from etb_appservice.domain.rooms import incident_room
from etb_appservice.matrix.server import Json
from tests.harness.hands import Workbench, an_incident


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_a_room_of_ours_follows_a_room_of_ours_and_has_its_alias(shared: Workbench, version: str) -> None:
    number, policy = 200 + int(version), shared.policy(version)
    closed = shared.spec(number, version=version, level=Classification.RESTRICTED)
    before = await shared.open(closed)

    def wanted(generation: int) -> OpenRoom:
        spec = incident_room(
            an_incident(number), Classification.RESTRICTED, policy, generation=generation,
            servers=["cert.net:8448"], is_for_partners=True, predecessor=before,
        )  # fmt: skip
        return OpenRoom(war_room=spec.war_room, spec=spec)

    made = await shared.do(wanted(2), f"replace/{number}")
    again = await shared.do(wanted(2), f"replace/{number}", attempts=1)
    assert (made.detail, again.detail) == ("created", "adopted")
    assert made.room_id is not None
    assert again.room_id == made.room_id != before
    follow = FollowUpgrade(
        room_id=before,
        replacement=made.room_id,
        by=shared.server.user_id,
        spec=replace(wanted(1).spec, generation=2),
    )
    for tries in (0, 1):
        assert (await shared.do(follow, f"follow/{number}", attempts=tries)).room_id == made.room_id
    alias = f"#{closed.alias_localpart}:{shared.synapse.server_name}"
    assert await shared.server.resolve(alias) == made.room_id
    state = {event["type"]: event["content"] for event in await shared.server.state(made.room_id)}
    assert state["m.room.create"]["predecessor"]["room_id"] == before
    assert state["m.room.create"].get("m.federate", True) is True
    assert state["m.room.canonical_alias"]["alias"] == alias
    assert state["m.room.server_acl"]["allow"] == ["cert.net", shared.synapse.server_name]
    tombstone: Json = {"body": "It goes on elsewhere.", "replacement_room": made.room_id}
    closing = PutState(room_id=before, event_type="m.room.tombstone", state_key="", content=tombstone)
    assert (await shared.do(closing, f"close/{number}")).event_id
