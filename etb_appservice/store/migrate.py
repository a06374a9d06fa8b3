"""Brings the tables to the newest migration. The only module here that loads Alembic; no alembic.ini is needed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from etb_appservice.store.addresses import SCHEMA, read_address
from etb_appservice.store.engines import make_sqlite_file, postgres_engine, sqlite_engine
from etb_appservice.store.schema import HEAD

T = TypeVar("T")
_SCRIPTS = Path(__file__).parent / "migrations"
_SCHEMA = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(4543554, 1)")


async def upgrade(url: str) -> None:
    """Create what is missing and run the migrations that are; safe to repeat, one process at a time.

    SQLite: the file is created for its owner only, in a folder that must exist. PostgreSQL: the schema `etb` is
    created where the user may. All migrations are one transaction: a failure leaves the tables as they were.
    """
    address = read_address(url)
    if address.file is not None:
        make_sqlite_file(address.file)
    await _with(url, _upgrade, begin="BEGIN EXCLUSIVE")


async def current(url: str) -> str | None:
    """The migration at which the tables are; None for a new database."""
    address = read_address(url)
    if address.file is not None and not address.file.exists():
        return None
    return await _with(url, lambda connection: MigrationContext.configure(connection).get_current_revision())


async def is_current(url: str) -> bool:
    """Whether the tables are at the newest migration."""
    return await current(url) == HEAD


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(_ONE_AT_A_TIME)
        if connection.execute(_SCHEMA, {"name": SCHEMA}).scalar() is None:
            connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


async def _with(url: str, job: Callable[[Connection], T], *, begin: str = "BEGIN") -> T:
    address = read_address(url)
    if address.file is None:
        engine = postgres_engine(address, longest_s=None)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(job)
        finally:
            await engine.dispose()
    file = address.file

    def run() -> T:
        with sqlite_engine(file, begin=begin).connect() as connection:
            return job(connection)

    return await asyncio.to_thread(run)
