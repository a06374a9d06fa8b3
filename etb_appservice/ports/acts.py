"""What web users have asked for, and how it was decided, as a protocol."""

from typing import Protocol

from etb_appservice.domain.web import Ruling


class Acts(Protocol):
    """The acts of web users. Nothing of what they wrote is in it."""

    async def accept(self, act: str, key: bytes | None, since_ms: int) -> str:
        """Note an act; answers its id, or that of the first with the same key that was accepted since then.

        Repeating is safe. Of two with one key at the same moment one is the first.
        """
        ...

    async def decide(self, act: str, ruling: Ruling) -> None:
        """How it ended; the first ruling stays."""
        ...

    async def ruling(self, act: str) -> Ruling | None:
        """None while it is undecided, or for an act that isn't known."""
        ...

    async def forget(self, before_ms: int) -> int:
        """Forget what was accepted before then and is decided; answers how many."""
        ...
