"""Secrets that were replaced, and which of them count at a moment. Pure; no value may appear in a repr or a log.

    given in the settings        counts
    the present one              it, and its forerunners until their overlap ends
    a forerunner                 the present one first, then the same: this process is older than the rotation, or
                                 the rotation was cut off before it had written the settings
    any other                    it alone: somebody has set it by hand since

A forerunner is forgotten at the end of its overlap, but not its digest: an old setting must never count again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Secret = Literal["hs_token", "as_token", "webhook_secret"]
"""What is replaced by a value of its own; the encryption key and the recovery key have ways of their own."""
SECRETS: tuple[Secret, ...] = ("hs_token", "as_token", "webhook_secret")
_MOST_REMEMBERED = 32


def digest_of(value: str) -> str:
    """What stands for a secret once it is forgotten: SHA-256, enough for values as long and random as these."""
    return hashlib.sha256(value.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """A secret that was replaced. `value` is empty once its overlap has ended."""

    value: str = field(repr=False)
    digest: str
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A secret's present value and its forerunners, latest first; its id is the secret's name."""

    kind: Literal["Rotated"] = "Rotated"
    id: Secret
    current: str = field(repr=False)
    former: tuple[Former, ...] = field(default=(), repr=False)
    since_ms: int
    is_open: bool = True

    @property
    def digests(self) -> frozenset[str]:
        """Of all forerunners that are remembered."""
        return frozenset(one.digest for one in self.former)

    def overlapping(self, now_ms: int) -> tuple[Former, ...]:
        """The forerunners that still count."""
        return tuple(one for one in self.former if one.value and now_ms < one.until_ms)

    def ended(self, now_ms: int) -> "Rotated | None":
        """The same without forerunners whose overlap is over; None when there is none to forget."""
        left = tuple(
            one if not one.value or now_ms < one.until_ms else replace(one, value="") for one in self.former
        )
        return None if left == self.former else replace(self, former=left)


def rotated(
    name: Secret, given: Sequence[str], before: Rotated | None, new: str, *, now_ms: int, until_ms: int
) -> Rotated:
    """The record after `new` has replaced what counts now; `given` are the values in the settings."""
    replaced = accepted(given, before, now_ms)
    kept = {one.digest: one for one in (before.former if before else ())}
    # One that counts in an earlier overlap keeps its own end: a second rotation doesn't lengthen it.
    fresh = [
        Former(value=value, digest=digest_of(value), until_ms=until_ms)
        for value in replaced
        if digest_of(value) not in kept
    ]
    return Rotated(id=name, current=new, former=(*fresh, *kept.values())[:_MOST_REMEMBERED], since_ms=now_ms)


def accepted(given: Sequence[str], rotation: Rotated | None, now_ms: int) -> tuple[str, ...]:
    """What counts now, the one to use first at the beginning."""
    if rotation is None:
        return tuple(given)
    is_forerunner = any(digest_of(value) in rotation.digests for value in given)
    if rotation.current not in given and not is_forerunner:
        return tuple(given)
    beside = [value for value in given if value != rotation.current and digest_of(value) not in rotation.digests]
    return (rotation.current, *beside, *(one.value for one in rotation.overlapping(now_ms)))


def is_unfinished(given: Sequence[str], rotation: Rotated | None) -> bool:
    """Whether the settings still hold a forerunner where the present value belongs."""
    return (
        rotation is not None
        and rotation.current not in given
        and any(digest_of(value) in rotation.digests for value in given)
    )
