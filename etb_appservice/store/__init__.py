"""Keeps what must not be lost: tables, unit of work, vault, migrations. Plain text never reaches the disk."""
