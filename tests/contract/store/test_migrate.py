"""The tables are made by migrations, and a program that doesn't fit them says so."""

import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from etb_appservice.store import migrate
from etb_appservice.store.addresses import read_address
from etb_appservice.store.engines import PostgresLines, SqliteLines
from etb_appservice.store.errors import BadAddress, NotCurrent
from etb_appservice.store.schema import HEAD
from etb_appservice.store.sql import SqlStore, open_store
from etb_appservice.store.tables import metadata
from tests.contract.store.conftest import ROOT, Clock


async def test_an_empty_database_is_refused_with_the_command_that_helps(empty_url: str, clock: Clock) -> None:
    assert await migrate.current(empty_url) is None
    assert not await migrate.is_current(empty_url)
    with pytest.raises(NotCurrent, match="etb-appservice db upgrade"):
        async with open_store(empty_url, ROOT, clock):
            pass


async def test_an_upgrade_makes_it_current_and_can_be_repeated(empty_url: str) -> None:
    await migrate.upgrade(empty_url)
    await migrate.upgrade(empty_url)
    assert await migrate.current(empty_url) == HEAD
    assert await migrate.is_current(empty_url)


async def test_tables_of_another_version_are_refused(store: SqlStore, url: str, clock: Clock) -> None:
    async with store.desk() as desk:
        await desk.write(lambda t: t.change(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(NotCurrent, match=r"at version 9999 .* db upgrade"):
        async with open_store(url, ROOT, clock):
            pass


async def test_migrations_and_tables_say_the_same(url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
        connection.rollback()
        return list(found)

    address = read_address(url)
    lines = (
        PostgresLines(address, readonly=True) if address.file is None else SqliteLines(address.file, readonly=True)
    )
    try:
        async with lines.reading() as line:
            assert await line.run(differences) == []
    finally:
        await lines.close()


def test_the_newest_migration_is_the_one_we_ask_for() -> None:
    folder = Path(migrate.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == HEAD


def _mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


async def test_all_tables_stand_in_the_schema_etb(store: SqlStore, url: str) -> None:
    if url.startswith("sqlite"):
        assert _mode(Path(url.removeprefix("sqlite:///"))) == 0o600
        return
    async with store.desk() as desk:
        select = text("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = ANY(:names)")
        names = [*metadata.tables, "alembic_version"]
        assert [row[0] for row in await desk.ask(lambda t: t.rows(select, {"names": names}))] == ["etb"]


async def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match=r"nowhere/etb\.db can't be opened"):
        await migrate.upgrade(f"sqlite:///{tmp_path}/nowhere/etb.db")
