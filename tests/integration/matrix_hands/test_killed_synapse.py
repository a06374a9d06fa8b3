"""Synapse dies in the middle of createRoom: what it leaves is never used as it is."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from etb_appservice.domain.effects import OpenRoom, Say
from etb_appservice.domain.outcomes import Failure
from tests.harness.hands import Workbench, eventually
from tests.harness.synapse import Synapse, write_slot

BEGUN = "SELECT 1 FROM room_aliases JOIN events USING (room_id) WHERE room_alias = ? AND type = ?"


@pytest.mark.timeout(170)
async def test_a_room_cut_off_by_sigkill_is_whole_before_anything_is_said(tmp_path: Path) -> None:
    slot = write_slot(tmp_path, "localhost")
    synapse = await Synapse.start(tmp_path / "synapse", registrations=[slot.registration_path])
    bench = await Workbench.start(synapse, slot, tmp_path)
    found = []
    try:
        for number, event_type in enumerate(("m.room.create", "m.room.member"), start=1):
            spec = bench.spec(number)
            alias = f"#{spec.alias_localpart}:localhost"
            opening = asyncio.create_task(bench.do(OpenRoom(war_room=spec.war_room, spec=spec), f"o/{number}"))

            def has_begun(alias: str = alias, event_type: str = event_type) -> bool:
                return bool(synapse.query(BEGUN, alias, event_type))

            await eventually(has_begun, f"the alias and {event_type}")
            await synapse.kill()
            with suppress(Failure):
                await opening
            await synapse.launch()

            done = await bench.do(OpenRoom(war_room=spec.war_room, spec=spec), f"o/{number}", attempts=1)
            assert done.room_id is not None
            found.append(done.detail)
            assert await bench.server.resolve(alias) == done.room_id
            state = {event["type"]: event["content"] for event in await bench.server.state(done.room_id)}
            assert state["m.room.encryption"]["algorithm"] == "m.megolm.v1.aes-sha2"
            assert state["m.room.join_rules"] == {"join_rule": "invite"}
            assert state["m.room.history_visibility"] == {"history_visibility": "joined"}
            assert state["m.room.power_levels"]["invite"] == 100
            assert state["m.room.name"]["name"] == f"INC-{number}"
            await bench.know(spec, done.room_id)
            assert (await bench.do(Say(room_id=done.room_id, content="card"), f"s/{number}")).event_id
    finally:
        await bench.stop()
        await synapse.stop()
    # Killed as soon as the alias stood, so at least one room must have been cut off.
    assert {"completed", "replaced"} & set(found), found
