"""One middleware around ETB's views: counts requests, moves modules, injects faults, replays idempotency keys.

It stands outside the views, so what they did is committed by the time an answer is spoiled or withheld.
"""

import hashlib
import json
import re
import time
from urllib.parse import urlsplit

from django.http import HttpResponse, HttpResponseNotFound, JsonResponse

from etb_sandbox.state import STATE, Fault

# What a reader of ETB may rely on; everything else is optional and goes with `missing_fields`.
NEEDED = {
    "id",
    "title",
    "name",
    "username",
    "severity",
    "status",
    "incident",
    "created_at",
    "updated_at",
    "event_type",
    "event_time",
    "start_time",
    "end_time",
    "started_at",
    "target_time",
    "sla_type",
    "user",
    "user_username",
    "runbook",
    "token",
    "level",
    "results",
}
ENUMS = (
    "status", "severity", "priority", "category", "event_type", "sla_type", "data_classification", "trigger_type",
    "recommendation_type", "article_type", "overall_status",
)  # fmt: skip


def rows(data) -> list[dict]:
    """The objects of an answer, be it a page, a bare list or one object."""
    found = data.get("results", data) if isinstance(data, dict) else data
    return [row for row in (found if isinstance(found, list) else [found]) if isinstance(row, dict)]


def spoil(data, fault: Fault, request):
    """The answer as this fault would have it. May change `data` in place."""
    given, paged = fault.given, isinstance(data, dict) and "results" in data
    if fault.kind == "bare_lists" and paged:
        return data["results"]
    if fault.kind == "foreign_next" and paged:
        asked = urlsplit(data["next"] or request.build_absolute_uri("?page=2"))
        data["next"] = f"{given.get('host', 'http://198.51.100.7')}{asked.path}?{asked.query}"
    for row in rows(data):
        spoil_row(row, fault.kind, given)
    return data


def spoil_row(row: dict, kind: str, given: dict) -> None:
    fields = given.get("fields")
    match kind:
        case "extra_fields":
            row |= {"x_new_in_2031": {"nested": [1, None, "two"]}, "is_quantum": True, "": "", "ünïcode": "☃"}
        case "missing_fields":
            for name in fields or row.keys() - NEEDED:
                row.pop(name, None)
        case "unknown_enums":
            changed = [name for name in fields or ENUMS if isinstance(row.get(name), str)]
            row |= dict.fromkeys(changed, given.get("value", "QUANTUM_FLUX"))
        case "wrong_types":
            row |= {
                name: {"unexpected": True} if not isinstance(row.get(name), dict) else 17 for name in fields or row
            }


def refusal(fault: Fault) -> HttpResponse | None:
    """The answer given instead of ETB's, if this fault gives one."""
    match fault.kind:
        case "throttle":
            wait = str(fault.given.get("retry_after", 1))
            detail = f"Request was throttled. Expected available in {wait} seconds."
            return JsonResponse({"detail": detail}, status=429, headers={"Retry-After": wait})
        case "error":
            status = int(fault.given.get("status", 500))
            if status >= 500:  # noqa: PLR2004
                return HttpResponse(f"<h1>Server Error ({status})</h1>", status=status)
            more = {"WWW-Authenticate": "Token"} if status == 401 else {}  # noqa: PLR2004
            return JsonResponse({"detail": "Refused by the sandbox."}, status=status, headers=more)
        case "not_json":
            return HttpResponse("<html><body>Signed out. Please log in.</body></html>")
    return None


def replayed(get_response, request) -> HttpResponse:
    """ETB's answer; with the option on, a key seen before gets its first answer again."""
    key = request.headers.get("Idempotency-Key")
    if not key or not STATE.options["honour_idempotency_keys"] or request.method in ("GET", "HEAD", "OPTIONS"):
        return get_response(request)
    digest = hashlib.sha256(request.body).hexdigest()
    caller = hashlib.sha256(request.headers.get("Authorization", "").encode()).hexdigest()
    name = (caller, request.method, request.path, key)
    with STATE.lock:  # one write at a time is what SQLite does anyway
        if name not in STATE.replays:
            response = get_response(request)
            if response.status_code < 500:  # noqa: PLR2004
                STATE.replays[name] = (digest, response)
            return response
        first, response = STATE.replays[name]
    if first != digest:
        return JsonResponse({"detail": "This idempotency key was used with another body."}, status=422)
    headers = {"Idempotent-Replayed": "true"}
    return HttpResponse(
        response.content,
        content_type=response.headers["Content-Type"],
        status=response.status_code,
        headers=headers,
    )


def answer(get_response, request, faults: list[Fault]) -> HttpResponse:
    if refused := next(filter(None, map(refusal, faults)), None):
        return refused
    place = STATE.place(request.path_info)
    if place is None:
        return HttpResponseNotFound("<h1>Not Found</h1>")
    request.path_info = place  # request.path stays as the caller wrote it, and `next` follows it
    for fault in faults:
        if fault.kind == "ignore_params":
            request.GET = request.GET.copy()
            for name in fault.given.get("params", []):
                request.GET.pop(name, None)
    response = replayed(get_response, request)
    spoiling = [fault for fault in faults if fault.kind not in ("ignore_params", "slow", "drop_after_write")]
    if spoiling and response.headers.get("Content-Type", "").startswith("application/json") and response.content:
        data = json.loads(response.content)
        for fault in spoiling:
            data = spoil(data, fault, request)
        headers = {name: value for name, value in response.headers.items() if name != "Content-Length"}
        response = HttpResponse(json.dumps(data), status=response.status_code, headers=headers)
    return response


def sandbox_middleware(get_response):
    def handle(request) -> HttpResponse:
        if re.match(r"/_sandbox/|/media/", request.path):
            return get_response(request)
        entry = STATE.record(request)
        faults = STATE.take(request.method, request.path)
        time.sleep(STATE.options["latency_ms"] / 1000)
        slow = [fault for fault in faults if fault.kind == "slow"]
        time.sleep(sum(fault.given.get("seconds", 1) for fault in slow if fault.given.get("when") != "after"))
        kinds = {fault.kind for fault in faults}
        response = HttpResponse() if "drop_before_write" in kinds else answer(get_response, request, faults)
        time.sleep(sum(fault.given.get("seconds", 1) for fault in slow if fault.given.get("when") == "after"))
        if kinds & {"drop_before_write", "drop_after_write"}:
            request.environ["sandbox.drop"] = True  # read by the server in management/commands/serve.py
            entry["dropped"] = True
        entry["status"] = None if "drop_before_write" in kinds else response.status_code
        return response

    return handle
