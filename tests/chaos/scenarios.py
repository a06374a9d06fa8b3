"""The scenarios that die at every step: each runs once per seam and compares the ledger afterwards."""

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.chaos import ledger
from tests.chaos.doomed import Doomed, Settled
from tests.harness.jsclient import Event, JsClient


class Scenario(Protocol):
    """What the tests and the sweep run."""

    async def seams(self) -> list[str]:
        """The seams it passes."""
        ...

    async def die(self, at: str, *, by: int = signal.SIGKILL) -> bool:
        """Die at a seam, come back, compare; whether the seam was passed. AssertionError with what is off."""
        ...


@dataclass(slots=True)
class IncidentToRoom:
    """ETB reports an incident: one room, its people, its card, its line in ETB."""

    doomed: Doomed
    person: JsClient
    number: int = 0
    incident: Mapping[str, Any] = field(default_factory=dict)

    async def declare(self) -> None:
        """What sets it off."""
        self.number += 1
        self.incident = await self.doomed.scene.etb.declare(
            title=f"Incident {self.number}", severity="HIGH", reporter="alice", assignee="carol"
        )

    async def is_done(self) -> bool:
        """Whether all that is waited for is there; doubles may come after."""
        scene = self.doomed.scene
        if not ledger.room_is_there(scene, self.incident):
            return False
        return bool(await scene.etb.timeline(self.incident["id"]))

    async def seams(self) -> list[str]:
        """Also proves that the undisturbed run is right."""
        found = await self.doomed.seams(self.declare, self.is_done)
        await self.compare()
        return found

    async def die(self, at: str, *, by: int = signal.SIGKILL) -> bool:
        died = await self.doomed.die(at, self.declare, self.is_done, by=by)
        await self.compare()
        return died

    async def compare(self, *, may_replace: bool = False) -> None:
        """The ledger; then the room is used."""
        scene = self.doomed.scene
        invited = {scene.mxid(name) for name in ("alice", "bob", "carol")}
        room = await ledger.assert_one_room(self.doomed, self.incident, invited, may_replace=may_replace)
        await scene.join(self.person, self.incident)
        asked = await self.person.send(room, "!status")
        answer = await self.person.wait_for(room=room, sender=scene.bot, reply_to=asked)
        assert self.incident["incident_number"] in answer.body, "!status tells of another incident"
        assert (await self.person.shield(room, answer.event_id)).clean, "the answer has a shield"
        self.doomed.assert_sound()


@dataclass(slots=True)
class CommandToAnswer:
    """A person asks twice. Every message has a key of its own, so taking a room key is part of it."""

    doomed: Doomed
    person: JsClient
    room: str
    number: str
    asked: dict[str, str] = field(default_factory=dict)

    async def ask(self) -> None:
        """What sets it off."""
        self.asked = {}
        for text, word in (("!help status", "status"), ("!status", self.number)):
            self.asked[await self.person.send(self.room, text)] = word

    async def is_done(self) -> bool:
        """Whether all that is waited for is there; doubles may come after."""
        scene = self.doomed.scene
        for event_id in self.asked:
            if not await scene.answers(self.person, self.room, event_id):
                return False
        return True

    async def seams(self) -> list[str]:
        """Also proves that the undisturbed run is right."""
        before = ledger.said(self.doomed, self.room)
        found = await self.doomed.seams(self.ask, self.is_done)
        await self.compare(before)
        return found

    async def die(self, at: str, *, by: int = signal.SIGKILL) -> bool:
        scene = self.doomed.scene
        before = ledger.said(self.doomed, self.room)
        identity = ledger.masters(scene.synapse, scene.bot)
        died = await self.doomed.die(at, self.ask, self.is_done, by=by)
        await self.compare(before)
        assert ledger.masters(scene.synapse, scene.bot) == identity, "the identity changed"
        assert len(ledger.devices(scene.synapse, scene.bot)) == 1, "the bot has another device"
        return died

    async def compare(self, before: int) -> None:
        """The ledger, with `before` messages of the bot from earlier; then it is asked once more."""
        await ledger.assert_answered_once(self.doomed, self.person, self.room, self.asked, said_before=before)
        one_more = await self.person.send(self.room, "!status")
        await self.person.wait_for(room=self.room, sender=self.doomed.scene.bot, reply_to=one_more)
        self.doomed.assert_sound()


