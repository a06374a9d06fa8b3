"""Writes the generated pages of docs/reference/ and tables of the README; a test compares them with the code."""  # noqa: INP001 - a script

from pathlib import Path

from etb_appservice import commands as command_package
from etb_appservice.config.reference import configuration
from etb_appservice.flows.commands import find
from etb_appservice.flows.reference import page, with_tables
from etb_appservice.ops.reference import metrics

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    commands = find(command_package)
    pages = {"commands.md": page(commands), "configuration.md": configuration(), "metrics.md": metrics()}
    for name, text in pages.items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8"), commands), encoding="utf-8")


if __name__ == "__main__":
    main()
