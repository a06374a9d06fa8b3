"""The webhook over HTTP: signatures, sizes, duplicates, and a database that fails."""

import base64
import gzip
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

from etb_appservice.config.sections.upkeep import Retention
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.webhook import PATH, WebhookIntake
from tests.contract.etb.conftest import Reopen
from tests.harness.etb_parts import HandClock, KeptStore, incident_row

OLD, NEW = ("whsec_" + base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))
HOUR_MS = 3600 * 1000
CONNECTION = EtbConnection(base_url="https://etb.example.org", token="t")

both = pytest.mark.parametrize("database", ["sqlite", "postgres"], indirect=True)


def body_of(**changes: Any) -> bytes:
    return json.dumps({"event": "incident.created", "incident": incident_row()} | changes).encode()


def signed(body: bytes, *, secret: str = NEW, name: str = "msg_1", ago: timedelta = timedelta()) -> dict[str, str]:
    now = datetime.now(tz=UTC) - ago
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(name, now, body.decode("latin-1")),
    }


@dataclass
class Door:
    store: KeptStore
    url: str
    http: aiohttp.ClientSession
    woken: list[int]

    async def post(
        self, body: bytes, headers: dict[str, str] | None = None, *, path: str = PATH, method: str = "POST"
    ) -> tuple[int, Any]:
        sent = signed(body) if headers is None else headers
        async with self.http.request(method, self.url + path, data=io.BytesIO(body), headers=sent) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def door(store: KeptStore) -> AsyncIterator[Door]:
    async with door_to(store) as door:
        yield door


@asynccontextmanager
async def door_to(store: KeptStore) -> AsyncIterator[Door]:
    """A webhook endpoint before this store."""
    woken: list[int] = []
    intake = WebhookIntake(
        store, IncidentDecoder(CONNECTION), [NEW, OLD], accepted=lambda: woken.append(store.commits)
    )
    app = web.Application()
    app.add_routes(intake.routes())
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        yield Door(store, f"http://127.0.0.1:{server.port}", http, woken)


@both
@pytest.mark.parametrize("path", [PATH, PATH.rstrip("/")])
async def test_a_signed_incident_is_stored_in_one_commit_and_accepted(door: Door, path: str) -> None:
    assert await door.post(body_of(), path=path) == (200, {"status": "accepted"})
    assert door.store.commits == 1
    assert door.woken == [1]
    (row,) = await door.store.rows()
    assert (row.source, row.lane) == ("etb", incident_row()["id"])
    assert json.loads(row.payload) == {"event": "incident.created", "incident": incident_row(), "via": "webhook"}


@both
async def test_a_second_webhook_with_one_id_is_stored_once(door: Door) -> None:
    for title in ("one", "one", "changed"):
        body = body_of(incident=incident_row(title=title))
        assert await door.post(body) == (200, {"status": "accepted"})
    assert len(await door.store.rows()) == 1
    assert door.woken == [1]


@both
async def test_one_content_under_two_ids_is_stored_once(door: Door) -> None:
    for name in ("msg_1", "msg_2"):
        assert (await door.post(body_of(), signed(body_of(), name=name)))[0] == 200
    assert len(await door.store.rows()) == 1


async def test_the_old_secret_still_opens_while_it_is_being_replaced(door: Door) -> None:
    assert (await door.post(body_of(), signed(body_of(), secret=OLD)))[0] == 200


async def test_one_good_signature_of_several_is_enough(door: Door) -> None:
    headers = signed(body_of())
    headers["webhook-signature"] = (
        f"v1a,AAAA v1,{base64.b64encode(bytes(32)).decode()} {headers['webhook-signature']}"
    )
    assert (await door.post(body_of(), headers))[0] == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"webhook-id": ""}, "signature_missing"),
        ({"webhook-timestamp": ""}, "signature_missing"),
        ({"webhook-signature": ""}, "signature_missing"),
        ({"webhook-signature": "v1," + "A" * 5000}, "signature_missing"),
        ({"webhook-signature": "v1"}, "signature_wrong"),
        ({"webhook-signature": "v1,é"}, "signature_wrong"),
        ({"webhook-signature": "v1,AAA"}, "signature_wrong"),
        ({"webhook-signature": f"v1,{base64.b64encode(bytes(32)).decode()}"}, "signature_wrong"),
        ({"webhook-id": "msg_2"}, "signature_wrong"),
        ({"webhook-timestamp": "soon"}, "signature_wrong"),
        ({"webhook-timestamp": "nan"}, "signature_wrong"),
        ({"webhook-timestamp": "1e400"}, "signature_wrong"),
    ],
)
async def test_a_wrong_signature_is_401_and_nothing_is_stored(
    door: Door, changes: dict[str, str], code: str
) -> None:
    status, answer = await door.post(body_of(), signed(body_of()) | changes)
    assert (status, answer["code"]) == (401, code)
    assert set(answer) == {"detail", "code"}
    assert door.store.commits == 0


