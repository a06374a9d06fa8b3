"""Whose a token is: by script where ETB misbehaves, and by the sandbox, which is Django REST Framework's own."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.profiles import EtbProfiles
from tests.harness.bot import RealClock
from tests.harness.etb_parts import ScriptedEtb, held, json_answer
from tests.harness.sandbox import Sandbox, seeded_id, token_of

Connect = Callable[..., EtbClient]
PROFILE = "/security/api/auth/profile/"
ROW: dict[str, Any] = {
    "id": "00000000-0000-4000-8000-00000000000A",
    "username": "alice",
    "email": "alice@x.org",
    "mfa_enabled": False,
    "clearance_level": {"name": "TOP_SECRET", "level": 5},
}


@pytest.fixture
def profiles(connect: Connect) -> EtbProfiles:
    client = connect()
    return EtbProfiles(client, Modules(client), limit_s=2)


async def test_the_profile_is_asked_with_the_callers_token_and_not_with_ours(
    etb: ScriptedEtb, profiles: EtbProfiles
) -> None:
    etb.on(PROFILE, json_answer(ROW))
    user = await profiles.whose("their-token")
    assert user is not None
    assert (user.username, user.id, user.clearance) == ("alice", ROW["id"].lower(), Classification.TOP_SECRET)
    [request] = etb.requests
    assert request[3]["Authorization"] == "Token their-token"


async def test_a_refused_token_is_nobodys_and_everything_else_is_no_answer(
    etb: ScriptedEtb, profiles: EtbProfiles
) -> None:
    for status in (401, 403):
        etb.on(PROFILE, json_answer({}, status))
        assert await profiles.whose("t") is None
    for status in (404, 302):
        etb.on(PROFILE, json_answer({}, status))
        with pytest.raises(Refused) as refused:
            await profiles.whose("their-token")
        assert "their-token" not in str(refused.value)
    etb.on(PROFILE, json_answer({}, 500))
    with pytest.raises(Later):
        await profiles.whose("t")
    gate = asyncio.Event()
    etb.on(PROFILE, held(gate))
    with pytest.raises(Later):
        await profiles.whose("t")
    gate.set()
    rows: list[Any] = [[], {"id": 5}, {"username": 5}, {"username": ""}]
    for odd in rows:
        etb.on(PROFILE, json_answer(odd))
        with pytest.raises(Refused):
            await profiles.whose("t")


async def test_a_user_without_a_uuid_is_still_a_user(etb: ScriptedEtb, profiles: EtbProfiles) -> None:
    oddities: list[Any] = [7, "7", None]
    for odd in oddities:
        etb.on(PROFILE, json_answer(ROW | {"id": odd}))
        user = await profiles.whose("t")
        assert user is not None
        assert user.id == ""


async def test_the_sandbox_tells_whose_a_token_is(sandbox: Sandbox) -> None:
    clock = RealClock()
    async with EtbClient(EtbConnection(base_url=sandbox.url, token=sandbox.token), clock) as client:
        profiles = EtbProfiles(client, Modules(client))
        user = await profiles.whose(token_of("bob"))
        assert user is not None
        assert (user.username, user.id) == ("bob", seeded_id("user", "bob"))
        assert user.clearance is Classification.CONFIDENTIAL
        assert await profiles.whose("0" * 40) is None
        assert await profiles.whose(token_of("ivan")) is None  # not active
