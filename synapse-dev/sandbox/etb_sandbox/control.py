"""The control calls under `/_sandbox/`, for tests and the development stack. Reachable only with `X-Sandbox-Key`.

ETB has nothing like them: whoever calls them is outside the contract. README.md lists them.
"""

import base64
import binascii
import hmac
import json
import re
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpResponseNotFound, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from etb_sandbox import duty, seed, webhook
from etb_sandbox.models import DataClassification, Incident, OncallRotation, RunbookExecution, SlaInstance, User
from etb_sandbox.state import MODULES, OPTIONS, STATE


class Unfit(ValueError):
    """A control call that can't be meant; the text says why."""


@csrf_exempt
def control(request, call: str, name: str = ""):
    if not hmac.compare_digest(request.headers.get("X-Sandbox-Key", "").encode(), STATE.control_key.encode()):
        return HttpResponseNotFound("<h1>Not Found</h1>")
    handler = CALLS.get((request.method, call))
    if handler is None:
        return JsonResponse({"error": f"No control call {request.method} {call}."}, status=404)
    try:
        asked = json.loads(request.body or b"{}") if request.method == "POST" else request.GET.dict()
        with transaction.atomic():
            return JsonResponse(handler(asked, name), safe=False)
    except KeyError as missing:
        return JsonResponse({"error": f"Missing: {missing.args[0]}"}, status=400)
    except (ValueError, TypeError, ValidationError, IntegrityError) as error:
        return JsonResponse({"error": str(error)}, status=400)
    except (User.DoesNotExist, OncallRotation.DoesNotExist, RunbookExecution.DoesNotExist) as error:
        return JsonResponse({"error": str(error)}, status=404)


def add_fault(asked, name):
    return {"id": STATE.add_fault(asked).id}


def list_faults(asked, name):
    return [fault.__dict__ for fault in STATE.faults]


def clear_faults(asked, name):
    STATE.faults = [fault for fault in STATE.faults if name and fault.id != int(name)]
    return {"left": len(STATE.faults)}


def set_options(asked, name):
    for option, value in asked.items():
        if option not in OPTIONS or type(value) not in (type(OPTIONS[option]), int):
            raise Unfit(f"{option} is no option or the wrong type; known: {', '.join(OPTIONS)}")
    if url := asked.get("webhook_url"):
        if not re.match(r"https?://", url):
            raise Unfit("webhook_url must be http or https")
        secret = asked.get("webhook_secret") or STATE.options["webhook_secret"]
        try:
            fit = bool(base64.b64decode(secret.removeprefix("whsec_") + "==", validate=False))
        except binascii.Error:
            fit = False
        if not fit:
            raise Unfit("webhook_secret must be base64, with or without whsec_")
    STATE.options.update(asked)
    return STATE.options | {"webhook_secret": bool(STATE.options["webhook_secret"])}


def move(asked, name):
    """`{module or prefix: base}`; null switches it off, its own base puts it back."""
    for what, base in asked.items():
        default = MODULES.get(what, what)
        if not default.startswith("/") or not (base is None or (base.startswith("/") and base.endswith("/"))):
            raise Unfit(f"{what}: a module ({', '.join(MODULES)}) or prefix, to a path /like/this/ or null")
        STATE.moves.pop(default, None)
        if base != default:
            STATE.moves[default] = base
    return STATE.moves


def shift_clock(asked, name):
    """Lets `seconds` pass for the SLAs of an incident (or all), or puts them at `percent` of their time."""
    slas = SlaInstance.objects.exclude(status__in=("MET", "CANCELLED"))
    if asked.get("incident"):
        slas = slas.filter(incident=asked["incident"])
    if asked.get("sla_type"):
        slas = slas.filter(sla_definition__sla_type=asked["sla_type"])
    now = timezone.now()
    for sla in slas:
        if "percent" in asked:
            shift = sla.started_at + (sla.target_time - sla.started_at) * asked["percent"] / 100 - now
        else:
            shift = timedelta(seconds=asked["seconds"])
        sla.touch(started_at=sla.started_at - shift, target_time=sla.target_time - shift)
    return {"shifted": len(slas)}


def read_log(asked, name):
    wanted = re.compile(asked.get("path", ""))
    with STATE.lock:
        return [
            dict(entry)
            for entry in STATE.log
            if wanted.search(entry["path"]) and asked.get("method", entry["method"]) == entry["method"]
        ]


def reset(asked, name):
    """Back to the state after start; `{"incidents": false}` leaves users and rules but no incident."""
    STATE.clear()
    webhook.forget()
    seed.plant(incidents=asked.get("incidents", True), service_token=seed.service_token())
    return {"incidents": Incident.objects.count()}


def set_oncall(asked, name):
    rotation = OncallRotation.objects.get(name=asked.get("rotation", seed.MAIN_ROTATION))
    user = User.objects.get(username=asked["username"]) if asked["username"] else None
    row = duty.put_on_call(rotation, user)
    return {"rotation": str(rotation.id), "assignment": str(row.id) if row else None}


def set_user(asked, name):
    """Changes a user or makes one; `clearance` is a level's name or null."""
    username = asked.pop("username")
    user = User.objects.filter(username=username).first() or User(id=seed.uid("user", username), username=username)
    if not user.password:
        user.set_password(f"{username}-sandbox")
    if "clearance" in asked:
        wanted = asked.pop("clearance")
        user.clearance = DataClassification.objects.filter(name=wanted).first()
        if wanted and not user.clearance:
            raise Unfit(f"no clearance {wanted}")
    for field, value in asked.items():
        User._meta.get_field(field)  # noqa: SLF001  # an unknown field is refused here
        setattr(user, field, value)
    user.touch()
    return {"id": str(user.id), "token": seed.give_token(user)}


def end_execution(asked, name):
    run = RunbookExecution.objects.get(pk=name)
    run.finish(asked["status"], timezone.now(), asked.get("error", ""))
    return {"status": run.status}


def bulk(asked, name):
    """Open incidents without SLAs or timeline, for measurements."""
    before, severities = Incident.objects.count(), ("LOW", "MEDIUM", "HIGH", "CRITICAL")
    reporter = User.objects.get(username=asked.get("reporter", "alice"))
    rows = [
        Incident(
            id=seed.uid("bulk", str(before + n)),
            incident_number=f"INC-{1000 + before + n:06d}",
            title=f"Synthetic incident {before + n}",
            severity=severities[n % 4],
            category="Application",
            reporter=reporter,
        )
        for n in range(int(asked["incidents"]))
    ]
    Incident.objects.bulk_create(rows, batch_size=500)
    return {"incidents": before + len(rows)}


def list_webhooks(asked, name):
    return [{key: value for key, value in message.items() if key != "body"} for message in webhook.sent]


def repeat_webhook(asked, name):
    """Delivers a message again under its old id."""
    webhook.repeat(next((message for message in webhook.sent if message["id"] == asked["id"]), {}))
    return {}


CALLS = {
    ("GET", "faults"): list_faults,
    ("POST", "faults"): add_fault,
    ("DELETE", "faults"): clear_faults,
    ("POST", "options"): set_options,
    ("POST", "move"): move,
    ("POST", "clock"): shift_clock,
    ("GET", "log"): read_log,
    ("POST", "reset"): reset,
    ("POST", "oncall"): set_oncall,
    ("POST", "users"): set_user,
    ("POST", "executions"): end_execution,
    ("POST", "bulk"): bulk,
    ("GET", "webhooks"): list_webhooks,
    ("POST", "webhooks"): repeat_webhook,
}
