import re
from pathlib import Path

from etb_appservice.config.reference import key_paths

PACKAGE = Path(__file__).parents[3] / "etb_appservice"
DECLARED = {"settings.py", "reference.py", "fresh.py", "values.py"}


def test_every_key_is_read_by_some_part_of_the_service() -> None:
    """A key that does nothing would be a lie. Keys that name a file are read by the loader, by their ending."""
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "config" or path.name not in DECLARED
    )
    # What the settings answer to in place of a key: `etb_crypto_url` is `crypto_url` or its default.
    answered = {"crypto_url": "etb_crypto_url", "url": "(?:etb_url|url)", "key": "(?:key_bytes|key)"}
    holders = (
        "settings|ops|etb|bot|rooms|row|commands|encryption|database|appservice|webhook|gateway|sockets|homeserver"
    )
    unread = [
        ".".join(path)
        for path in key_paths()
        if not path[-1].endswith(("_file", "_files"))
        and not re.search(rf"\b(?:{holders})\.(?:\w+\.)*{answered.get(path[-1], path[-1])}\b", code)
    ]
    assert unread == []
