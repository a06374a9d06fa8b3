"""What can be wrong with the database or its key, in words an operator can act on. Never holds key material."""


class StoreError(Exception):
    """Something is wrong with the database or the key; the message says what to do."""


class BadAddress(StoreError):
    """`database.url` names no database we can use."""


class NotCurrent(StoreError):
    """The tables are older or newer than this program."""


class MalformedKey(StoreError):
    """CHAT_ENCRYPTION_KEY is not 32 bytes in base64."""


class WrongKey(StoreError):
    """CHAT_ENCRYPTION_KEY is not the key with which this database was begun."""


class Tampered(StoreError):
    """A sealed value doesn't open: it was changed, moved to another row, or is no sealed value."""


class Erased(StoreError):
    """The key of a sealed value was destroyed, so the value is gone for good."""


class Unreadable(StoreError):
    """A stored fact, effect or copy isn't one that this version knows."""


SEALED_FOR_GOOD = (Tampered, Erased, Unreadable)
"""What a row that can't be opened raises; it will not open later either."""


class DatabaseFailed(StoreError):
    """The database did not do what it was asked to: full, locked, gone.

    Nothing of the unit of work was kept; of one that failed in its commit nobody knows, as after a crash.
    """


class NotLeader(StoreError):
    """Another process leads already."""
