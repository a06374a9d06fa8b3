"""Database addresses are read, or refused in words that help and hold no password."""

from pathlib import Path

import pytest

from etb_appservice.store.addresses import read_address
from etb_appservice.store.errors import BadAddress


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////var/lib/etb/etb.db", "/var/lib/etb/etb.db"),
        ("sqlite:///etb.db", "etb.db"),
        ("sqlite+aiosqlite:///etb.db", "etb.db"),
    ],
)
def test_a_file_is_read_from_the_url(url: str, file: str) -> None:
    address = read_address(url)
    assert address.file == Path(file)
    assert not address.is_postgres


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@h:5/db", "postgresql+asyncpg://u:p@h:5/db", "postgres://u:p@h:5/db"]
)
def test_postgresql_is_read_with_any_driver(url: str) -> None:
    address = read_address(url)
    assert address.is_postgres
    assert address.url.render_as_string(hide_password=False) == "postgresql+asyncpg://u:p@h:5/db"
    assert ":p@" not in repr(address)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense marmalade", "can't be read as a URL"),
        ("sqlite://", "names no SQLite file"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://u:marmalade@h", "names no database"),
        ("mysql://u:marmalade@h/d", "begins with mysql"),
    ],
)
def test_any_other_address_is_refused(url: str, words: str) -> None:
    with pytest.raises(BadAddress, match=words) as refused:
        read_address(url)
    assert "marmalade" not in str(refused.value)
    assert refused.value.__cause__ is None
