"""News: what a committed decision changed of what clients of a war room see. Told after the commit, kept nowhere.

Nothing durable may depend on news: a client that missed some asks for the history. News name things by id, so that
whoever passes them on shows what stands by then, to those who may see it by then.
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.conversation import Person
from etb_appservice.domain.ids import IncidentId, Username, WarRoomId

NoticeKind = Literal[
    "SLA_WARNING",
    "SLA_BREACHED",
    "SLA_MET",
    "ESCALATION_TRIGGERED",
    "ESCALATION_ACKNOWLEDGED",
    "ESCALATION_RESOLVED",
    "MENTION",
    "ONCALL_HANDOFF",
    "INCIDENT_STATUS_CHANGED",
    "INCIDENT_ASSIGNED",
    "COMMAND_COMPLETED",
    "COMMAND_FAILED",
    "LEGAL_HOLD_PLACED",
    "LEGAL_HOLD_RELEASED",
]
"""As docs/etb-contract.md 2.7 names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAdded:
    """A message stands in the record that wasn't there, or can be read by now."""

    kind: Literal["MessageAdded"] = "MessageAdded"
    war_room: WarRoomId
    message_id: str
    client_id: str = ""
    """What its sender's socket called it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageUpdated:
    """Its text changed, or its place was filled."""

    kind: Literal["MessageUpdated"] = "MessageUpdated"
    war_room: WarRoomId
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDeleted:
    """Its content is gone."""

    kind: Literal["MessageDeleted"] = "MessageDeleted"
    war_room: WarRoomId
    message_id: str
    by: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePinned:
    """It was pinned, or isn't any more."""

    kind: Literal["MessagePinned"] = "MessagePinned"
    war_room: WarRoomId
    message_id: str
    is_pinned: bool
    by: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionChanged:
    """Somebody reacted to a message, or withdrew that."""

    kind: Literal["ReactionChanged"] = "ReactionChanged"
    war_room: WarRoomId
    message_id: str
    emoji: str
    is_added: bool
    by: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonJoined:
    """Somebody is in the room."""

    kind: Literal["PersonJoined"] = "PersonJoined"
    war_room: WarRoomId
    person: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonLeft:
    """Somebody is in the room no longer, by their own will or not."""

    kind: Literal["PersonLeft"] = "PersonLeft"
    war_room: WarRoomId
    person: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentUpdated:
    """ETB shows the incident otherwise than before."""

    kind: Literal["IncidentUpdated"] = "IncidentUpdated"
    war_room: WarRoomId
    incident_id: IncidentId
    changed: tuple[str, ...]
    """Names of fields, as docs/etb-contract.md has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFinished:
    """A command was answered, or refused."""

    kind: Literal["CommandFinished"] = "CommandFinished"
    war_room: WarRoomId
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified:
    """Something that deserves more than a line in the room."""

    kind: Literal["Notified"] = "Notified"
    war_room: WarRoomId
    notice: NoticeKind
    title: str
    body: str = ""
    severity: str = ""
    """The incident's, as ETB names it."""
    usernames: tuple[Username, ...] = ()
    """Whom it is for; empty: everybody in the room."""
    message_id: str = ""
    """The message that it is about."""
    run_id: str = ""
    """The command's run that it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileShared:
    """A file was added; `message_id` is empty while no message carries it."""

    kind: Literal["FileShared"] = "FileShared"
    war_room: WarRoomId
    file_id: str
    message_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typing:
    """Somebody is writing, or has stopped."""

    kind: Literal["Typing"] = "Typing"
    war_room: WarRoomId
    person: Person
    is_typing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadUpTo:
    """Somebody has read a message and those before it."""

    kind: Literal["ReadUpTo"] = "ReadUpTo"
    war_room: WarRoomId
    person: Person
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RightsChanged:
    """Who may be in the room may have changed: whoever serves somebody there asks again."""

    kind: Literal["RightsChanged"] = "RightsChanged"
    war_room: WarRoomId


News = (
    MessageAdded
    | MessageUpdated
    | MessageDeleted
    | MessagePinned
    | ReactionChanged
    | PersonJoined
    | PersonLeft
    | IncidentUpdated
    | CommandFinished
    | Notified
    | FileShared
    | Typing
    | ReadUpTo
    | RightsChanged
)
