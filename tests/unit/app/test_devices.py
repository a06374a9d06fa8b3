"""The loop that looks at people's devices, and how the cipher's words get into ours."""

import asyncio
from typing import cast

from etb_appservice.app.devices import CipherDevices, DeviceWatch
from etb_appservice.app.loops import Own
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.devices import SeenDevice
from etb_appservice.domain.ids import UserId
from etb_appservice.matrix.results import Crypto, Unsigned
from etb_appservice.store.codec import FactJson
from tests.harness.cast import ALICE
from tests.harness.house import House
from tests.unit.app.test_loops import pass_time, turning


async def test_it_goes_round_and_wakes_the_lane_of_a_room_with_news(house: House) -> None:
    await house.open_for_alice(stated=Classification.CONFIDENTIAL)
    woken: list[str] = []
    own = Own(house.db, FactJson(), house.clock, woken.extend)
    house.devices.doubted = [SeenDevice(user_id=ALICE, device_id="LAPTOP")]
    async with turning(DeviceWatch(house.devices, own, house.policy, 60.0).run()) as task:
        await pass_time(house, 59, task)
        assert woken == []
        await pass_time(house, 1, task)
        assert woken == [(await house.room()).incident_id]
        await house.settle()
        await pass_time(house, 60, task)
        assert len(woken) == 1, "it is known by now"
        assert not task.done()
    await asyncio.sleep(0)


async def test_the_ciphers_words_in_ours() -> None:
    asked: list[list[str]] = []

    class Cipher:
        async def unsigned_devices(self, user_ids: list[str], *, afresh: bool) -> tuple[Unsigned, ...]:
            asked.append([*user_ids, str(afresh)])
            return (Unsigned("@b:x", "D", "Phone", is_replaced=True),)

    devices = CipherDevices(cast("Crypto", Cipher()))
    found = await devices.unsigned({UserId("@b:x"), UserId("@a:x")})
    assert asked == [["@a:x", "@b:x", "False"]]
    await devices.unsigned([UserId("@a:x")], afresh=True)
    assert asked[1:] == [["@a:x", "True"]]
    assert found == [SeenDevice(user_id=UserId("@b:x"), device_id="D", name="Phone", is_replaced=True)]
