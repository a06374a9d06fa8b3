"""The four ways in which work outside can fail; an adapter raises these and nothing else.

    Failure
    ├── Refused   final: the other side said no, and would say no again
    ├── Later     surely not done: try again after a while
    ├── Unsure    maybe done: read back before it is repeated
    └── Broken    our own fault: park it for a person

A message here is read by operators. It must never hold a secret, a token or the text of a message.
"""


class Failure(Exception):
    """What went wrong outside, in words an operator can act on."""


class Refused(Failure):
    """The other side said no and would say no again."""

    def __init__(self, reason: str, *, code: str = "") -> None:
        """`code` is the other side's machine word (Matrix `errcode`, HTTP status), if it gave one."""
        super().__init__(reason)
        self.code = code


class Later(Failure):
    """Surely not done; worth another try."""

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        """`after_s`: seconds the other side asked us to wait (`Retry-After`), if it did."""
        super().__init__(reason)
        self.after_s = after_s


class Unsure(Failure):
    """The request went out and no answer came: it may or may not have taken effect."""


class Broken(Failure):
    """We made a request that can't be right. Repeating it would not help; a person must look."""
