"""The main job, as it happens: an incident in ETB becomes an encrypted room in which the bot answers.

The one who testifies is a client of others (matrix-js-sdk with its Rust crypto, in Node): what is printed here is
what that client decrypted, and the shield it would show.
"""

import asyncio
import time
from dataclasses import dataclass, field

from stack.parts import DOMAIN, Stack, call
from stack.state import RUN, Progress, StackError
from tests.harness.http import MatrixError, MatrixUser
from tests.harness.jsclient import Event, JsClient

RESPONDER = "alice"
REPORTER = "bob"
BOT = f"@etb:{DOMAIN}"
_PATIENCE_S = 60.0


@dataclass
class Story:
    """What happened, for the summary."""

    room_id: str = ""
    alias: str = ""
    steps: list[tuple[str, float]] = field(default_factory=list)


class _Clock:
    def __init__(self, story: Story, progress: Progress) -> None:
        self._story, self._progress = story, progress
        self._last = time.monotonic()

    def step(self, what: str, *details: str) -> None:
        now = time.monotonic()
        self._story.steps.append((what, now - self._last))
        self._progress.say(f"{what} ({now - self._last:.3f} s)")
        for detail in details:
            print(f"             {detail}", flush=True)
        self._last = time.monotonic()


async def tell(stack: Stack, progress: Progress) -> Story:
    """Run the main job once; StackError or JsError when a step fails. Returns after the client read the answer."""
    story = Story()
    person = stack.state.people[RESPONDER]
    homeserver = stack.state.url("synapse")
    progress.say(
        f"{RESPONDER} opens an independent client (matrix-js-sdk, Rust crypto, Node) with keys of its own"
    )
    client = await JsClient.start(
        homeserver, RESPONDER, person.password, create_recovery_key=person.recovery_key is None,
        recovery_key=person.recovery_key, device_name="matrix-js-sdk in Node", log=RUN / "logs" / "client.log",
    )  # fmt: skip
    stack.keep(client)
    person.recovery_key = client.recovery_key
    stack.state.save()
    clock = _Clock(story, progress)
    incident = await _report(stack)
    clock.step(
        f"{REPORTER} reported {incident['incident_number']} to ETB over HTTP",
        f"incident {incident['id']}: {incident['title']}",
    )
    story.alias = f"#_etb_{incident['id']}:{DOMAIN}"
    story.room_id = await _wait_for_room(client, story.alias)
    clock.step("the service made its room", f"room    {story.room_id}", f"alias   {story.alias}")
    invite = await client.wait_for_invite(room=story.room_id, timeout=_PATIENCE_S)
    clock.step(f"{RESPONDER} was invited by {invite.inviter}", f"encrypted from the start: {invite.encrypted}")
    await client.join(story.room_id)
    clock.step(f"{RESPONDER} joined")
    card = await client.wait_for(
        room=story.room_id, sender=BOT, type="m.room.message", body=incident["incident_number"],
        timeout=_PATIENCE_S,
    )  # fmt: skip
    clock.step("the client decrypted the incident card", *await _testify(client, card))
    command = await client.send(story.room_id, "!status")
    clock.step("the client sent !status, encrypted", f"event   {command}")
    answer = await client.wait_for(
        room=story.room_id, sender=BOT, type="m.room.message", relates_to=command, timeout=_PATIENCE_S
    )
    clock.step("the client decrypted the answer", *await _testify(client, answer))
    if not (await client.shield(story.room_id, answer.event_id)).clean:
        raise StackError("the client read the answer, but shows a warning beside it: see above")
    return story


async def _report(stack: Stack) -> dict[str, str]:
    """POST an incident to the sandbox as a person would: log in, then create."""
    base = stack.state.url("sandbox")
    login = {"username": REPORTER, "password": f"{REPORTER}-sandbox"}
    session = await call("POST", f"{base}/security/api/auth/login/", login)
    headers = {"Authorization": f"Token {session['token']}"}
    people = await call("GET", f"{base}/security/api/users/?username={RESPONDER}", None, headers)
    incident: dict[str, str] = await call(
        "POST",
        f"{base}/api/incidents/incidents/",
        {
            "title": "Checkout answers 502 for one request in five",
            "description": "Since the last deployment the payment gateway refuses connections.",
            "severity": "HIGH",
            "priority": "P2",
            "category": "Application",
            "assigned_to_id": people["results"][0]["id"],
        },
        headers,
    )
    return incident


async def _wait_for_room(client: JsClient, alias: str) -> str:
    limit = time.monotonic() + _PATIENCE_S
    async with MatrixUser(client.homeserver, "") as guest:
        while True:
            try:
                return await guest.resolve_alias(alias)
            except MatrixError as error:
                if time.monotonic() > limit:
                    raise StackError(
                        f"no room {alias} after {_PATIENCE_S:g} s: {error}; see {RUN / 'logs'}"
                    ) from error
            await asyncio.sleep(0.01)


async def _testify(client: JsClient, event: Event) -> list[str]:
    shield = await client.shield(event.room_id, event.event_id)
    shown = "none, as it should be" if shield.clean else f"{shield.colour} {shield.reason}"
    lines = [
        f"room    {event.room_id}",
        f"event   {event.event_id}",
        f"sender  {event.sender}, device {shield.device_id}, shield: {shown}",
    ]
    return lines + [f"   | {line}" for line in event.body.splitlines()]
