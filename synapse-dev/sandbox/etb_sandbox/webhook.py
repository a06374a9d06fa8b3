"""Pushes `{event, incident}` for each created or changed incident, signed by the Standard Webhooks specification.

ETB upstream is not known to have this (section 7.5), so it is off until a URL and a secret are set. One thread
delivers in order; a refused delivery is tried again a few times with the same id and a new signature.
"""

import datetime as dt
import json
import queue
import threading
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

from standardwebhooks import Webhook

from etb_sandbox.state import STATE

FIRST_WAIT_S = 0.2
TIMEOUT_S = 10

_deliveries: queue.Queue[dict[str, Any]] = queue.Queue()
sent: list[dict[str, Any]] = []  # what was tried: id, event, incident, statuses, body


def push(event: str, incident: dict[str, Any]) -> None:
    """Queues one message, if a receiver is set. Call it after the commit."""
    if STATE.options["webhook_url"]:
        body = json.dumps({"event": event, "incident": incident}, default=str)
        repeat({"id": f"msg_{uuid.uuid4().hex}", "event": event, "incident": str(incident["id"]), "body": body})


def repeat(message: dict[str, Any]) -> None:
    """Queues a message, also one that was delivered before."""
    _deliveries.put(message | {"statuses": []})


def forget() -> None:
    sent.clear()
    while not _deliveries.empty():
        _deliveries.get_nowait()


def deliver(message: dict[str, Any]) -> None:
    sent.append(message)
    for attempt in range(1 + STATE.options["webhook_retries"]):
        url, secret = STATE.options["webhook_url"], STATE.options["webhook_secret"]
        if not url or message not in sent:  # switched off or reset meanwhile
            return
        if attempt:
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        now = dt.datetime.now(tz=dt.UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message["id"],
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(message["id"], now, message["body"]),
        }
        request = urllib.request.Request(url, message["body"].encode(), headers)  # http(s), checked when set
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                message["statuses"].append(response.status)
                return
        except urllib.error.HTTPError as refused:
            message["statuses"].append(refused.code)
            if refused.code == 410:  # noqa: PLR2004  # the specification's "stop sending"
                return
        except OSError as unreachable:
            message["statuses"].append(type(unreachable).__name__)


def start() -> None:
    def work() -> None:
        while True:
            deliver(_deliveries.get())

    threading.Thread(target=work, name="webhooks", daemon=True).start()
