"""What is one emoji, as a reaction of the web may be (docs/etb-contract.md 4.3). Matrix lets through any text."""

import regex

MOST_EMOJI_BYTES = 64
_ONE = regex.compile(r"\X")
_SIGN = regex.compile(
    r"\p{Extended_Pictographic}|\p{Regional_Indicator}{2}|[0-9#*]\N{VARIATION SELECTOR-16}?\u20e3"
)


def is_emoji(text: str) -> bool:
    r"""Whether a text is one emoji and nothing else: one grapheme, however many signs it is made of.

    >>> is_emoji("\U0001f44d"), is_emoji("\U0001f44d\U0001f44d"), is_emoji("a"), is_emoji("1\ufe0f\u20e3")
    (True, False, False, True)
    """
    if len(text.encode("utf-8", "surrogatepass")) > MOST_EMOJI_BYTES:
        return False
    return _ONE.fullmatch(text) is not None and _SIGN.match(text) is not None
