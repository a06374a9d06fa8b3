"""Alembic's folder: `env.py` runs the files of `versions/`, which are never changed once released."""
