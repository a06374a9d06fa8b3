"""The one door of this package: content in, (plain body, HTML) out, small enough for one Matrix event. Pure."""

import json

from etb_appservice.domain.incident import Card
from etb_appservice.render.card import card
from etb_appservice.render.clean import clean
from etb_appservice.render.markdown import escaped, markdown

MOST_BYTES = 20_000
"""Of body and HTML together, as JSON. An edit carries both twice, encryption and base64 add a third, and an event
may have 65,536 bytes (Matrix specification, "Size limits")."""
_CUT = "\n\n(cut: too long for one message)"


def render(content: str | Card) -> tuple[str, str]:
    """(plain body, HTML) of Markdown or a card, without raw HTML of theirs, cut to fit into one event."""
    match content:
        case Card():
            made = card(content)
            return made if _size(*made) <= MOST_BYTES else _cut(made[0], is_markdown=False)
        case str():
            made = markdown(content[:MOST_BYTES])
            fits = len(content) <= MOST_BYTES and _size(*made) <= MOST_BYTES
            return made if fits else _cut(content, is_markdown=True)


def fits(content: str) -> bool:
    """Whether Markdown is said whole by `render`."""
    return len(content) <= MOST_BYTES and _size(*markdown(content)) <= MOST_BYTES


def _size(body: str, html: str) -> int:
    return len(json.dumps(body)) + len(json.dumps(html))


def _cut(text: str, *, is_markdown: bool) -> tuple[str, str]:
    """Ever shorter beginnings of the text until one fits. What can't be Markdown any more is shown as it is."""
    length = MOST_BYTES
    while True:
        length = length * 3 // 4
        piece = text[:length].rstrip() + _CUT
        made = markdown(piece) if is_markdown else (clean(piece), escaped(piece).replace("\n", "<br>"))
        if _size(*made) <= MOST_BYTES:
            return made
