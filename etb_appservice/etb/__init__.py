"""Speaks ETB. The only package that knows its paths and spellings; knows nothing of Matrix."""
