"""Makes texts for people: Markdown, cards. Never fetches anything."""

from etb_appservice.render.render import render

__all__ = ["render"]
