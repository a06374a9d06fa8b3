"""Codes that link a Matrix account, from ETB's side: for the caller alone, few, and kept as digests."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from etb_appservice.domain.ids import UserId
from etb_appservice.domain.links import CODE_MS, MOST_OFFERS, OFFERS_MS, LinkCode, digest_of
from etb_appservice.domain.policy import CommandPolicy
from etb_appservice.gateway.objects import moment
from tests.harness.api import Api, api_of
from tests.harness.cast import ALICE, etb_user, policy_of
from tests.harness.kit import MakeHouse
from tests.unit.flows.test_links import HERS, WANDA, chat, types

pytestmark = pytest.mark.enable_socket
CODES = "link-codes/"
NOBODY = {"username": "wanda", "matrix_user_id": None, "source": "NONE"}
LINKED = {"username": "wanda", "matrix_user_id": HERS, "source": "LINKED"}


@pytest.fixture
async def ready(make_house: MakeHouse) -> AsyncIterator[Api]:
    """INC-1 is wanda's, who has no Matrix account yet, but the bot's direct chat with her is there."""
    house = await make_house(policy=replace(policy_of(), commands=CommandPolicy(burst=1000)))
    house.etb.users[WANDA] = etb_user(WANDA)
    await house.start_service()
    await house.open_for_alice(assignee=WANDA)
    await chat(house)
    async with api_of(house) as api:
        yield api


async def test_a_code_from_the_web_links_the_account_that_types_it(ready: Api) -> None:
    assert (await ready.get("wanda", CODES)).body == NOBODY
    made = await ready.post("wanda", CODES)
    assert made.status == 201
    assert made.body["command"] == f"!link {made.body['code']}"
    assert made.body["bot"] == ready.house.policy.rooms.bot
    assert "linked to your ETB user now" in await types(ready.house, made.body["command"])
    assert (await ready.get("wanda", CODES)).body == LINKED
    await ready.house.advance(2)
    assert HERS in ready.house.world.guests(await ready.house.room_id())


async def test_a_code_is_over_when_it_says_so_and_a_newer_one_ends_it(ready: Api) -> None:
    first = (await ready.post("wanda", CODES)).body
    began_ms = ready.house.clock.now_ms()
    second = (await ready.post("wanda", CODES)).body
    assert moment(began_ms) <= moment(began_ms + CODE_MS) <= second["expires_at"]
    assert "That is no code" in await types(ready.house, first["command"])
    await ready.house.advance(CODE_MS / 1000)
    assert "That is no code" in await types(ready.house, second["command"])
    assert (await ready.get("wanda", CODES)).body == NOBODY


async def test_a_code_is_for_whoever_asked_and_kept_as_its_digest(ready: Api) -> None:
    made = (await ready.post("wanda", CODES)).body
    async with ready.house.store.view() as view:
        [(_, kept)] = await view.cases.all_open(LinkCode)
    assert (kept.id, kept.digest) == (WANDA, digest_of(made["code"]))
    assert made["code"] not in repr(kept)
    assert made["code"] not in repr(await ready.house.audit())
    assert "code" not in (await ready.get("wanda", CODES)).body


async def test_a_link_is_undone_with_a_code_that_is_under_way_and_undoing_is_harmless(ready: Api) -> None:
    await types(ready.house, (await ready.post("wanda", CODES)).body["command"])
    await ready.house.advance(2)
    other = (await ready.post("wanda", CODES)).body
    for _ in range(2):
        undone = await ready.call("DELETE", "wanda", CODES)
        assert (undone.status, undone.body) == (200, NOBODY)
    assert ready.house.policy.people.username(HERS) is None
    assert "That is no code" in await types(ready.house, other["command"])
    assert (await ready.house.tags()).count("person.unlinked") == 1
    await ready.house.crash()
    assert (await ready.get("wanda", CODES)).body == NOBODY


async def test_few_codes_are_given_in_an_hour_also_after_one_was_used_or_undone(ready: Api) -> None:
    made = [(await ready.post("wanda", CODES)).body for _ in range(MOST_OFFERS - 1)]
    await types(ready.house, made[-1]["command"])
    await ready.call("DELETE", "wanda", CODES)
    last = (await ready.post("wanda", CODES)).body
    refused = await ready.post("wanda", CODES)
    assert (refused.status, refused.body["code"]) == (429, "throttled")
    assert 0 < int(refused.headers["Retry-After"]) <= OFFERS_MS / 1000
    assert "linked to your ETB user now" in await types(ready.house, last["command"]), "the last one is good still"
    ready.house.etb.users[WANDA] = etb_user(WANDA)
    await ready.house.advance(int(refused.headers["Retry-After"]))
    assert (await ready.post("wanda", CODES)).status == 201


async def test_whom_the_operator_has_mapped_gets_no_code_and_is_not_undone(ready: Api) -> None:
    configured = {"username": "alice", "matrix_user_id": ALICE, "source": "CONFIGURED"}
    refused = await ready.post("alice", CODES)
    assert (refused.status, refused.body["code"]) == (409, "conflict")
    assert (await ready.call("DELETE", "alice", CODES)).body == configured
    assert (await ready.get("alice", CODES)).body == configured


async def test_somebody_undoes_only_their_own_link(ready: Api) -> None:
    await types(ready.house, (await ready.post("wanda", CODES)).body["command"])
    await ready.call("DELETE", "bob", CODES)
    assert ready.house.policy.people.user_id(WANDA) == UserId(HERS)
    for method in ("GET", "POST", "DELETE"):
        assert (await ready.call(method, None, CODES)).status == 401
