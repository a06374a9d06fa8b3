"""`etb-appservice recovery-key`: shows the bot's recovery key to the operator, once."""

from collections.abc import Callable

from etb_appservice.app.foundation import foundation
from etb_appservice.config import Settings


async def recovery_key(settings: Settings, show: Callable[[str], None]) -> bool:
    """Show the key and forget that it may be shown; False when there is none to show. Works beside a service.

    Shown first: a key that was marked as seen and wasn't would be lost.
    """
    async with foundation(settings) as base:
        key = await base.door.identity.recovery_key()
        if key is None:
            return False
        show(key)
        await base.door.identity.recovery_key_shown()
        return True
