"""A homeserver's key endpoints in memory, below mautrix's client: no sockets, and a crash where a test wants one.

It keeps to the client-server API in what etb_appservice uses of it; the real Synapse has the last word in
tests/integration/matrix_crypto.
"""

import json
from collections import defaultdict
from typing import Any
from urllib.parse import unquote

from mautrix.api import Method
from mautrix.client import Client
from mautrix.errors import MatrixConnectionError, make_request_error
from mautrix.types import DeviceID, UserID

Json = dict[str, Any]


class Crash(BaseException):
    """The process died here."""


class KeyServer:
    """Users, devices, keys and to-device queues."""

    def __init__(self) -> None:
        self.users: set[str] = set()
        self.devices: dict[str, dict[str, Json | None]] = defaultdict(dict)
        self.one_time: dict[tuple[str, str], dict[str, Json]] = defaultdict(dict)
        self.fallback: dict[tuple[str, str], tuple[str, Json]] = {}
        self.fallback_used: set[tuple[str, str]] = set()
        self.cross_signing: dict[str, Json] = {}
        self.account_data: dict[tuple[str, str], Json] = {}
        self.inbox: dict[tuple[str, str], list[Json]] = defaultdict(list)
        self.taken: dict[tuple[str, str], int] = defaultdict(int)
        """How many to-device events were given and are gone."""
        self.names: dict[str, str] = {}
        self.pictures: dict[str, str] = {}
        self.media: dict[str, bytes] = {}
        self.changed: dict[str, list[str]] = defaultdict(list)
        self.requests: list[str] = []
        self.masters_uploaded: list[str] = []
        self.unreachable: set[str] = set()
        """Path parts whose requests fail as if nothing listened."""
        self.silent: set[str] = set()
        """People of homeservers that don't answer this one about devices."""
        self.crash_at: int | None = None
        """The number of the request at which the process dies: before it is sent, or after, by `crash_after`."""
        self.crash_after = False

    def client(self, _url: str, _token: str, mxid: str, device_id: str, _http: object) -> Client:
        """Stands in for api.make_client."""
        api: Any = _Api(self, mxid, device_id)
        return Client(mxid=UserID(mxid), device_id=DeviceID(device_id), api=api)

    def answer(self, mxid: str, device_id: str, method: Method, path: str, body: Json) -> Json:
        self.requests.append(f"{method} {path}")
        number = len(self.requests)
        for part in self.unreachable:
            if part in path:
                raise MatrixConnectionError("nothing listens there")
        if self.crash_at == number and not self.crash_after:
            raise Crash(path)
        answer = self._route(mxid, device_id, method, path, json.loads(json.dumps(body)))
        if self.crash_at == number:
            raise Crash(path)
        return answer

    def _route(self, mxid: str, device_id: str, method: Method, path: str, body: Json) -> Json:  # noqa: C901
        parts = [unquote(part) for part in path.split("/")[3:]]
        me = (mxid, device_id)
        match method, parts:
            case Method.POST, ["register"]:
                user = f"@{body['username']}:test"
                if user in self.users:
                    raise make_request_error(400, "", "M_USER_IN_USE", "taken")
                self.users.add(user)
                return {"user_id": user}
            case Method.PUT, ["devices", name]:
                self.devices[mxid].setdefault(name, None)
                return {}
            case Method.DELETE, ["devices", name]:
                self.devices[mxid].pop(name, None)
                return {}
            case Method.GET, ["devices"]:
                return {"devices": [{"device_id": name} for name in self.devices[mxid]]}
            case Method.POST, ["keys", "upload"]:
                return self._upload(me, body)
            case Method.POST, ["keys", "query"]:
                return self._query(body)
            case Method.POST, ["keys", "claim"]:
                return self._claim(body)
            case Method.POST, ["keys", "device_signing", "upload"]:
                self.masters_uploaded.append(next(iter(body["master_key"]["keys"].values())))
                self.cross_signing[mxid] = body
                return {}
            case Method.POST, ["keys", "signatures", "upload"]:
                for name, signed in body[mxid].items():
                    keys = self.devices[mxid][name]
                    assert keys is not None
                    keys["signatures"][mxid] |= signed["signatures"][mxid]
                return {}
            case Method.PUT, ["sendToDevice", kind, _txn]:
                for user, devices in body["messages"].items():
                    for name, content in devices.items():
                        self.inbox[user, name].append({"type": kind, "sender": mxid, "content": content})
                return {}
            case Method.PUT, ["user", user, "account_data", name]:
                self.account_data[user, name] = body
                return {}
            case Method.GET, ["user", user, "account_data", name]:
                if (user, name) not in self.account_data:
                    raise make_request_error(404, "", "M_NOT_FOUND", "no such data")
                return self.account_data[user, name]
            case Method.PUT, ["profile", user, "displayname"]:
                self.names[user] = body["displayname"]
                return {}
            case Method.PUT, ["profile", user, "avatar_url"]:
                self.pictures[user] = body["avatar_url"]
                return {}
            case (Method.PUT, ["rooms", _, "typing", _]) | (Method.POST, ["rooms", _, "receipt", "m.read", _]):
                return {}
        raise AssertionError(f"the key server knows no {method} {path}")

    def _upload(self, me: tuple[str, str], body: Json) -> Json:
        mxid, device_id = me
        if device_id not in self.devices[mxid]:
            raise make_request_error(400, "", "M_UNKNOWN_DEVICE", "unknown device")
        if "device_keys" in body:
            old = self.devices[mxid][device_id]
            signatures = old["signatures"][mxid] if old else {}
            body["device_keys"]["signatures"][mxid] |= signatures
            self.devices[mxid][device_id] = body["device_keys"]
        self.one_time[me] |= body.get("one_time_keys", {})
        for name, key in body.get("fallback_keys", {}).items():
            self.fallback[me] = (name, key)
            self.fallback_used.discard(me)
        return {"one_time_key_counts": {"signed_curve25519": len(self.one_time[me])}}

    def _query(self, body: Json) -> Json:
        answer: Json = {"device_keys": {}, "master_keys": {}, "self_signing_keys": {}, "failures": {}}
        for user in body["device_keys"]:
            if user in self.silent:
                answer["failures"][user.partition(":")[2]] = {"status": 503, "message": "no answer"}
                continue
            answer["device_keys"][user] = {name: keys for name, keys in self.devices[user].items() if keys}
            if user in self.cross_signing:
                answer["master_keys"][user] = self.cross_signing[user]["master_key"]
                answer["self_signing_keys"][user] = self.cross_signing[user]["self_signing_key"]
        return json.loads(json.dumps(answer))  # type: ignore[no-any-return]

    def _claim(self, body: Json) -> Json:
        given: Json = {}
        for user, devices in body["one_time_keys"].items():
            for name in devices:
                keys = self.one_time[user, name]
                if keys:
                    key_id = next(iter(keys))
                    given.setdefault(user, {})[name] = {key_id: keys.pop(key_id)}
                elif (user, name) in self.fallback:
                    key_id, key = self.fallback[user, name]
                    self.fallback_used.add((user, name))
                    given.setdefault(user, {})[name] = {key_id: key}
        return {"one_time_keys": given}

    def upload(self, path: str, content: bytes) -> Json:
        """Media, kept under its address."""
        if any(part in path for part in self.unreachable):
            raise MatrixConnectionError("nothing listens there")
        address = f"mxc://test/{len(self.media)}"
        self.media[address] = content
        return {"content_uri": address}

    def sync(
        self, mxid: str, device_id: str, *, changed: tuple[str, ...] = (), left: tuple[str, ...] = ()
    ) -> Json:
        """What /sync would answer; to-device events stay until `acknowledge`."""
        me = (mxid, device_id)
        unused = me in self.fallback and me not in self.fallback_used
        return {
            "to_device": {"events": list(self.inbox[me])},
            "device_lists": {"changed": list(changed), "left": list(left)},
            "device_one_time_keys_count": {"signed_curve25519": len(self.one_time[me])},
            "device_unused_fallback_key_types": ["signed_curve25519"] if unused else [],
        }

    def asked(self, mxid: str, device_id: str, since: str) -> Json:
        """A /sync of a device: with the last position its to-device events are gone."""
        if device_id not in self.devices[mxid]:
            raise make_request_error(400, "", "M_UNKNOWN_DEVICE", "unknown device")
        given = int(since.removeprefix("s") or 0)
        inbox = self.inbox[mxid, device_id]
        gone = self.taken[mxid, device_id]
        del inbox[: max(0, given - gone)]
        self.taken[mxid, device_id] = max(gone, given)
        now = inbox[:100]
        return {
            "next_batch": f"s{self.taken[mxid, device_id] + len(now)}",
            **self.sync(mxid, device_id),
            "to_device": {"events": now},
        }

    def acknowledge(self, mxid: str, device_id: str) -> None:
        """The next /sync was asked for with the last position: its to-device events are gone."""
        self.inbox[mxid, device_id].clear()


class _Api:
    """The one method of mautrix's HTTPAPI that etb_appservice uses."""

    def __init__(self, server: KeyServer, mxid: str, device_id: str) -> None:
        self.server, self.as_user_id, self.as_device_id = server, mxid, device_id
        self.log = None
        self._txn = 0

    def get_txn_id(self) -> str:
        self._txn += 1
        return str(self._txn)

    async def request(
        self,
        method: Method,
        path: object,
        content: Json | bytes | None = None,
        query_params: Json | None = None,
        headers: Json | None = None,
    ) -> Json:
        if isinstance(content, bytes):
            return self.server.upload(str(path), content)
        if str(path).endswith("/sync"):
            return self.server.asked(self.as_user_id, self.as_device_id, (query_params or {}).get("since", ""))
        return self.server.answer(self.as_user_id, self.as_device_id, method, str(path), content or {})
