"""Ghosts: the Matrix users of ours that speak for ETB users. How their ids are spelt, and read back.

The spelling is the Matrix specification's ("Mapping from other character sets", case-sensitive), so that every
username has exactly one id and every id at most one username:

    a-z 0-9 . - / +  as they are       A-Z  `_` and the small letter       _  `__`       all else  =xx, UTF-8, hex
"""

from dataclasses import dataclass

from etb_appservice.domain.ids import UserId, Username

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789.-/+")
_CAPITALS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_UNDERSCORE, _ESCAPE = ord("_"), ord("=")
_LONGEST = 255
"""Bytes of a user id, with sigil and server (Matrix specification, "User identifiers")."""
_NUMBER = 16


def encoded(username: str) -> str:
    """A username as part of a localpart. Raises UnicodeEncodeError for a lone surrogate.

    >>> encoded("max_M@x.org"), encoded("Ärger")
    ('max___m=40x.org', '=c3=84rger')
    """
    return "".join(_spelt(byte) for byte in username.encode())


def decoded(text: str) -> str | None:
    """What `encoded` made this of; None when it made it of nothing.

    >>> decoded("max___m=40x.org"), decoded("=41"), decoded("_")
    ('max_M@x.org', None, None)
    """
    found = bytearray()
    rest = iter(text)
    try:
        for letter in rest:
            match letter:
                case "_":
                    following = next(rest)
                    found += b"_" if following == "_" else following.upper().encode()
                case "=":
                    found.append(int(next(rest) + next(rest), _NUMBER))
                case _:
                    found += letter.encode()
        username = found.decode()
    except (StopIteration, ValueError):  # UnicodeError is a ValueError
        return None
    # Each username has one spelling: any other that reads as it is somebody else's, so nobody's.
    return username if username and encoded(username) == text else None


@dataclass(frozen=True, slots=True)
class Ghosts:
    """`prefix`: what the ids begin with, sigil included, within a namespace of ours; with "" there are none."""

    prefix: str = ""
    server_name: str = ""

    def user_id(self, username: Username) -> UserId | None:
        """Whom an ETB user speaks as; None for a name that makes no id, or one too long for Matrix.

        >>> Ghosts("@_etb_u_", "x.org").user_id(Username("Alice"))
        '@_etb_u__alice:x.org'
        """
        if not self.prefix or not username:
            return None
        try:
            made = f"{self.prefix}{encoded(username)}:{self.server_name}"
        except UnicodeEncodeError:
            return None
        return UserId(made) if len(made.encode()) <= _LONGEST else None

    def username(self, user_id: UserId) -> Username | None:
        """The ETB user for whom a ghost speaks; None for everybody who is no ghost.

        >>> Ghosts("@_etb_u_", "x.org").username(UserId("@_etb_u__alice:x.org"))
        'Alice'
        """
        tail = f":{self.server_name}"
        if not self.prefix or not user_id.startswith(self.prefix) or not user_id.endswith(tail):
            return None
        username = decoded(user_id[len(self.prefix) : len(user_id) - len(tail)])
        return None if username is None else Username(username)


def ghosts_of(own_users: str, server_name: str) -> Ghosts:
    """The ghosts within the namespace whose ids begin with `own_users`."""
    return Ghosts(f"{own_users}u_", server_name)


def _spelt(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    if byte in _CAPITALS:
        return f"_{chr(byte).lower()}"
    return "__" if byte == _UNDERSCORE else f"{chr(_ESCAPE)}{byte:02x}"
