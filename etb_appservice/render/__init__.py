"""Makes texts for people: Markdown, cards. Never fetches anything."""
