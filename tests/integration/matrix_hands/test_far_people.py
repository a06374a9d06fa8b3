"""Inviting people of other homeservers, reachable and not."""

from pathlib import Path

import pytest

from etb_appservice.domain.effects import Invite
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.outcomes import Later, Refused
from tests.harness.hands import Workbench
from tests.harness.processes import free_port
from tests.harness.synapse import two_federated


@pytest.mark.timeout(170)
async def test_far_people_are_invited_and_who_can_not_be_reached_is_refused_by_name(tmp_path: Path) -> None:
    first, second = await two_federated(tmp_path, slots=["etb"])
    try:
        bench = await Workbench.start(first, first.slots[0], tmp_path)
        try:
            room_id = await bench.open(bench.spec(1, servers=[second.server_name]))
            async with await second.user("far") as far:
                invite = Invite(room_id=room_id, user_id=UserId(far.user_id))
                assert (await bench.do(invite, "f/1")).detail == "invited"
                await far.join(room_id, via=first.server_name)
                assert (await bench.do(invite, "f/2")).detail == "was there: join"

            dead = Invite(room_id=room_id, user_id=UserId(f"@a:127.0.0.4:{free_port('127.0.0.4')}"))
            with pytest.raises(Later, match="can't be reached"):
                await bench.do(dead, "f/3")
            with pytest.raises(Refused, match="can't be reached") as refusal:
                await bench.do(dead, "f/3", attempts=2)
            assert dead.user_id in str(refusal.value)
        finally:
            await bench.stop()
    finally:
        await first.stop()
        await second.stop()
