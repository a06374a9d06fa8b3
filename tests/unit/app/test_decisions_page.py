"""docs/decisions/README.md lists every record by its title."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "docs/decisions"


def test_every_record_is_listed_by_its_title_and_in_order() -> None:
    listed = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("- ")]
    titles = {page.name: page.read_text().partition("\n")[0] for page in sorted(FOLDER.glob("[0-9]*.md"))}
    assert listed == [f"- [{title.removeprefix('# ')}]({name})" for name, title in titles.items()]