@pytest.mark.parametrize("minutes", [6, -6])
async def test_a_stale_or_early_timestamp_is_401(door: Door, minutes: int) -> None:
    status, answer = await door.post(body_of(), signed(body_of(), ago=timedelta(minutes=minutes)))
    assert (status, answer["code"]) == (401, "timestamp_stale")


async def test_a_strangers_secret_is_401(door: Door) -> None:
    stranger = base64.b64encode(b"x" * 32).decode()
    status, answer = await door.post(body_of(), signed(body_of(), secret=stranger))
    assert (status, answer["code"]) == (401, "signature_wrong")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"<html>", "HTML, not JSON"),
        (b"[]", "the body must be an object, not a list"),
        (b"{}", "event must be text"),
        (b'{"event": 5, "incident": {}}', "event must be text"),
        (b'{"event": "e"}', "incident must be an object, not null"),
        (b'{"event": "e", "incident": []}', "incident must be an object, not a list"),
        (b'{"event": "e", "incident": {}}', "incident.id is missing"),
        (b'{"event": "e", "incident": {"id": 7}}', "incident.id must be text, not a number"),
        (b'{"event": "e", "incident": {"id": "7"}}', "incident.id must be a UUID"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"event": "e", "incident": NaN}', "NaN"),
    ],
)
async def test_a_signed_body_that_is_no_incident_is_400_and_named(door: Door, body: bytes, why: str) -> None:
    status, answer = await door.post(body)
    assert (status, answer["code"]) == (400, "invalid")
    assert why in answer["detail"]
    assert await door.store.rows() == []


async def test_a_body_that_is_not_utf8_is_refused(door: Door) -> None:
    status, _ = await door.post(b'{"\xff": 1}')
    assert status == 401
    assert await door.store.rows() == []


async def test_nul_and_lone_surrogates_are_stored_as_they_came(door: Door) -> None:
    body = body_of(incident=incident_row(title="a\x00\ud800b"))
    assert (await door.post(body))[0] == 200
    assert json.loads((await door.store.rows())[0].payload)["incident"]["title"] == "a\x00\ud800b"


async def test_an_odd_incident_with_an_id_is_accepted_and_left_to_the_decoder(door: Door) -> None:
    assert (await door.post(body_of(incident={"id": incident_row()["id"], "title": []})))[0] == 200
    assert len(await door.store.rows()) == 1


async def test_a_body_that_is_too_large_is_413_also_when_compressed(door: Door) -> None:
    large = body_of(padding="x" * 1_100_000)
    status, answer = await door.post(large, {})
    assert (status, answer["code"]) == (413, "too_large")
    status, answer = await door.post(gzip.compress(large), {"Content-Encoding": "gzip"})
    assert (status, answer["code"]) == (413, "too_large")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_another_method_is_405_in_the_house_shape(door: Door, method: str) -> None:
    async with door.http.request(method, door.url + PATH) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"
        assert (await answer.json())["code"] == "method_not_allowed"


@both
async def test_a_webhook_is_once_over_76_hours_and_a_restart(
    store: KeptStore, reopen: Reopen, clock: HandClock
) -> None:
    """A sender may try for three days, while the store is cleaned by the shortest memory one can configure."""
    least_ms = Retention(seen_keys_days=4).seen_keys_days * 24 * HOUR_MS
    async with door_to(store) as door:
        assert (await door.post(body_of()))[0] == 200
    assert len(await store.rows()) == 1
    began_ms = clock.ms
    for hours, memory_ms in ((76, 76 * HOUR_MS), (96, least_ms)):
        clock.ms = began_ms + hours * HOUR_MS
        async with store.work() as work:
            await work.inbox.forget_keys(clock.ms - memory_ms)
        async with reopen() as opened, door_to(KeptStore(opened)) as door:
            assert (await door.post(body_of()))[0] == 200
            # The same change under another id, as an automation beside ETB would send it.
            assert (await door.post(body_of(), signed(body_of(), name="msg_2")))[0] == 200
            assert door.woken == []
            assert len(await door.store.rows()) == 1
    clock.ms += least_ms
    async with store.work() as work:
        assert await work.inbox.forget_keys(clock.ms - least_ms) > 0
    async with reopen() as opened, door_to(KeptStore(opened)) as door:
        assert (await door.post(body_of()))[0] == 200
        assert door.woken == []


@both
async def test_what_cannot_be_stored_is_503_and_accepted_the_next_time(door: Door) -> None:
    door.store.broken = True
    status, answer = await door.post(body_of())
    assert (status, answer["code"]) == (503, "unavailable")
    assert "disk" not in answer["detail"]
    assert door.woken == []
    door.store.broken = False
    assert (await door.post(body_of()))[0] == 200
    assert len(await door.store.rows()) == 1


@pytest.mark.parametrize("secrets", [[], [""], ["whsec_"], ["whsec_c2hvcnQ="], [NEW, "not base64 é"]])
async def test_a_secret_that_protects_nothing_is_refused(store: KeptStore, secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="secret"):
        WebhookIntake(store, IncidentDecoder(CONNECTION), secrets)
