"""Speaks ETB. The only package that knows its paths and spellings; knows nothing of Matrix.

    webhook ─┐                       reads ──┐
             ├─> codec ─> inbox      hands ──┼─> client ─> ETB
    poll ────┘                       probe ──┘   (token, retries, limits, the four outcomes)

`fields` reads single fields, `parse` and `parse_duty` make our objects of them. `hands` writes the timeline itself
and leaves the rest to `incident_writes` and `duty_writes`, which share a `desk`: what became of an earlier try.

What is inferred about ETB (docs/etb-contract.md) stands in two tables, `paths` and `spelling`, and both can be
overridden by configuration.
"""
