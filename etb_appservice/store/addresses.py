"""Database addresses: reads the URL of the configuration. Must never put a password into an error."""

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from etb_appservice.store.errors import BadAddress

SCHEMA = "etb"
"""The PostgreSQL schema that holds all of our tables."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is. `file` is set on SQLite and None on PostgreSQL; `url` names the driver."""

    url: URL = field(repr=False)
    file: Path | None

    @property
    def is_postgres(self) -> bool:
        """Whether this is PostgreSQL."""
        return self.file is None


def read_address(url: str) -> Address:
    """Read `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://user@host/name`.

    A driver in the URL (`+aiosqlite`, `+asyncpg`) is accepted and makes no difference. Raises BadAddress.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadAddress(
            "database.url can't be read as a URL; write sqlite:////var/lib/etb/etb.db "
            "or postgresql://user@host/database"
        ) from None
    match parsed.get_backend_name():
        case "sqlite":
            name = parsed.database
            if not name or name == ":memory:" or name.startswith("file:"):
                raise BadAddress(
                    "database.url names no SQLite file, and a database in memory would lose what was accepted; "
                    "write sqlite:////var/lib/etb/etb.db"
                )
            return Address(URL.create("sqlite+pysqlite", database=name), Path(name))
        case "postgresql" | "postgres":
            if not parsed.database:
                raise BadAddress("database.url names no database; write postgresql://user@host/database")
            return Address(parsed.set(drivername="postgresql+asyncpg"), None)
        case other:
            raise BadAddress(f"database.url begins with {other}; only sqlite and postgresql are supported")
