"""The real service, which kills itself with SIGKILL at one of its seams.

A seam is a moment between two steps that the outside, or the disk, can tell apart:

    store        before and after each commit of the service's own database
    crypto       before and after each commit of the crypto database, single statements included
    homeserver   before each request is sent, after its answer has come and before anybody has read it
    etb          the same
    transaction  before a homeserver's transaction is answered

Everything is wrapped from outside, in this process alone; the service itself knows nothing of it. What happens is
told by a plan, a JSON file that may come and go while the service runs (`ETB_DYING_PLAN`):

    {"trace": FILE, "at": []}           write down each seam as it is passed
    {"trace": FILE, "at": [SEAM…]}      and die at the first of these
    {… "signal": 15}                    not die, but be told to stop, as an operator would
    {… "victim": PID, "after_s": S}     not die, but let that process die, S seconds later

A seam's name is `place#n`: the n-th time that this process passed the place since the plan came. Without a plan
nothing is done.
"""

import functools
import json
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import aiohttp
from mautrix.util.async_db.aiosqlite import TxnConnection, in_transaction

from etb_appservice.cli import main
from etb_appservice.etb.webhook import WebhookIntake
from etb_appservice.matrix.transactions import Transactions
from etb_appservice.store.desk import Desk

T = TypeVar("T")
_PACKAGE = f"{os.sep}etb_appservice{os.sep}"
_PLUMBING = ("store/sql.py", "store/desk.py", "matrix/store.py", "matrix/keeper.py", "store/engines.py")
_TELLING = ("fact", "row", "name", "event")
_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
_IDS = re.compile(
    r"(?<=/)(![^/]+|@[^/]+|#[^/]+|%21[^/]+|%23[^/]+|%40[^/]+|[0-9a-f]{8}-[0-9a-f-]{27}|ETB[0-9A-F]{10}"
    r"|m\.secret_storage\.key\.[^/]+)"
)
_TXN = re.compile(r"(/send/[^/]+|/sendToDevice/[^/]+)/.+$")


class Plan:
    """What is planned now, and how often each place was passed since."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._plan: dict[str, Any] = {}
        self._passed: Counter[str] = Counter()

    def seam(self, place: str) -> None:
        """A seam is passed; this may be the last thing this process does."""
        if not self._is_there():
            return
        self._passed[place] += 1
        name = f"{place}#{self._passed[place]}"
        trace = os.open(self._plan["trace"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(trace, f"{name}\n".encode())
        os.close(trace)
        if name in self._plan["at"]:
            self._plan["at"] = []
            if "victim" in self._plan:
                victim = (self._plan["victim"], signal.SIGKILL)
                threading.Timer(self._plan["after_s"], os.kill, victim).start()
            else:
                os.kill(os.getpid(), self._plan.get("signal", signal.SIGKILL))

    def _is_there(self) -> bool:
        try:
            stat = os.stat(self._path)  # noqa: PTH116 - at every seam
        except FileNotFoundError:
            self._stamp = None
            return False
        if self._stamp != (stamp := (stat.st_ino, stat.st_mtime_ns)):
            self._stamp = stamp
            self._plan = json.loads(Path(self._path).read_bytes())
            self._passed.clear()
        return True


def who(frame: FrameType | None) -> str:
    """The function of the service on whose behalf a commit is made, and what it works on."""
    while frame is not None:
        file = frame.f_code.co_filename
        if _PACKAGE in file and not file.endswith(_PLUMBING) and frame.f_code.co_name != "ratchets":
            known = frame.f_locals
            about = next((kind_of(known[name]) for name in _TELLING if name in known), "")
            return f"{frame.f_code.co_qualname}({about})".replace(".<locals>", "")
        frame = frame.f_back
    return "?"


def kind_of(value: object) -> str:
    """A row by its effect or source, a fact by its kind, a name as it is."""
    if isinstance(value, str):
        return re.sub(r"@[^/]*|ETB[0-9A-F]{10}", "*", value)
    effect = getattr(value, "effect", None)
    if effect is not None:
        purpose = getattr(effect, "purpose", "")
        return f"{effect.kind} {purpose}".strip()
    return str(getattr(value, "kind", "") or getattr(value, "source", "") or "")


def wrap(plan: Plan) -> None:
    """Put a seam around everything that is told above."""
    _around_commits(plan)
    _around_crypto(plan)
    _around_requests(plan)
    _before_answers(plan)


def _around_commits(plan: Plan) -> None:
    commit = Desk.commit

    async def dying_commit(desk: Desk) -> None:
        if desk._transaction is None and not desk._later and not desk._last:
            return await commit(desk)
        place = f"store commit {who(sys._getframe(1))}"
        plan.seam(f"before {place}")
        await commit(desk)
        plan.seam(f"after {place}")
        return None

    _replace(Desk, "commit", dying_commit)


def _around_crypto(plan: Plan) -> None:
    commit, execute = TxnConnection.commit, TxnConnection.execute

    async def dying_commit(connection: TxnConnection) -> None:
        place = f"crypto commit {who(sys._getframe(1))}"
        plan.seam(f"before {place}")
        await commit(connection)
        plan.seam(f"after {place}")

    async def dying_execute(connection: TxnConnection, query: str, *args: Any, **options: Any) -> Any:
        if in_transaction.get() or not _WRITES.match(query):
            return await execute(connection, query, *args, **options)
        place = f"crypto statement {who(sys._getframe(1))}"
        plan.seam(f"before {place}")
        answer = await execute(connection, query, *args, **options)
        plan.seam(f"after {place}")
        return answer

    _replace(TxnConnection, "commit", dying_commit)
    _replace(TxnConnection, "execute", dying_execute)


def _around_requests(plan: Plan) -> None:
    request = aiohttp.ClientSession._request

    async def dying_request(
        session: aiohttp.ClientSession, method: str, url: Any, **options: Any
    ) -> aiohttp.ClientResponse:
        path = re.sub(r"^https?://[^/]+", "", str(url)).split("?")[0]
        server = "homeserver" if "/_matrix/" in path else "etb"
        plain = _TXN.sub(r"\1", _IDS.sub("*", path))
        place = f"{server} {method} {plain}"
        if path.endswith("/sync"):
            params = options.get("params") or {}
            place += " for keys" if "device_id" in params else " for rooms"
        plan.seam(f"before {place}")
        answer = await request(session, method, url, **options)
        plan.seam(f"after {place}")
        return answer

    _replace(aiohttp.ClientSession, "_request", dying_request)


def _before_answers(plan: Plan) -> None:
    def dying(handler: Callable[..., Awaitable[T]], place: str) -> Callable[..., Awaitable[T]]:
        @functools.wraps(handler)
        async def handle(*arguments: Any) -> T:
            answer = await handler(*arguments)
            plan.seam(f"before the answer to a {place}")
            return answer

        return handle

    _replace(Transactions, "transaction", dying(Transactions.transaction, "transaction"))
    _replace(WebhookIntake, "handle", dying(WebhookIntake.handle, "webhook"))


def _replace(owner: type, name: str, method: Any) -> None:
    setattr(owner, name, method)


if __name__ == "__main__":
    wrap(Plan(os.environ["ETB_DYING_PLAN"]))
    main()
