"""Counts what the service does, in a registry of its own. Labels are machine words, never ids or texts.

Implements port `Meter`. Nothing here raises into its caller: a label that is no plain word is counted as `other`.
Every metric is made in the table below, from which `docs/reference/metrics.md` is generated.
"""

import re
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Literal

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics import MetricWrapperBase

_TIMES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
_MOST_VALUES = 200
Line = Literal["inbox", "outbox"]
Peer = Literal["etb", "homeserver"]


class Metrics:
    """Port `Meter`, and the gauges that are set before a scrape."""

    def __init__(self, *, process: bool = True) -> None:
        """`process`: also measure this process's memory and CPU."""
        self.registry = CollectorRegistry(auto_describe=True)
        if process:
            ProcessCollector(registry=self.registry)
        self._values: dict[str, set[str]] = {}
        self._depth = self._gauge("etb_queue_depth", "Rows that wait to be worked on.", "queue")
        self._age = self._gauge("etb_queue_age_seconds", "Age of the oldest row that is ready.", "queue")
        self._parked = self._gauge(
            "etb_queue_parked", "Rows set aside for an operator (`!queue` shows them).", "queue"
        )
        self._parkings = self._counter("etb_parked", "Rows that were set aside for an operator.", "queue")
        self._facts = self._times("etb_fact_seconds", "Time to decide one fact, by its kind.", "kind")
        self._effects = self._times(
            "etb_effect_seconds",
            "Time of one try of an effect; outcome `done`, `refused`, `later`, `unsure` or `broken`.",
            "kind",
            "outcome",
        )
        self._commands = self._times(
            "etb_command_seconds", "Time from a command's decision to its answer queued.", "name", "status"
        )
        self._undecryptable = self._counter(
            "etb_undecryptable", "Events that could not be decrypted when they came, by reason.", "reason"
        )
        self._refused = self._counter(
            "etb_keys_refused", "Devices that could not be given a room key when it was due, by reason.", "reason"
        )
        self._requests = self._counter(
            "etb_key_requests_refused", "Requests for room keys by other people's devices; all are refused."
        )
        self._histories = self._counter(
            "etb_history_bundles",
            "Invitations that were due the keys of what was said before; outcome `shared`, `nothing`, `no_device` "
            "or `failed`.",
            "outcome",
        )
        self._calls = self._times(
            "etb_call_seconds",
            "Time of one HTTP call to a peer; status is the HTTP status or `error`.",
            "peer",
            "status",
        )
        self._api = self._times(
            "etb_api_seconds",
            "Time of one request to the chat API, by route (`none`: there is no such method) and HTTP status.",
            "route",
            "status",
        )
        self._rooms = self._gauge("etb_rooms", "Rooms of ours that are current.")
        self._ready = self._gauge("etb_ready", "1 when `/ready` answers 200, else 0.")

    # --- port Meter ---------------------------------------------------------------------------------------

    def fact(self, kind: str, seconds: float) -> None:
        """A fact was decided."""
        self._facts.labels(self._word("kind", kind)).observe(seconds)

    def effect(self, kind: str, outcome: str, seconds: float) -> None:
        """A try of an effect ended."""
        self._effects.labels(self._word("kind", kind), self._word("outcome", outcome)).observe(seconds)

    def command(self, name: str, status: str, seconds: float) -> None:
        """A command was answered."""
        self._commands.labels(self._word("name", name), self._word("status", status)).observe(seconds)

    def undecryptable(self, reason: str) -> None:
        """An event could not be decrypted when it came."""
        self._undecryptable.labels(self._word("reason", reason)).inc()

    def parked(self, where: Line) -> None:
        """A row was set aside."""
        self._parkings.labels(where).inc()

    # --- more than the port -------------------------------------------------------------------------------

    def keys_refused(self, reason: str, devices: int = 1) -> None:
        """Devices could not be given a room key."""
        self._refused.labels(self._word("reason", reason)).inc(max(devices, 0))

    def key_requests_refused(self, requests: int) -> None:
        """Other people's devices asked for room keys, in vain."""
        self._requests.inc(max(requests, 0))

    def history(self, outcome: str) -> None:
        """An invitation that was due the keys of what was said before ended, as `matrix.history` says."""
        self._histories.labels(self._word("outcome", outcome)).inc()

    def call(self, peer: Peer, status: str, seconds: float) -> None:
        """An HTTP call to a peer ended."""
        self._calls.labels(peer, status if status.isdigit() else "error").observe(seconds)

    def api(self, route: str, status: int, seconds: float) -> None:
        """A request to the chat API was answered."""
        self._api.labels(self._word("route", route), str(status)).observe(seconds)

    def depth(self, where: Line, waiting: int, parked: int, age_s: float) -> None:
        """How full a queue is: port `Inbox.depth` and `Outbox.depth`."""
        self._depth.labels(where).set(waiting)
        self._parked.labels(where).set(parked)
        self._age.labels(where).set(age_s)

    def rooms(self, count: int) -> None:
        """How many rooms are ours."""
        self._rooms.set(count)

    def ready(self, is_ready: bool) -> None:
        """Whether the service is ready."""
        self._ready.set(is_ready)

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)

    # --- the table ----------------------------------------------------------------------------------------

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        return Gauge(name, says, labels, registry=self.registry)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(name, says, labels, registry=self.registry)

    def _times(self, name: str, says: str, *labels: str) -> Histogram:
        return Histogram(name, says, labels, registry=self.registry, buckets=_TIMES)

    def table(self) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
        """(name as scraped, type, what it says, labels) of each metric of ours, by name."""
        for metric in sorted(vars(self).values(), key=lambda m: str(getattr(m, "_name", ""))):
            if isinstance(metric, MetricWrapperBase):
                name, kind = metric._name, str(metric._type)  # noqa: SLF001 - the library has no public names
                labels = tuple(metric._labelnames)  # noqa: SLF001
                yield f"{name}_total" if kind == "counter" else name, kind, metric._documentation, labels  # noqa: SLF001

    def _word(self, label: str, value: str) -> str:
        """A label's value: a plain word, of which there are not too many."""
        word = value.replace(" ", "_")
        seen = self._values.setdefault(label, set())
        if not _WORD.fullmatch(word) or (word not in seen and len(seen) >= _MOST_VALUES):
            return "other"
        seen.add(word)
        return word


def trace(metrics: Metrics, peer: Peer) -> aiohttp.TraceConfig:
    """For `ClientSession(trace_configs=[...])`: measures every call, never looks at what is in it."""

    async def start(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.began = time.monotonic()

    async def end(_session: object, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        metrics.call(peer, str(params.response.status), time.monotonic() - context.began)

    async def fail(_session: object, context: SimpleNamespace, _params: object) -> None:
        metrics.call(peer, "error", time.monotonic() - context.began)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    config.on_request_end.append(end)
    config.on_request_exception.append(fail)
    return config
