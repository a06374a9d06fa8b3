"""Addresses and keys that come from ETB or from people: never asked, never more than the value of a header."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import etb_appservice
from etb_appservice.etb import parse
from etb_appservice.etb.spelling import Spelling
from etb_appservice.etb.wire import in_header

PACKAGE = Path(etb_appservice.__file__).parent
INSIDE = "http://169.254.169.254/latest/meta-data/"


@pytest.mark.parametrize("field", ["url", "web_url", "file_url", "attachment", "next", "avatar_url", "html_url"])
def test_an_address_in_an_incident_is_kept_nowhere(field: str) -> None:
    row = {
        "id": "11111111-1111-4111-8111-111111111111",
        "incident_number": "INC-1",
        "title": "Mail is down",
        "severity": "HIGH",
        "status": "OPEN",
        "updated_at": "2026-01-01T00:00:00Z",
        field: INSIDE,
        "files": [{"file_url": INSIDE}],
    }
    seen = parse.incident(row, Spelling(), web_url_template="https://etb.example/incidents/{id}")
    assert seen.url == "https://etb.example/incidents/11111111-1111-4111-8111-111111111111"
    assert "169.254" not in repr(seen)


def test_requests_go_out_from_few_places() -> None:
    """Each of these takes the address from the configuration, or holds it to that origin."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("ClientSession", "urlopen")):
                found.add(str(path.relative_to(PACKAGE)))
    assert found == {"app/check.py", "app/foundation.py", "etb/client.py"}


@given(st.text(max_size=80))
def test_no_text_can_end_a_header(text: str) -> None:
    value = in_header(text)
    assert value.isascii()
    assert value.isprintable()
    if text.isascii() and text.isprintable() and " " not in text:
        assert value == text
