import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.incident import Card, Deadline, Responder
from etb_appservice.render import render
from etb_appservice.render.render import MOST_BYTES

ALLOWED = {
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p"),
    *("pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[click](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    '[x](https://a.example "onmouseover=alert(1)")',
    "**bold** _it_ `code` # head",
    "a\n\n# Fake heading\n\n- fake item",
    "\u202egnp.exe",
    "@room wake up",
    "&lt;b&gt; &amp;",
    "\x00\x07\x1b[31mred",
    "\ud800",
    "a\u2028b\u2029c\r\nd\re",
]


class Reader(HTMLParser):
    """Collects tags, attributes and text, as a client's sanitiser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_safe(body: str, html: str) -> Reader:
    seen = Reader(html)
    assert set(seen.tags) <= ALLOWED
    for tag, name, value in seen.attributes:
        assert (tag, name) in {("a", "href"), ("ol", "start"), ("code", "class")}
        if name == "href":
            assert value.split(":")[0] in {"http", "https", "mailto", "matrix"}
    for text in (body, html):
        text.encode()
        assert "@room" not in text.lower()
        assert not set(text) & set("\x00\x07\x1b\r\u202e\u202d\u2066\u2067\u2068\u2028\u2029")
    return seen


def a_card(**change: object) -> Card:
    given_: dict[str, object] = {
        "number": "INC-1042",
        "title": "Payments fail",
        "severity": "CRITICAL",
        "status": "OPEN",
        "category": "Infrastructure",
        "priority": "P1",
        "classification": Classification.TOP_SECRET,
        "responders": (
            Responder(Username("alice"), ("reporter", "on call"), UserId("@alice:example.org")),
            Responder(Username("bob"), ("assignee",), None, "unmapped"),
        ),
        "deadlines": (Deadline("Resolution", "RESOLUTION_TIME", "ACTIVE", 1_700_000_000_000),),
        "url": "https://etb.example.org/incidents/7",
    }
    return Card(**(given_ | change))  # type: ignore[arg-type]


def test_a_card_says_everything_in_text_alone() -> None:
    body, _ = render(a_card())
    assert body == (
        "INC-1042: Payments fail\n"
        "🔴 CRITICAL · OPEN · P1 · Infrastructure\n"
        "Classification: TOP SECRET\n"
        "\n"
        "People:\n"
        "- alice @alice:example.org, reporter, on call\n"
        "- bob, assignee (not invited: no Matrix id is configured)\n"
        "\n"
        "Deadlines:\n"
        "- Resolution: 2023-11-14 22:13 UTC (active)\n"
        "\n"
        "Open in ETB: https://etb.example.org/incidents/7"
    )


def test_a_card_in_html_says_the_same_and_names_people_by_link() -> None:
    body, html = render(a_card())
    seen = assert_safe(body, html)
    for word in (
        "INC-1042: Payments fail",
        "CRITICAL · OPEN",
        "TOP SECRET",
        "2023-11-14 22:13 UTC",
        "bob, assignee",
    ):
        assert word in seen.text
    assert ("a", "href", "https://matrix.to/#/@alice:example.org") in seen.attributes
    assert ("a", "href", "https://etb.example.org/incidents/7") in seen.attributes


def test_a_bare_card_has_no_empty_parts() -> None:
    body, html = render(a_card(responders=(), deadlines=(), url="", title="", category="", priority=""))
    assert body == "INC-1042\n🔴 CRITICAL · OPEN\nClassification: TOP SECRET"
    assert "People" not in html
    assert "<ul>" not in html


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_title_stays_text_on_a_card(title: str) -> None:
    person = Responder(Username(title), (title,), UserId(f"@{title}:x"), title)
    shown = a_card(
        title=title, number=title, status=title, severity=title, category=title, responders=(person,),
        deadlines=(Deadline(title, title, title, 10**30),),
    )  # fmt: skip
    body, html = render(shown)
    seen = assert_safe(body, html)
    assert set(seen.tags) <= {"h4", "p", "strong", "br", "ul", "li", "a"}
    assert "script" not in seen.tags
    assert len(body.split("\n")) == 11


def test_a_url_that_is_no_web_address_makes_no_link() -> None:
    for url in ("javascript:alert(1)", "data:text/html,x", "//evil", "http://[", "etb.example.org"):
        body, html = render(a_card(url=url, responders=()))
        assert "Open in ETB" not in body
        assert "<a" not in html


def test_a_huge_card_still_fits_into_one_event() -> None:
    person = Responder(Username("\U0001f600" * 300), ("on call",) * 9, None, "unmapped")
    body, html = render(a_card(title="é" * 100_000, responders=(person,) * 500))
    assert_safe(body, html)
    assert len(json.dumps(body)) + len(json.dumps(html)) <= MOST_BYTES
    assert "é" in body


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_gives_only_what_matrix_allows(text: str) -> None:
    seen = assert_safe(*render(text))
    assert not {"script", "img"} & set(seen.tags)


@pytest.mark.parametrize(
    ("source", "body", "html"),
    [
        ("**up** since _noon_", "up since noon", "<p><strong>up</strong> since <em>noon</em></p>"),
        ("a\nb", "a\nb", "<p>a<br />\nb</p>"),
        ("- a\n- b", "- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("3. a\n4. b", "3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>'),
        ("- a\n  - b\n- c", "- a\n  - b\n- c", "<ul>\n<li>a\n<ul>\n<li>b</li>\n</ul>\n</li>\n<li>c</li>\n</ul>"),
        ("[ETB](https://x.org/)", "ETB (https://x.org/)", '<p><a href="https://x.org/">ETB</a></p>'),
        ("<https://x.org/>", "https://x.org/", '<p><a href="https://x.org/">https://x.org/</a></p>'),
        ("`a*b`", "a*b", "<p><code>a*b</code></p>"),
        ("```\nx < 1\n```", "x < 1", "<pre><code>x &lt; 1\n</code></pre>"),
        (r"INC\_1 \*x\*", "INC_1 *x*", "<p>INC_1 *x*</p>"),
        ("one\n\ntwo", "one\n\ntwo", "<p>one</p>\n<p>two</p>"),
        ("a:\n- b\n\nc", "a:\n- b\n\nc", "<p>a:</p>\n<ul>\n<li>b</li>\n</ul>\n<p>c</p>"),
        ("> said", "> said", "<blockquote>\n<p>said</p>\n</blockquote>"),
        ("", "", ""),
    ],
)
def test_markdown_reads_well_as_html_and_as_text(source: str, body: str, html: str) -> None:
    assert render(source) == (body, html)


def test_a_table_keeps_its_cells_and_loses_its_styles() -> None:
    body, html = render("| a | b |\n|:-:|--:|\n| 1 | 2 |")
    assert body == "a | b\n1 | 2"
    assert "style" not in html
    assert "<td>1</td>" in html


def test_a_long_text_is_cut_and_says_so() -> None:
    body, html = render("**x** ü\n\n" * 20_000)
    assert body.endswith("(cut: too long for one message)")
    assert len(json.dumps(body)) + len(json.dumps(html)) <= MOST_BYTES


@given(st.text())
def test_any_text_renders_safely(text: str) -> None:
    assert_safe(*render(text))
    assert_safe(*render(a_card(title=text, status=text, url=text)))
