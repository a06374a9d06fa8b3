"""Speaks ETB. The only package that knows its paths and spellings; knows nothing of Matrix.

    webhook ─┐                       reads ──┐
             ├─> codec ─> inbox      hands ──┼─> client ─> ETB
    poll ────┘                       probe ──┘   (token, retries, limits, the four outcomes)

What is inferred about ETB (docs/etb-contract.md) stands in two tables, `paths` and `spelling`, and both can be
overridden by configuration.
"""
