"""The OpenAPI document: valid, complete, and true. Schemathesis sends what it allows, and what it doesn't."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from http import HTTPStatus
from random import Random
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.strategies import randoms
from openapi_spec_validator import validate
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.control import SkipTest
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from etb_appservice.app import api_document
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.ids import Username, new_id, war_room_id
from etb_appservice.domain.policy import RolePolicy
from etb_appservice.gateway.links import PREFIXES, Links
from etb_appservice.gateway.openapi import document, statuses
from etb_appservice.gateway.routes import ROUTES
from etb_appservice.ports import ChatFile
from tests.harness.api import Api, api_of, id_of, token_of
from tests.harness.cast import ALICE, NO_1, etb_user, incident, policy_of
from tests.harness.kit import MakeHouse

pytestmark = pytest.mark.enable_socket
DOCUMENT: dict[str, Any] = json.loads(api_document())
NEVER = {
    "POST /chat-bots/{id}/generate_response/": "no source of knowledge is connected: 503 by design",
}
"""What is never answered with success here, and why."""
PEOPLE = tuple(Username(name) for name in ("alice", "bob", "wanda"))
"""Alice has every role; nobody has said which Matrix account is Wanda's."""
ROLES: tuple[OurRole, ...] = ("auditor", "compliance", "commander", "admin")
OFTEN = 0.7
"""How often a field holds what is there instead of anything."""
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
EXAMPLES = 15
OPERATIONS = sorted(
    f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods
)


def test_the_document_is_valid() -> None:
    for prefix in PREFIXES:
        made = document(ROUTES, Links("https://chat.example.org", prefix))
        validate(made)
        assert made["servers"][0]["url"] == f"https://chat.example.org{prefix.rstrip('/')}"


def test_every_route_is_in_it_with_all_that_it_takes_and_answers() -> None:
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)
    assert len(OPERATIONS) == len(ROUTES)
    for route in ROUTES:
        operation = DOCUMENT["paths"][f"/{route.path}"][route.method.lower()]
        assert operation["operationId"] == route.name
        assert operation["summary"]
        assert set(operation["responses"]) == {str(one) for one in (*route.answers, *statuses(route))}
        assert {one["name"] for one in operation.get("parameters", [])} == {
            *re.findall(r"{(\w+)}", route.path),
            *route.query.model_fields,
            *(["Idempotency-Key"] if route.takes_key else []),
        }
        assert ("requestBody" in operation) is (route.takes_body or route.form is not None)


@pytest.mark.parametrize("path", [f"{PREFIXES[0]}schema/", f"{PREFIXES[1]}schema/", "/openapi.json"])
async def test_the_document_is_served_to_anybody(api: Api, path: str) -> None:
    answer = await api.get(None, path)
    assert (answer.status, answer.body["openapi"]) == (200, "3.1.0")
    assert (await api.call("POST", None, path)).status == 405


@pytest.fixture
async def api(make_house: MakeHouse) -> AsyncIterator[Api]:
    """In front of a house that knows roles by their own names."""
    house = await make_house(policy=policy_of(roles=RolePolicy(meaning={role: role for role in ROLES})))
    async with api_of(house) as served:
        yield served


Known = Mapping[str, Sequence[object]]
"""What may stand in a field of this name, of a path, a query or a body, and is there."""


