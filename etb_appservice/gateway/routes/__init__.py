"""What the chat API serves: a module a subject, each with a `TABLE` of routes."""

from etb_appservice.gateway.routes import (
    bots,
    changes,
    commands,
    files,
    links,
    messages,
    rooms,
    runs,
    tickets,
    upload,
    writing,
)
from etb_appservice.gateway.table import Route

ROUTES: tuple[Route, ...] = (
    *rooms.TABLE,
    *changes.TABLE,
    *messages.TABLE,
    *writing.TABLE,
    *runs.TABLE,
    *commands.TABLE,
    *files.TABLE,
    *upload.TABLE,
    *bots.TABLE,
    *tickets.TABLE,
    *links.TABLE,
)
"""All of them."""
