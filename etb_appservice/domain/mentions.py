"""Who is meant by `@username` in a text."""

import re

from etb_appservice.domain.ids import Username

_NAMED = re.compile(r"(?<![\w@/.:])@(\w[\w.+-]*)")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
MOST_MENTIONED = 50


def mentioned_in(text: str) -> tuple[Username, ...]:
    """Usernames that a text may mean, in its order; whoever bears them is found out elsewhere. Not within code.

    A full stop may end a name or the sentence, so that both readings are given.

    >>> mentioned_in("@bob, ask @a.b. Not me@x.org or `@root`")
    ('bob', 'a.b.', 'a.b')
    """
    found: dict[Username, None] = {}
    for name in _NAMED.findall(_CODE.sub(" ", text)):
        found.setdefault(Username(name))
        found.setdefault(Username(name.rstrip(".-+")))
    found.pop(Username(""), None)
    return tuple(found)[:MOST_MENTIONED]
