"""Which migration the tables must be at. Read at every start, so it doesn't load Alembic."""

from sqlalchemy import Connection, inspect, text

from etb_appservice.store.errors import NotCurrent

HEAD = "0009"
"""The newest migration; a test compares it with the folder."""


def check_current(connection: Connection) -> None:
    """Raises NotCurrent unless the tables are at `HEAD`."""
    if not inspect(connection).has_table("alembic_version"):
        raise NotCurrent("the database has no tables yet; run: etb-appservice db upgrade")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found != HEAD:
        raise NotCurrent(
            f"the tables of the database are at version {found} and this program needs {HEAD}; "
            "make a backup and run: etb-appservice db upgrade (with the newest program that was ever used here)"
        )
