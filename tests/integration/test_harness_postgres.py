"""PostgreSQL from the wheel answers, and gives each test a database of its own."""

import asyncpg

from tests.harness.postgres import Postgres


async def test_two_fresh_databases_do_not_see_each_other(postgres: Postgres) -> None:
    first, second = await postgres.fresh_database(), await postgres.fresh_database()
    assert first != second
    one = await asyncpg.connect(first)
    try:
        await one.execute("CREATE TABLE only_here (id int)")
        assert (await one.fetchval("SHOW server_version")).startswith("18.")
    finally:
        await one.close()
    other = await asyncpg.connect(second)
    try:
        assert await other.fetchval("SELECT to_regclass('only_here')") is None
    finally:
        await other.close()
