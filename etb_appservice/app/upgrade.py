"""`etb-appservice db upgrade`."""

from etb_appservice.app.foundation import pickle_key
from etb_appservice.config import Settings
from etb_appservice.matrix.store import open_crypto_database
from etb_appservice.ops.clock import SystemClock
from etb_appservice.store.migrate import upgrade as upgrade_tables
from etb_appservice.store.sql import open_store


async def upgrade(settings: Settings) -> None:
    """Bring both databases to this version's tables. Safe to repeat."""
    await upgrade_tables(settings.database.etb_url)
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, SystemClock()) as store:
        # Made here, once, so that two programs that start side by side can't make two of them.
        await pickle_key(store.keepsakes)
    crypto = await open_crypto_database(settings.database.etb_crypto_url)
    await crypto.stop()
