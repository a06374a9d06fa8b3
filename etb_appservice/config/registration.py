"""The registration the homeserver must hold for these settings (Matrix specification, "Registration"). Pure."""

import re
from typing import Any

from etb_appservice.config.settings import Settings


def registration(settings: Settings) -> dict[str, Any]:
    """The registration as a mapping, in the order in which it is written. Holds both tokens in the clear.

    `io.element.msc4190` lets this service make its own devices without a login (MSC4190).
    `receive_ephemeral` lets ETB's pages show who types and who has read (MSC2409, specification v1.13).
    """
    domain = re.escape(settings.homeserver.domain)
    prefix = re.escape(settings.appservice.user_prefix)
    return {
        "id": settings.appservice.id,
        "url": settings.appservice.url,
        "as_token": settings.appservice.as_token.get_secret_value(),
        "hs_token": settings.appservice.hs_token.get_secret_value(),
        "sender_localpart": settings.appservice.sender_localpart,
        "rate_limited": False,
        "receive_ephemeral": True,
        "io.element.msc4190": True,
        "namespaces": {
            "users": [
                {"exclusive": True, "regex": f"@{re.escape(settings.bot.localpart)}:{domain}"},
                {"exclusive": True, "regex": f"@{prefix}.*:{domain}"},
            ],
            "aliases": [{"exclusive": True, "regex": f"#{re.escape(settings.rooms.alias_prefix)}.*:{domain}"}],
            "rooms": [],
        },
    }
