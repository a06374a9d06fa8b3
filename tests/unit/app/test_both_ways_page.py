"""docs/both-ways.md says of each row which test tries it; none of them may be forgotten."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ROWS = "tests/integration/service/test_rows.py"
NAMED = re.findall(r"`((?:rows|tests/[^`:]+)::test_[^`]+)`", (ROOT / "docs/both-ways.md").read_text())


def rows_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    found = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    return {name for name in found if name.startswith("test_")}


def test_the_page_names_every_row_that_is_tried_and_no_other() -> None:
    named = [name.replace("rows::", f"{ROWS}::").partition("::") for name in NAMED]
    assert {test for path, _, test in named if path == ROWS} == rows_of(ROWS)
    for path, _, test in named:
        assert test in rows_of(path)
