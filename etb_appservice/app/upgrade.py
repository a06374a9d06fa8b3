"""`etb-appservice db upgrade`."""

from etb_appservice.config import Settings
from etb_appservice.matrix.store import open_crypto_database
from etb_appservice.store.migrate import upgrade as upgrade_tables


async def upgrade(settings: Settings) -> None:
    """Bring both databases to this version's tables. Safe to repeat."""
    await upgrade_tables(settings.database.etb_url)
    crypto = await open_crypto_database(settings.database.etb_crypto_url)
    await crypto.stop()