@dataclass(slots=True)
class RunbookToEnd:
    """A person runs a runbook: one execution in ETB, one message that ends well, each line of its log once."""

    doomed: Doomed
    person: JsClient
    room: str
    incident: Mapping[str, Any]
    asked: str = ""
    runs: int = 0

    @classmethod
    async def set(cls, doomed: Doomed, person: JsClient) -> "RunbookToEnd":
        """In the room of an incident of its own, with nothing left to do."""
        incident = await doomed.scene.etb.declare(title="Worked on", reporter="alice")
        room = await doomed.scene.join(person, incident)
        await doomed.scene.card(person, room)
        await doomed.settle(doomed.is_idle)
        return cls(doomed, person, room, incident)

    async def ask(self) -> None:
        """What sets it off."""
        self.runs += 1
        self.asked = await self.person.send(self.room, "!run playbook Collect diagnostics")

    async def is_done(self) -> bool:
        """Whether the message shows the end; doubles may come after."""
        return any("has succeeded" in body for body in await self._shown())

    async def seams(self) -> list[str]:
        """Also proves that the undisturbed run is right."""
        found = await self.doomed.seams(self.ask, self.is_done)
        await self.compare()
        return found

    async def die(self, at: str, *, by: int = signal.SIGKILL) -> bool:
        died = await self.doomed.die(at, self.ask, self.is_done, by=by)
        await self.compare()
        return died

    async def compare(self) -> None:
        """The ledger on both sides."""
        scene = self.doomed.scene
        _, page = await scene.etb.call(
            "GET", "/api/automation/runbook-executions/", incident=self.incident["id"], page_size=200
        )
        made = [one["trigger_data"]["message_id"] for one in page["results"]]
        assert len(set(made)) == len(made) == self.runs, f"{len(made)} executions of {self.runs} requests"
        # The room is used, and whatever was said before the answer has reached this client then.
        one_more = await self.person.send(self.room, "!status")
        await self.person.wait_for(room=self.room, sender=scene.bot, reply_to=one_more)
        answers = await self._messages()
        assert len(answers) == 1, f"{len(answers)} messages for one run"
        assert (await self.person.shield(self.room, answers[0].event_id)).clean, "the message has a shield"
        log = [
            one.body
            for one in await self.person.timeline(self.room, last=200)
            if (one.relates_to or {}).get("rel_type") == "m.thread"
            and (one.relates_to or {}).get("event_id") == answers[0].event_id
        ]
        for step in ("Logs", "Heap dump", "Upload"):
            assert "\n".join(log).count(f"Step '{step}' done.") == 1, f"the log says of {step}: {log}"
        self.doomed.assert_sound()

    async def _shown(self) -> list[str]:
        return [str(one.current_content.get("body", "")) for one in await self._messages()]

    async def _messages(self) -> list[Event]:
        """The messages of this run. That it will be late may be said beside them, once."""
        answers = await self.doomed.scene.answers(self.person, self.room, self.asked)
        late = [one for one in answers if one.body.startswith("ETB does not answer just now.")]
        assert len(late) <= 1, "that it is late was said more than once"
        return [one for one in answers if one not in late]


@dataclass(slots=True)
class FirstStart:
    """The very first start of a service: device, identity, keys, control room, Space. Each on a new one."""

    open: Callable[[], AbstractAsyncContextManager[Doomed]]
    """A configured service that was never started, and whose only operator is `operator`."""
    operator: JsClient

    async def seams(self) -> list[str]:
        """Also proves that the undisturbed run is right."""
        async with self.open() as doomed:
            found = await doomed.start_and_die(self._done(doomed))
            assert not doomed.is_dead
            await self._compare(doomed)
            return found

    async def die(self, at: str, *, by: int = signal.SIGKILL) -> bool:
        async with self.open() as doomed:
            return bool(await self._die_at(doomed, [at], by))

    async def die_in_turn(self, at: Sequence[str]) -> list[str]:
        """One new service dies at the first of these seams, and again at the next; where it died."""
        async with self.open() as doomed:
            return await self._die_at(doomed, at, signal.SIGKILL)

    async def _die_at(self, doomed: Doomed, at: Sequence[str], by: int) -> list[str]:
        died: list[str] = []
        published: set[str] = set()
        while left := [seam for seam in at if seam not in died]:
            passed = await doomed.start_and_die(self._done(doomed), left, by=by)
            if not doomed.is_dead:
                break
            died.append(next(seam for seam in passed if seam in left))
            before, published = published, self._published(doomed)
            assert before <= published, "what was published was given up"
        if doomed.is_dead:
            await doomed.scene.service.run()
            await doomed.settle(self._done(doomed))
        await self._compare(doomed)
        return died

    def _done(self, doomed: Doomed) -> Settled:
        """The operator is invited and the Space is there."""

        async def done() -> bool:
            scene = doomed.scene
            made = ledger.rooms_of(scene.synapse, scene.bot)
            return len(made) > 1 and any(
                ledger.invites(scene.synapse, room, scene.bot)[self.operator.user_id] for room in made
            )

        return done

    def _published(self, doomed: Doomed) -> set[str]:
        synapse, bot = doomed.scene.synapse, doomed.scene.bot
        return {*ledger.masters(synapse, bot), *ledger.devices(synapse, bot)}

    async def _compare(self, doomed: Doomed) -> None:
        """One identity, one device, one control room, one Space; the operator is answered without a shield."""
        scene, operator = doomed.scene, self.operator
        assert len(ledger.masters(scene.synapse, scene.bot)) == 1, "more than one identity was published"
        (device,) = ledger.devices(scene.synapse, scene.bot)
        control = await scene.room_of("control")
        space = await scene.room_of("incidents")
        made = ledger.rooms_of(scene.synapse, scene.bot)
        assert sorted(made) == sorted([control, space]), f"{len(made)} rooms where two belong"
        assert ledger.invites(scene.synapse, control, scene.bot) == {operator.user_id: 1}, "not invited once"
        await operator.wait_for_invite(room=control, inviter=scene.bot)
        await operator.join(control)
        asked = await operator.send(control, "!help")
        answer = await operator.wait_for(room=control, sender=scene.bot, reply_to=asked)
        shield = await operator.shield(control, answer.event_id)
        assert shield.clean, "the answer has a shield"
        assert shield.device_id == device, "another device spoke"
        identity = await operator.devices(scene.bot)
        assert identity.cross_signing, "no identity is seen"
        assert not identity.identity_changed, "the identity changed"
        assert [one.signed_by_owner for one in identity.devices] == [True], "the device isn't signed"
        doomed.assert_sound()
        await operator.leave(control)