async def filled(api: Api) -> Known:
    """A house with something of everything."""
    house, room = api.house, war_room_id(NO_1)
    await house.open_for_alice()
    async with house.db.work() as work:
        for name in PEOPLE:
            user = replace(etb_user(name), id=id_of(name), roles=ROLES if name == "alice" else ())
            house.etb.users[name] = user
            await work.incidents.put_user(user, house.clock.now_ms())
    await house.ask(ALICE, "!status")
    command = (await api.get("alice", "chat-commands/")).body["results"][0]["id"]
    bots = (await api.get("alice", "chat-bots/")).body["results"]
    said = [
        (await api.post("alice", "war-room-messages/", {"war_room_id": room, "content": content})).body["id"]
        for content in ("the disk is full", "/status")
    ]
    form = aiohttp.FormData({"war_room_id": room})
    form.add_field("file", b"connection refused", filename="mail.log", content_type="text/plain")
    file = (await api.call("POST", "alice", "chat-files/", data=form)).body["id"]
    details = FileDetails(name="old.log", original_name="old.log", uploaded_by=Username("alice"))
    old = ChatFile(id=new_id(0), war_room=room, lane=NO_1, created_ms=0, details=details)
    async with house.db.work() as work:
        await work.files.put(old)  # so old that it may be deleted
    return {
        "war-rooms": [room],
        "war-room-messages": said,
        "chat-commands": [command],
        "chat-bots": [one["id"] for one in bots],
        "chat-files": [file, old.id],
        "war_room": [room],
        "war_room_id": [room],
        "incident": [NO_1],
        "incident_id": [NO_1],
        "message": said,
        "message_id": said,
        "reply_to": said,
        "reply_to_id": said,
        "attachment_ids": [[], [file]],
        "mentioned_user_ids": [[], [id_of("bob")]],
        "allowed_user_ids": [[], [id_of("bob")]],
        "user_id": [id_of("bob")],
        "emoji": ["\N{THUMBS UP SIGN}"],
        "command_text": ["/status", "/assign bob"],
        "privacy_level": ["PRIVATE"],
        "status": ["ACTIVE"],
        "data_classification": ["PUBLIC", "INTERNAL"],
    }


def fuzz(url: str, operation: str, mode: GenerationMode, known: Known) -> Sequence[int]:
    """Send one operation many inputs; every answer must be one that the document names. The statuses seen."""
    method, _, path = operation.partition(" ")
    config = SchemathesisConfig.from_dict({"generation": {"mode": mode.value}})
    schema = schemathesis.openapi.from_dict(DOCUMENT, config=config)
    tested = schema[path][method]
    names = {one["name"] for one in DOCUMENT["paths"][path][method.lower()].get("parameters", [])}
    fields = fields_of(operation)
    seen: list[int] = []
    who = "wanda" if "/link-codes/" in operation else "alice"
    headers = {"Authorization": f"Token {token_of(who)}"}
    # Some rules no schema can tell, such as that a user is one of ETB's.
    excluded: list[CheckFunction] = [positive_data_acceptance]
    if operation.endswith("/generate_response/"):
        # 503 by design, while no source of knowledge is connected.
        excluded.append(not_a_server_error)

    @given(case=tested.as_strategy(generation_mode=mode), dice=randoms(use_true_random=False))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: "schemathesis.Case[Any]", dice: Random) -> None:
        assume("" not in (case.query or {}).values())  # an empty parameter is one that isn't there, as in Django
        if known and "id" in case.path_parameters and _is_uuid(case.path_parameters["id"]):
            case.path_parameters["id"] = dice.choice(known[path.split("/")[1]])
        for part, there in ((case.query, names), (case.body, fields)):
            if isinstance(part, dict):
                wanted = sorted(there & set(known))
                # What is wrong with one must not be mended by this.
                may = [one for one in wanted if mode is GenerationMode.POSITIVE or _is_uuid(part.get(one))]
                part |= {one: dice.choice(known[one]) for one in may if dice.random() < OFTEN}
        answer = case.call(base_url=url, headers=headers)
        seen.append(answer.status_code)
        assert answer.status_code != 500
        case.validate_response(answer, excluded_checks=excluded)

    # Nothing can be wrong with some; but all can be sent.
    with contextlib.suppress(*([SkipTest] if mode is GenerationMode.NEGATIVE else [])):
        check()
    return seen


def fields_of(operation: str) -> AbstractSet[str]:
    """What a body may hold."""
    method, _, path = operation.partition(" ")
    body = DOCUMENT["paths"][path][method.lower()].get("requestBody", {"content": {}})
    models = [one["schema"]["$ref"].rpartition("/")[2] for one in body["content"].values()]
    return {name for one in models for name in DOCUMENT["components"]["schemas"][one]["properties"]}


def _is_uuid(text: object) -> bool:
    try:
        UUID(str(text))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_no_input_makes_it_fail_or_answer_what_the_document_does_not_name(api: Api, operation: str) -> None:
    known = await filled(api)
    url = str(api.client.make_url(PREFIXES[0]))
    seen: list[int] = []
    if operation.endswith("/archive/"):
        await api.house.report(incident(status="RESOLVED", updated_at_ms=2000))
        await api.house.settle()
    for mode in MODES:
        for ids in ({}, known):
            seen += await asyncio.to_thread(fuzz, url, operation, mode, ids)
    assert any(one < HTTPStatus.MULTIPLE_CHOICES for one in seen) is (operation not in NEVER)
