"""The tokens and secrets of a running service, and what counts beside them while they are being replaced.

    `rotate`, another process ──commit──> Rotated ──look, every 2 s──> hs_token ────────> transactions
                                                                  ├──> webhook_secret ──> webhook
                                                                  └──> as_token ────────> tokens, for every client

Must never show a value, and never accept a former one after its overlap.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from etb_appservice.config import Settings
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.domain.rotation import SECRETS, Rotated, Secret, accepted, is_unfinished
from etb_appservice.flows.turn import SERVICE_LANE, Turn
from etb_appservice.matrix.tokens import Tokens
from etb_appservice.ops import logs
from etb_appservice.ports import Clock, FactCodec, Work
from etb_appservice.store.roots import Ages
from etb_appservice.store.sql import SqlStore

log = structlog.get_logger(__name__)
LOOK_EVERY_S = 2.0
_ALWAYS = 0
"""A moment before every end: what was replaced counts until it is forgotten."""
Take = Callable[[Sequence[str]], None]


def given_in(settings: Settings) -> dict[Secret, tuple[str, ...]]:
    """The values that the settings hold."""
    return {
        "hs_token": (settings.appservice.hs_token.get_secret_value(),),
        "as_token": (settings.appservice.as_token.get_secret_value(),),
        "webhook_secret": tuple(secret.get_secret_value() for secret in settings.webhook.secrets),
    }


@dataclass(frozen=True, slots=True)
class Ended:
    """A forerunner counts no longer. `is_used`: the other side still spoke with it."""

    name: str
    is_used: bool


class LiveSecrets:
    """What counts of each secret; whoever needs one is given it anew whenever that changes."""

    def __init__(self, settings: Settings, store: SqlStore, clock: Clock) -> None:
        self._given: Mapping[Secret, tuple[str, ...]] = given_in(settings)
        self._store, self._clock = store, clock
        self._rotations: dict[Secret, Rotated] = {}
        self._counts: dict[Secret, tuple[str, ...]] = dict(self._given)
        self._takers: dict[Secret, list[Take]] = {name: [] for name in SECRETS}
        self.tokens = Tokens()
        """What every client of the homeserver speaks with."""
        self.given_to("as_token", self.tokens.offer)
        self.behind_at_start: tuple[str, ...] = ()
        """What the settings held a former value of when this process was started."""
        self.root = Ages(0, 0)
        """Of CHAT_ENCRYPTION_KEY."""
        self.hs_token_used: Callable[[], int] = lambda: 0
        """Which of the hs_tokens the homeserver used last, in their order."""

    def __repr__(self) -> str:
        return "LiveSecrets()"

    def of(self, name: Secret) -> tuple[str, ...]:
        """What counts now, the present value first."""
        return self._counts[name]

    def given_to(self, name: Secret, take: Take) -> None:
        """`take` is called now, and whenever it changes what counts."""
        self._takers[name].append(take)
        take(self.of(name))

    async def begin(self) -> None:
        """The first look."""
        await self.look()
        behind = [name for name in SECRETS if self.is_unfinished(name)]
        self.behind_at_start = (*behind, *(["encryption_key"] if self.is_behind else []))

    async def look(self) -> None:
        """Read what was rotated meanwhile, and drop what has ended."""
        self.root = await self._store.follow_root()
        async with self._store.view() as view:
            found = await view.cases.of(CONTROL_ROOM, Rotated)
        self._rotations = {one.id: one for one in found}
        now = self._clock.now_ms()
        for name, given in self._given.items():
            # The homeserver says itself when it no longer takes the old as_token: until then it is needed.
            counts = accepted(given, self._rotations.get(name), _ALWAYS if name == "as_token" else now)
            if counts == self._counts[name]:
                continue
            logs.hide(counts)
            self._counts[name] = counts
            for take in self._takers[name]:
                take(counts)
            log.info("what counts of a secret has changed", name=name, accepted=len(counts))

    def rotations(self) -> Sequence[Rotated]:
        """As of the last look."""
        return tuple(self._rotations.values())

    @property
    def is_behind(self) -> bool:
        """Whether the settings with which this process was started hold a former CHAT_ENCRYPTION_KEY."""
        return self._store.vault.is_behind

    def is_unfinished(self, name: Secret) -> bool:
        """Whether the settings with which this process was started hold a former value."""
        return is_unfinished(self._given[name], self._rotations.get(name))

    async def end_overlaps(self, codec: FactCodec) -> tuple[Ended, ...]:
        """Forget forerunners whose time is over, and say so; answers which."""
        ended: list[Ended] = []
        now = self._clock.now_ms()
        for rotation in self.rotations():
            after = rotation.ended(now)
            if after is None:
                continue
            if rotation.id == "as_token" and self.tokens.proven != rotation.current:
                await self._tell_unknown(rotation, codec)
                continue
            one = Ended(rotation.id, is_used=rotation.id == "hs_token" and self.hs_token_used() > 0)
            async with self._store.work() as work:
                if await work.cases.get(CONTROL_ROOM, Rotated, rotation.id) != rotation:
                    continue  # rotated again since the last look: the next one takes that in
                await work.cases.put(CONTROL_ROOM, after)
                await _say_ended(work, one, codec)
            self._rotations[rotation.id] = after
            ended.append(one)
        if not 0 < self.root.until_ms <= now:
            return tuple(ended)
        async with self._store.work() as work:
            if await self._store.end_root_overlaps(work):
                ended.append(Ended("encryption_key", is_used=False))
                await _say_ended(work, ended[-1], codec)
        return tuple(ended)

    async def say_recovery_keys_ended(self, codec: FactCodec) -> None:
        """Former recovery keys open nothing any more."""
        async with self._store.work() as work:
            await _say_ended(work, Ended("recovery_key", is_used=False), codec)

    async def _tell_unknown(self, rotation: Rotated, codec: FactCodec) -> None:
        async with self._store.work() as work:
            turn = Turn(work=work, ref=rotation.id, lane=SERVICE_LANE, codec=codec)
            await turn.trouble(
                ("as_token unknown", str(rotation.since_ms)),
                "The overlap of the **as_token** is over, but the homeserver doesn't know the new one yet, so the "
                "former one is still used. Restart the homeserver with the new `registration.yaml`.",
            )


async def _say_ended(work: Work, one: Ended, codec: FactCodec) -> None:
    """In the commit that forgets it: the audit entry, and a word for the control room."""
    now = str(work.now_ms())
    turn = Turn(work=work, ref=f"{one.name}/{now}", lane=SERVICE_LANE, codec=codec)
    await turn.note("secret.overlap_ended", subject=one.name, details={"was_used": one.is_used})
    await turn.trouble(("overlap ended", one.name, now), _said_at_end(one))


def _said_at_end(one: Ended) -> str:
    if one.is_used:
        return (
            "The former **hs_token** is not accepted any more, and the homeserver still speaks with it: nothing "
            "arrives until it is restarted with the new `registration.yaml`. It keeps what it could not deliver."
        )
    return f"The overlap is over: only the new **{one.name}** is accepted from now on."
