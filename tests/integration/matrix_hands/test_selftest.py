"""The start-up self-test says what is missing on a real homeserver, and what to do."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from etb_appservice.domain.outcomes import Failure
from etb_appservice.matrix.api import Actor, make_client
from etb_appservice.matrix.ping import ping
from etb_appservice.matrix.selftest import SelfTest
from etb_appservice.matrix.server import Homeserver
from etb_appservice.ports import Vital
from tests.harness.bot import RealClock
from tests.harness.hands import Workbench
from tests.harness.synapse import Slot, Synapse, write_slot


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def self_test(server: Homeserver, slot: Slot, **more: object) -> SelfTest:
    options: dict[str, object] = {
        "appservice_id": slot.id,
        "alias_prefix": slot.alias_prefix,
        "server_name": "localhost",
        "ping_tries": 1,
    } | more
    return SelfTest(server, RealClock(), **options)  # type: ignore[arg-type]


def server_of(synapse: Synapse, slot: Slot, http: aiohttp.ClientSession, **more: str) -> Homeserver:
    words = {"token": slot.as_token, "mxid": slot.bot_mxid, "device": ""} | more
    client = make_client(synapse.url, words["token"], words["mxid"], words["device"], http)
    return Homeserver(Actor(words["mxid"], words["device"], client))


def by_name(vitals: tuple[Vital, ...]) -> dict[str, Vital]:
    return {vital.name: vital for vital in vitals}


async def test_everything_is_well_with_a_right_registration(shared: Workbench) -> None:
    found = by_name(await self_test(shared.server, shared.slot).run())
    assert {name for name, vital in found.items() if not vital.is_well} == set(), found
    assert set(found) == {"homeserver", "identity", "sync", "sending", "aliases", "transactions"}
    assert shared.server.device_id in found["identity"].text
    room_id = await shared.open(shared.spec(1))
    events = await self_test(shared.server, shared.slot).prove_events(room_id, shared.intake)
    assert events.is_well


async def test_the_ping_reaches_us_and_counts(shared: Workbench) -> None:
    before = shared.transactions.pings
    assert await ping(shared.server, shared.slot.id, shared.clock) >= 0
    assert shared.transactions.pings == before + 1


async def test_a_wrong_as_token_is_named(synapse: Synapse, shared: Workbench, http: aiohttp.ClientSession) -> None:
    found = by_name(await self_test(server_of(synapse, shared.slot, http, token="wrong"), shared.slot).run())
    assert not any(vital.is_well for vital in found.values())
    assert "appservice.as_token" in found["identity"].text
    assert "wrong" not in found["identity"].text


async def test_a_lost_device_and_a_foreign_name_are_told_apart(
    synapse: Synapse, shared: Workbench, http: aiohttp.ClientSession
) -> None:
    lost = by_name(await self_test(server_of(synapse, shared.slot, http, device="GONE"), shared.slot).run())
    assert not lost["identity"].is_well
    assert "recover" in lost["identity"].text
    foreign = server_of(synapse, shared.slot, http, mxid="@somebody:localhost")
    found = by_name(await self_test(foreign, shared.slot).run())
    assert "namespaces.users" in found["identity"].text


async def test_a_missing_alias_namespace_is_named(shared: Workbench) -> None:
    found = by_name(await self_test(shared.server, shared.slot, alias_prefix="elsewhere_").run())
    assert not found["aliases"].is_well
    assert "namespaces.aliases" in found["aliases"].text


async def test_a_listener_that_is_not_there_is_named(
    synapse: Synapse, take_slot: Callable[[], Slot], tmp_path: Path
) -> None:
    deaf = await Workbench.start(synapse, take_slot(), tmp_path, listen=False)
    try:
        found = by_name(await self_test(deaf.server, deaf.slot).run())
        assert "can't reach the url of the registration" in found["transactions"].text
    finally:
        await deaf.stop()


async def test_another_services_id_is_named(shared: Workbench, take_slot: Callable[[], Slot]) -> None:
    with pytest.raises(Failure, match=r"appservice\.id"):
        await ping(shared.server, take_slot().id, shared.clock, tries=1)


async def test_a_wrong_hs_token_is_named(shared: Workbench) -> None:
    right, shared.transactions._tokens = shared.transactions._tokens, [b"another"]
    try:
        with pytest.raises(Failure, match="hs_token"):
            await ping(shared.server, shared.slot.id, shared.clock, tries=1)
    finally:
        shared.transactions._tokens = right


async def test_a_bot_that_is_the_sender_itself_is_named(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    slot = write_slot(tmp_path, "localhost", "etb")
    registration = json.loads(slot.registration_path.read_text())
    slot.registration_path.write_text(json.dumps(registration | {"sender_localpart": slot.bot_localpart}))
    synapse = await Synapse.start(tmp_path / "synapse", registrations=[slot.registration_path])
    try:
        slot = replace(slot, sender_localpart=slot.bot_localpart)
        found = by_name(await self_test(server_of(synapse, slot, http), slot).run())
        assert "sender_localpart" in found["sync"].text, found
    finally:
        await synapse.stop()


async def test_an_unreachable_homeserver_is_named(shared: Workbench, http: aiohttp.ClientSession) -> None:
    client = make_client("http://127.0.0.1:9", shared.slot.as_token, shared.slot.bot_mxid, "", http)
    found = await self_test(Homeserver(Actor(shared.slot.bot_mxid, "", client)), shared.slot).run()
    assert not any(vital.is_well for vital in found)
    assert "can't be reached" in found[0].text
