"""The calls that hands, rooms, gaps and self-test make to the homeserver, as one actor, in plain JSON.

It must let nothing out but the four outcomes, and must never parse a server name out of a room id.
Source: Matrix client-server API.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from mautrix.api import Method
from mautrix.errors import MatrixRequestError

from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.outcomes import Broken, Failure, Refused, Unsure
from etb_appservice.matrix.api import Actor, Wire, outcomes

Json = dict[str, Any]
_CLIENT = "_matrix/client/v3"
_NOT_FOUND = 404


def status_of(failure: Failure) -> int:
    """The HTTP status behind an outcome; 0 when no answer came."""
    cause = failure.__cause__
    return cause.http_status if isinstance(cause, MatrixRequestError) else 0


class Homeserver:
    """The homeserver as `actor` sees it. Every method raises the four outcomes."""

    def __init__(self, actor: Actor) -> None:
        self._api = actor.client.api
        self.user_id = UserId(actor.mxid)
        self.device_id = actor.device_id

    async def ask(
        self, method: Method, path: str, content: Json | None = None, query: Mapping[str, str] | None = None
    ) -> Any:
        """One call; the JSON answer. `path` is quoted already."""
        with outcomes():
            return await self._api.request(method, path, content, query_params=dict(query or {}))

    async def create_room(self, content: Json) -> RoomId:
        """Not atomic: a failure may leave a room behind that has an alias and nothing else."""
        return RoomId(_text(await self.ask(Method.POST, f"{_CLIENT}/createRoom", content), "room_id"))

    async def resolve(self, alias: str) -> RoomId | None:
        """The room an alias names; None when it is free."""
        answer = await self._or_none(Method.GET, f"{_CLIENT}/directory/room/{_q(alias)}")
        return None if answer is None else RoomId(_text(answer, "room_id"))

    async def free_alias(self, alias: str) -> None:
        """Delete an alias of our namespace, whoever made it. One that is free already is no error."""
        await self._or_none(Method.DELETE, f"{_CLIENT}/directory/room/{_q(alias)}")

    async def set_alias(self, alias: str, room_id: RoomId) -> None:
        """Let a free alias of our namespace name a room."""
        await self.ask(Method.PUT, f"{_CLIENT}/directory/room/{_q(alias)}", {"room_id": room_id})

    async def state(self, room_id: RoomId) -> list[Json]:
        """Every state event of a room."""
        answer = await self.ask(Method.GET, f"{_room(room_id)}/state")
        if not isinstance(answer, list):
            raise Unsure("the homeserver's answer for a room's state is not a list")
        return [event for event in answer if isinstance(event, dict)]

    async def state_content(self, room_id: RoomId, event_type: str, state_key: str = "") -> Json | None:
        """The content of one state event; None when there is none."""
        answer = await self._or_none(Method.GET, f"{_room(room_id)}/state/{_q(event_type)}/{_q(state_key)}")
        return answer if isinstance(answer, dict) else None

    async def state_event(self, room_id: RoomId, event_type: str, state_key: str = "") -> Json | None:
        """One state event whole, with its sender and `unsigned.replaces_state`; None when there is none."""
        path = f"{_room(room_id)}/state/{_q(event_type)}/{_q(state_key)}"
        answer = await self._or_none(Method.GET, path, {"format": "event"})
        return answer if isinstance(answer, dict) else None

    async def put_state(self, room_id: RoomId, event_type: str, state_key: str, content: Json) -> EventId:
        """Set a state event. Synapse answers the event that stands when the content is the same."""
        path = f"{_room(room_id)}/state/{_q(event_type)}/{_q(state_key)}"
        return EventId(_text(await self.ask(Method.PUT, path, content), "event_id"))

    async def send(self, room_id: RoomId, event_type: str, txn_id: str, content: Json) -> EventId:
        """Send an event. The same `txn_id` again answers the same event, for about a day."""
        path = f"{_room(room_id)}/send/{_q(event_type)}/{_q(txn_id)}"
        return EventId(_text(await self.ask(Method.PUT, path, content), "event_id"))

    async def redact(self, room_id: RoomId, event_id: EventId, txn_id: str, reason: str = "") -> EventId:
        """Take an event back; once more does no harm. `reason` can be read by every server."""
        path = f"{_room(room_id)}/redact/{_q(event_id)}/{_q(txn_id)}"
        content = {"reason": reason} if reason else {}
        return EventId(_text(await self.ask(Method.PUT, path, content), "event_id"))

    async def upload(self, content: bytes, mime: str = "application/octet-stream") -> str:
        """Put bytes into the media store; their `mxc:` address. A repetition makes another one.

        What is encrypted goes without a name and a type: the homeserver learns nothing of it but its size.
        """
        with outcomes():
            answer = await self._api.request(
                Method.POST,
                "_matrix/media/v3/upload",
                content,
                headers={"Content-Type": mime},
            )
        return _text(answer, "content_uri")

    async def upload_pieces(self, pieces: AsyncGenerator[bytes, None], size: int) -> str:
        """The same in pieces that are read as they are sent; so many bytes in all."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with outcomes():
            answer = await self._api.request(Method.POST, "_matrix/media/v3/upload", pieces, headers=headers)
        return _text(answer, "content_uri")

    async def download(self, mxc: str) -> AsyncGenerator[bytes, None]:
        """What lies at an `mxc:` address, in pieces (client-server API v1.11, authenticated media)."""
        server_name, _, media_id = mxc.removeprefix("mxc://").partition("/")
        path = f"_matrix/client/v1/media/download/{_q(server_name)}/{_q(media_id)}"
        with outcomes():
            if not isinstance(self._api, Wire):
                raise Broken("this client can't stream")
            async with aclosing(self._api.stream(path)) as pieces:
                async for piece in pieces:
                    yield piece

    async def act(self, room_id: RoomId, what: str, content: Json | None = None) -> None:
        """`invite`, `kick`, `leave`: the calls on a room that answer nothing."""
        await self.ask(Method.POST, f"{_room(room_id)}/{what}", content or {})

    async def name(self, displayname: str) -> None:
        """What the actor is called."""
        content = {"displayname": displayname}
        await self.ask(Method.PUT, f"{_CLIENT}/profile/{_q(self.user_id)}/displayname", content)

    async def picture(self, mxc: str) -> None:
        """The actor's picture, which lies at this address for everybody."""
        path = f"{_CLIENT}/profile/{_q(self.user_id)}/avatar_url"
        await self.ask(Method.PUT, path, {"avatar_url": mxc})

    async def typing(self, room_id: RoomId, timeout_ms: int) -> None:
        """The actor types for so long, or with 0 no more."""
        content: Json = {"typing": bool(timeout_ms)} | ({"timeout": timeout_ms} if timeout_ms else {})
        await self.ask(Method.PUT, f"{_room(room_id)}/typing/{_q(self.user_id)}", content)

    async def read_up_to(self, room_id: RoomId, event_id: EventId) -> None:
        """The actor has read so far (`m.read`)."""
        await self.ask(Method.POST, f"{_room(room_id)}/receipt/m.read/{_q(event_id)}", {})

    async def membership(self, room_id: RoomId, user_id: UserId) -> str:
        """A person's membership, `leave` when the room knows nothing of them."""
        content = await self.state_content(room_id, "m.room.member", user_id)
        word = (content or {}).get("membership")
        return word if isinstance(word, str) else "leave"

    async def event(self, room_id: RoomId, event_id: EventId) -> Json | None:
        """One event; None when it doesn't exist or we may not see it."""
        try:
            answer = await self._or_none(Method.GET, f"{_room(room_id)}/event/{_q(event_id)}")
        except Refused as refusal:
            if refusal.code in {"M_FORBIDDEN", "M_GUEST_ACCESS_FORBIDDEN", "M_NOT_JOINED"}:
                return None
            raise
        return answer if isinstance(answer, dict) else None

    async def messages(
        self, room_id: RoomId, *, start: str = "", limit: int = 100, only: str = "", to: str = ""
    ) -> tuple[Sequence[Json], str]:
        """One page backwards from `start` (the room's end when empty), newest first, and where the next begins.

        The second value is empty at the room's beginning. `only` is a filter as JSON text; `to` is a
        position before which nothing is wanted.
        """
        query = {"dir": "b", "limit": str(limit)}
        if start:
            query["from"] = start
        if to:
            query["to"] = to
        if only:
            query["filter"] = only
        answer = await self.ask(Method.GET, f"{_room(room_id)}/messages", query=query)
        chunk = answer.get("chunk") if isinstance(answer, dict) else None
        if not isinstance(chunk, list):
            raise Unsure("the homeserver's answer for a room's messages has no list of events")
        end = answer.get("end")
        events = [event for event in chunk if isinstance(event, dict)]
        return events, end if isinstance(end, str) else ""

    async def _or_none(self, method: Method, path: str, query: Mapping[str, str] | None = None) -> Any:
        try:
            return await self.ask(method, path, query=query)
        except Refused as refusal:
            if status_of(refusal) == _NOT_FOUND and refusal.code != "M_UNRECOGNIZED":
                return None
            raise


def _room(room_id: RoomId) -> str:
    return f"{_CLIENT}/rooms/{_q(room_id)}"


def _q(part: str) -> str:
    try:
        return quote(part, safe="")
    except UnicodeEncodeError:
        raise Refused("an identifier holds characters that no identifier may hold") from None


def _text(answer: Any, name: str) -> str:
    value = answer.get(name) if isinstance(answer, dict) else None
    if isinstance(value, str):
        return value
    raise Unsure(f"the homeserver's answer has no {name}")
