"""Whose a token is: ETB's profile endpoint, asked with that very token (docs/etb-contract.md 1.2).

The token goes into one header of one request to the configured origin, and nowhere else.
"""

import asyncio

from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb import parse
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.wire import Unreadable

_NO = frozenset({"401", "403"})
"""A 403 too: Django REST Framework says so of a locked account where it names no way to sign in."""


class EtbProfiles:
    """Implements port `Profiles`. `limit_s` bounds each call, its retry included."""

    def __init__(self, client: EtbClient, modules: Modules, *, limit_s: float = 10.0) -> None:
        self._client = client
        self._modules = modules
        self._limit_s = limit_s

    async def whose(self, token: str) -> EtbUser | None:
        """See the port. Of the roles ETB's profile says nothing."""
        path = self._modules.paths.path("security.profile")
        try:
            async with asyncio.timeout(self._limit_s):
                row = await self._client.get_as(token, path)
        except TimeoutError:
            raise Later(f"GET {path}: no answer within {self._limit_s:g} s") from None
        except Refused as no:
            if no.code in _NO:
                return None
            raise
        try:
            return parse.user(row)
        except Unreadable as error:
            raise Refused(f"ETB's answer to GET {path} can't be read: {error}", code="shape") from None
