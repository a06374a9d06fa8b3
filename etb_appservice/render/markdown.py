"""Markdown to the HTML that Matrix clients show, and to plain text that says the same.

Raw HTML is text here, never markup. Only tags, attributes and link schemes that the Matrix specification lists
("m.room.message msgtypes") come out; images never, since showing one would tell its server who reads.
"""

from collections.abc import Sequence
from html import escape
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from etb_appservice.render.clean import clean

_SCHEMES = frozenset({"http", "https", "mailto", "matrix"})
_ATTRIBUTES = {"a": frozenset({"href"}), "ol": frozenset({"start"}), "code": frozenset({"class"})}
_ENDS = {
    "paragraph_close": "\n\n",
    "heading_close": "\n\n",
    "blockquote_close": "\n\n",
    "table_close": "\n\n",
    "list_item_close": "\n",
    "tr_close": "\n",
}
_MARKS = {"hr": "---\n\n", "th_close": " | ", "td_close": " | ", "blockquote_open": "> "}


def _allowed(url: str) -> bool:
    try:
        return urlsplit(url).scheme in _SCHEMES
    except ValueError:
        return False


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20})
    parser.enable(["table", "strikethrough"]).disable(["image"])
    # The library's documented way to say which links are links; what isn't stays text.
    vars(parser)["validateLink"] = _allowed
    return parser


_MARKDOWN = _parser()


def markdown(source: str) -> tuple[str, str]:
    """(plain body, HTML) of Markdown.

    >>> markdown("**up** <b>")
    ('up <b>', '<p><strong>up</strong> &lt;b&gt;</p>')
    """
    tokens = _MARKDOWN.parse(clean(source))
    for token in tokens:
        _strip(token)
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}).strip()
    return _plain(tokens).strip(), html


def _strip(token: Token) -> None:
    keep = _ATTRIBUTES.get(token.tag, frozenset())
    token.attrs = {name: value for name, value in token.attrs.items() if name in keep}
    for child in token.children or ():
        _strip(child)


def _plain(tokens: Sequence[Token]) -> str:
    """Text for clients without HTML: lists keep their marks, links their addresses, code its lines."""
    text = ""
    lists: list[int | None] = []
    for token in tokens:
        match token.type:
            case "inline":
                text += _plain_inline(token.children or ())
            case "fence" | "code_block":
                text += f"{token.content.rstrip()}\n\n"
            case "bullet_list_open" | "ordered_list_open":
                lists.append(int(token.attrs.get("start", 1)) if token.tag == "ol" else None)
            case "bullet_list_close" | "ordered_list_close":
                lists.pop()
                text = text.rstrip("\n") + ("\n" if lists else "\n\n")
            case "list_item_open":
                text = (text.rstrip("\n") + "\n" if text else "") + _item_mark(lists)
            case kind if kind in _ENDS:
                text = text.rstrip("\n").removesuffix(" | ") + _ENDS[kind]
            case kind:
                text += _MARKS.get(kind, "")
    return text


def _item_mark(lists: list[int | None]) -> str:
    """What stands before an item of the innermost list; counts it."""
    indent, number = "  " * (len(lists) - 1), lists[-1]
    if number is None:
        return f"{indent}- "
    lists[-1] = number + 1
    return f"{indent}{number}. "


def _plain_inline(tokens: Sequence[Token]) -> str:
    text, address, start = "", "", 0
    for token in tokens:
        match token.type:
            case "text" | "code_inline":
                text += token.content
            case "softbreak" | "hardbreak":
                text += "\n"
            case "link_open":
                address, start = str(token.attrs.get("href", "")), len(text)
            case "link_close":
                if text[start:] not in {address, address.removeprefix("mailto:")}:
                    text += f" ({address})"
            case _:
                pass
    return text


def escaped(text: str) -> str:
    """Foreign text as HTML that shows exactly it."""
    return escape(clean(text), quote=True)
