"""The appservice's token, or several while one replaces another: the homeserver learns of a new one at a restart.

    the one that worked last ──M_UNKNOWN_TOKEN──> the next one ──works──> it is used from then on
                                                     └──M_UNKNOWN_TOKEN──> the error of the last one

A token that the homeserver doesn't know has done nothing, so trying the next one repeats nothing. Must never show
one in a repr.
"""

from collections.abc import Sequence


class Tokens:
    """What to try, in order. One object for every client, so that all learn at once."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)
        self.proven: str | None = None
        """The one that the homeserver took last; None before its first answer."""

    def __repr__(self) -> str:
        return f"Tokens({len(self._tokens)})"

    @property
    def in_order(self) -> tuple[str, ...]:
        """The one that worked last first."""
        return tuple(self._tokens)

    def offer(self, tokens: Sequence[str]) -> None:
        """These count from now on; the one that works stays first."""
        working = self.proven
        self._tokens = sorted(tokens, key=lambda token: token != working)

    def worked(self, token: str) -> None:
        """The homeserver took it."""
        if token != self.proven:
            self.proven = token
            self.offer(self._tokens)

    def failed(self, token: str) -> bool:
        """The homeserver doesn't know it; whether there is another one to try."""
        self._tokens = [one for one in self._tokens if one != token] + [token]
        self.proven = None if self.proven == token else self.proven
        return len(self._tokens) > 1
