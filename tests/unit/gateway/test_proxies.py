"""Whose address counts where proxies stand in front."""

from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from etb_appservice.gateway.frame import Public
from etb_appservice.gateway.proxies import Network, caller_address
from tests.harness.api import api_of
from tests.harness.house import House
from tests.unit.gateway.test_files import FILES, upload

OURS = [ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("127.0.0.1")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "wanted"),
    [
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["6.6.6.6, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["6.6.6.6", "192.0.2.7, 10.1.1.1"], "192.0.2.7"),
        ("10.0.0.1", ["192.0.2.7:4711"], "192.0.2.7"),
        ("10.0.0.1", ['"[2001:db8::7]:4711"'], "2001:db8::7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("192.0.2.9", ["192.0.2.7"], "192.0.2.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["", " , "], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, _hidden, 10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", ["x" * 100_000], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2," * 10_000], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("", ["192.0.2.7"], ""),
    ],
)
def test_only_what_our_own_proxies_say_counts(peer: str, forwarded: list[str], wanted: str) -> None:
    assert caller_address(peer, forwarded, OURS) == wanted


def test_without_proxies_of_ours_nobody_is_believed() -> None:
    assert caller_address("10.0.0.1", ["192.0.2.7"], []) == "10.0.0.1"


@pytest.mark.enable_socket
@pytest.mark.parametrize(("proxies", "wanted"), [(OURS, "192.0.2.7"), ([], "127.0.0.1")])
async def test_the_access_log_names_whoever_asked_the_proxy(
    house: House, proxies: Sequence[Network], wanted: str
) -> None:
    await house.open_for_alice()
    async with api_of(house, public=Public(proxies=proxies)) as api:
        file_id = (await upload(api, "alice")).body["id"]
        headers = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7"}
        told = await api.call("POST", "alice", f"{FILES}{file_id}/log_access/", json={}, headers=headers)
        assert (told.status, told.body["ip_address"]) == (201, wanted)
