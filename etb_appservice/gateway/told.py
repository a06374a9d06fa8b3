"""The frames that clients are told (docs/etb-contract.md 6.3): exactly what stands here, and nothing else."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from etb_appservice.gateway import objects
from etb_appservice.gateway.frames import ErrorCode, Nonce

PROTOCOL: Literal[1] = 1


class Told(BaseModel):
    """What every frame of ours is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ConnectionEstablished(Told):
    """The first frame: which room this is, and for whom."""

    type: Literal["connection_established"] = "connection_established"
    room_id: objects.Uuid
    user: objects.User
    server_time: objects.Moment
    protocol: Literal[1] = PROTOCOL


class ChatMessage(Told):
    """Something was said."""

    type: Literal["chat_message"] = "chat_message"
    message: objects.Message
    client_id: str | None = None
    """Only where the reader has said it."""


class MessageUpdated(Told):
    """A message is another now."""

    type: Literal["message_updated"] = "message_updated"
    message: objects.Message


class MessageDeleted(Told):
    """A message was taken away."""

    type: Literal["message_deleted"] = "message_deleted"
    message_id: objects.Uuid
    deleted_by_username: str
    timestamp: objects.Moment


class MessagePinned(Told):
    """A message was pinned or unpinned."""

    type: Literal["message_pinned"] = "message_pinned"
    message_id: objects.Uuid
    is_pinned: bool
    user: objects.User
    timestamp: objects.Moment


class Reaction(Told):
    """A reaction was given or withdrawn; `reactions` is how they stand now."""

    type: Literal["reaction"] = "reaction"
    message_id: objects.Uuid
    emoji: str
    action: Literal["add", "remove"]
    user: objects.User
    reactions: list[objects.ReactionGroup]
    timestamp: objects.Moment


class Typing(Told):
    """Somebody types, or no longer."""

    type: Literal["typing"] = "typing"
    user: objects.User
    is_typing: bool


class CommandResult(Told):
    """A command has ended, or has been taken up."""

    type: Literal["command_result"] = "command_result"
    command: objects.Command


class UserJoined(Told):
    """Somebody came in."""

    type: Literal["user_joined"] = "user_joined"
    user: objects.User
    timestamp: objects.Moment


class UserLeft(Told):
    """Somebody has left, or was removed."""

    type: Literal["user_left"] = "user_left"
    user: objects.User
    timestamp: objects.Moment


class FileShared(Told):
    """A file is there."""

    type: Literal["file_shared"] = "file_shared"
    file: objects.File
    message_id: objects.Uuid | None


class Notification(Told):
    """Something that people want to be told of (2.7)."""

    type: Literal["notification"] = "notification"
    notification_type: str
    title: str
    body: str
    severity: str
    data: dict[str, JsonValue] = Field(default_factory=dict)
    timestamp: objects.Moment


class IncidentShort(Told):
    """The incident as a frame shows it."""

    id: objects.Uuid
    status: str
    severity: str
    assigned_to_username: str | None


class IncidentUpdated(Told):
    """The incident is another now."""

    type: Literal["incident_updated"] = "incident_updated"
    incident: IncidentShort
    changed: list[str]


class BotShort(Told):
    """Which bot speaks."""

    id: objects.Uuid
    name: str


class BotResponse(Told):
    """A bot has answered from the knowledge base: no bot does yet. To commands the bot answers with a message."""

    type: Literal["bot_response"] = "bot_response"
    bot: BotShort
    message: objects.Message
    sources: list[dict[str, JsonValue]] = Field(default_factory=list)


class History(Told):
    """Messages, oldest first; `has_more`: there are older ones."""

    type: Literal["history"] = "history"
    messages: list[objects.Message]
    has_more: bool
    client_id: str | None = None


class Read(Told):
    """Somebody has read up to a message."""

    type: Literal["read"] = "read"
    user: objects.User
    message_id: objects.Uuid


class Error(Told):
    """Something that was asked for was not done."""

    type: Literal["error"] = "error"
    code: ErrorCode
    detail: str
    in_reply_to: str | None = None
    client_id: str | None = None


class Pong(Told):
    """The answer to a ping."""

    type: Literal["pong"] = "pong"
    nonce: Nonce
    server_time: objects.Moment


ServerFrame = (
    ConnectionEstablished
    | ChatMessage
    | MessageUpdated
    | MessageDeleted
    | MessagePinned
    | Reaction
    | Typing
    | CommandResult
    | UserJoined
    | UserLeft
    | FileShared
    | Notification
    | IncidentUpdated
    | BotResponse
    | History
    | Read
    | Error
    | Pong
)
