"""The floors: the least that could do the same."""
