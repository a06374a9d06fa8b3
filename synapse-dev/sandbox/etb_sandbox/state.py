"""What a control call can change in a running sandbox: faults, options, moved modules; and the log of requests.

Lives in memory of the one process and dies with it. Never holds bodies or tokens of requests.
"""

import dataclasses
import itertools
import re
import threading
import time
from typing import Any

OPTIONS: dict[str, Any] = {
    "latency_ms": 0,  # added to every answer
    "honour_idempotency_keys": False,  # ETB documents none, so none are honoured
    "auth_scheme": "Token",
    "step_seconds": 0.2,  # one step of a runbook
    "webhook_url": "",
    "webhook_secret": "",
    "webhook_retries": 4,
}

MODULES = {  # section 1.7: module -> the base it is served at, unless moved
    "incidents": "/api/incidents/",
    "sla": "/api/sla-oncall/api/v1/",
    "automation": "/api/automation/",
    "compliance": "/api/compliance/",
    "knowledge": "/api/knowledge/",
    "security": "/security/api/",
    "monitoring": "/api/monitoring/",
    "analytics": "/api/analytics/",
}

KINDS = {  # section 13.4 and what tests need beyond it: kind -> its own parameters
    "extra_fields": (),
    "missing_fields": ("fields",),
    "unknown_enums": ("fields", "value"),
    "wrong_types": ("fields",),
    "bare_lists": (),
    "not_json": (),
    "ignore_params": ("params",),
    "foreign_next": ("host",),
    "throttle": ("retry_after",),
    "error": ("status",),
    "slow": ("seconds", "when"),
    "drop_before_write": (),
    "drop_after_write": (),
}


@dataclasses.dataclass
class Fault:
    id: int
    kind: str
    path: str  # a regular expression, searched in the path
    methods: tuple[str, ...]  # empty: all
    skip: int  # this many matching requests pass first
    count: int | None  # then this many are hit; None: all
    given: dict[str, Any]


class State:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.control_key = ""
        self.numbers = itertools.count(1)
        self.clear()

    def clear(self) -> None:
        with self.lock:
            self.options = dict(OPTIONS)
            self.faults: list[Fault] = []
            self.log: list[dict[str, Any]] = []
            self.moves: dict[str, str | None] = {}
            self.replays: dict[tuple[str, ...], Any] = {}

    def add_fault(self, spec: dict[str, Any]) -> Fault:
        """Raises ValueError when the specification can't be meant."""
        spec = dict(spec)
        kind = spec.pop("kind", None)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        writes = ("POST", "PATCH", "PUT") if kind.startswith("drop_") else ()
        fault = Fault(
            id=next(self.numbers),
            kind=kind,
            path=spec.pop("path", ""),
            methods=tuple(spec.pop("methods", writes)),
            skip=int(spec.pop("skip", 0)),
            count=spec.pop("count", None),
            given=spec,
        )
        if unknown := set(spec) - set(KINDS[kind]):
            raise ValueError(f"{kind} has no parameter {', '.join(sorted(unknown))}")
        try:
            re.compile(fault.path)
        except re.error as error:
            raise ValueError(f"path is no regular expression: {error}") from None
        with self.lock:
            self.faults.append(fault)
        return fault

    def take(self, method: str, path: str) -> list[Fault]:
        """The faults that hit this request; counts them down."""
        hit = []
        with self.lock:
            for fault in list(self.faults):
                if (fault.methods and method not in fault.methods) or not re.search(fault.path, path):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                hit.append(fault)
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count <= 0:
                        self.faults.remove(fault)
        return hit

    def record(self, request) -> dict[str, Any]:
        entry = {
            "at": time.time(),
            "method": request.method,
            "path": request.path,
            "query": request.META.get("QUERY_STRING", ""),
            "idempotency_key": request.headers.get("Idempotency-Key"),
            "status": None,  # not answered yet
            "dropped": False,
        }
        with self.lock:
            self.log.append(entry)
        return entry

    def place(self, path: str) -> str | None:
        """The path under which a request is really served; None: not served here."""
        with self.lock:
            moves = dict(self.moves)
        for default, base in moves.items():
            if base and path.startswith(base):
                return default + path[len(base) :]
        return None if any(path.startswith(default) for default in moves) else path


STATE = State()
