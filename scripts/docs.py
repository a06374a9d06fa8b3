"""Writes the generated pages of docs/reference/; a test compares them with the code."""  # noqa: INP001 - a script

from pathlib import Path

from etb_appservice.config.reference import configuration
from etb_appservice.ops.reference import metrics

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in {"configuration.md": configuration(), "metrics.md": metrics()}.items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
