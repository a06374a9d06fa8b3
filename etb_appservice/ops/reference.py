"""Writes `docs/reference/metrics.md` from the metrics themselves."""

from etb_appservice.ops.metrics import Metrics

_HEAD = """\
# Metrics

Written from the code by `make docs`; change it there.

`/metrics` on the private listener (`appservice.listen`) serves them in Prometheus' text format. Labels are machine
words, never ids or texts. Beside these come the `process_…` metrics of the Prometheus client: memory, CPU, files.

| name | type | labels | meaning |
|---|---|---|---|
"""


def metrics() -> str:
    """The whole page."""
    rows = (
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {says} |"
        for name, kind, says, labels in Metrics(process=False).table()
    )
    return _HEAD + "\n".join(rows) + "\n"
