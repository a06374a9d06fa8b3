"""The objects of the chat API (docs/etb-contract.md 3 to 5), as the models that answers are made of.

The OpenAPI document is generated from these very models: what isn't here isn't served. Times are UTC milliseconds
inside and ISO 8601 with `Z` outside. ETB's own words (severity, status, category) pass through as text.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, RootModel, WithJsonSchema

from etb_appservice.domain.classification import Classification

Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Level = Literal["PUBLIC", "INTERNAL", "CONFIDENTIAL", "RESTRICTED", "TOP_SECRET"]
Privacy = Literal["PUBLIC", "PRIVATE", "RESTRICTED"]
RoomStatus = Literal["ACTIVE", "ARCHIVED", "CLOSED"]
MessageType = Literal["TEXT", "SYSTEM", "COMMAND", "ALERT", "UPDATE", "FILE", "BOT"]
CommandType = Literal["STATUS", "RUNBOOK", "ESCALATE", "ASSIGN", "UPDATE", "CUSTOM"]
ExecutionStatus = Literal["PENDING", "RUNNING", "SUCCESS", "FAILED", "CANCELLED"]
FileType = Literal["LOG", "SCREENSHOT", "EVIDENCE", "DOCUMENT", "IMAGE", "VIDEO", "ARCHIVE", "OTHER"]
ClassificationSource = Literal["AUTO", "USER", "ETB"]
AccessType = Literal["VIEW", "DOWNLOAD", "SHARE"]
BotType = Literal["INCIDENT_ASSISTANT", "KNOWLEDGE_BOT", "AUTOMATION_BOT", "COMPLIANCE_BOT"]


def moment(at_ms: int) -> Moment:
    """A time as the API writes it.

    >>> moment(1705314600000), moment(1705314600123)
    ('2024-01-15T10:30:00Z', '2024-01-15T10:30:00.123Z')
    """
    at = datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000, tzinfo=None)
    return f"{at.isoformat(timespec='milliseconds' if at_ms % 1000 else 'seconds')}Z"


def moment_or_none(at_ms: int | None) -> Moment | None:
    """The same, where there may be none."""
    return None if at_ms is None else moment(at_ms)


def level_name(level: Classification) -> Level:
    """A level as the API writes it."""
    match level:
        case Classification.PUBLIC:
            return "PUBLIC"
        case Classification.INTERNAL:
            return "INTERNAL"
        case Classification.CONFIDENTIAL:
            return "CONFIDENTIAL"
        case Classification.RESTRICTED:
            return "RESTRICTED"
        case Classification.TOP_SECRET:
            return "TOP_SECRET"


def clean(text: str) -> str:
    """A text that any reader of JSON can hold: half a surrogate pair, which Matrix lets through, becomes U+FFFD.

    >>> clean("a" + chr(0xD800)) == "a" + chr(0xFFFD)
    True
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Object(BaseModel):
    """What an answer holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class User(Object):
    """Somebody, in short."""

    id: Uuid | None
    """ETB's id; null where ETB gave none, or knows no such user."""
    username: str


# --- war rooms (3.3, 3.5) ---------------------------------------------------------------------------------


class WarRoomItem(Object):
    """A war room as a list shows it (3.3)."""

    id: Uuid
    name: str
    incident: Uuid
    incident_title: str
    incident_severity: str
    status: RoomStatus
    privacy_level: Privacy
    message_count: int
    last_activity: Moment | None
    participant_count: int
    created_at: Moment


class AllowedUser(Object):
    """Somebody who may be in a war room, and how they stand to its level (3.5)."""

    id: Uuid | None
    username: str
    display_name: str
    clearance_level: Level | None
    is_online: bool
    """Whether one of their sockets is open at this process."""


class MatrixRoom(Object):
    """The Matrix room behind a war room; an extension of ours."""

    room_id: str | None
    """Null while it is being made."""
    room_alias: str | None
    encryption_algorithm: str
    rotation_period_ms: int


class WarRoomDetail(WarRoomItem):
    """A war room (3.5)."""

    description: str
    incident_status: str
    incident_category: str
    incident_priority: str
    allowed_users: list[AllowedUser]
    created_by: Uuid | None
    created_by_username: str | None
    updated_at: Moment
    archived_at: Moment | None
    slack_channel_id: str | None
    teams_channel_id: str | None
    chat_room_id: Uuid
    websocket_url: str
    data_classification: Level
    required_clearance: Level
    is_encrypted: bool
    legal_hold: bool
    retention_until: Moment | None
    matrix: MatrixRoom


class Participant(Object):
    """A member of a war room with their clearance state (3.1)."""

    id: Uuid | None
    username: str
    """ETB's name, or the Matrix id of somebody of a partner."""
    display_name: str
    matrix_id: str
    membership: Literal["join", "invite", "none"]
    """`none`: they take part by ETB's web pages and are in the Matrix room by no id of their own."""
    roles: list[str]
    """Why they belong: `reporter`, `assignee`, `on call`, roles held in the incident, `let in`."""
    clearance_level: Level | None
    is_cleared: bool
    is_online: bool


# --- files (5.1, 5.2) -------------------------------------------------------------------------------------


class File(Object):
    """A file of a war room (5.1)."""

    id: Uuid
    message: Uuid | None
    war_room: Uuid
    incident: Uuid
    filename: str
    original_filename: str
    file_type: FileType
    mime_type: str
    file_size: int
    file_url: str
    file_hash: str
    """SHA-256 of the plain content, hex; empty while it isn't known."""
    data_classification: Level
    classification_source: ClassificationSource
    is_encrypted: bool
    uploaded_by: Uuid | None
    uploaded_by_username: str
    uploaded_at: Moment
    retention_period_days: int
    retention_until: Moment | None
    legal_hold: bool
    evidence: Uuid | None
    access_count: int
    matrix_media_uri: str | None
    external_data: dict[str, JsonValue]
    """`url`, where this object is; `permalink`, where Matrix clients open it, once Matrix knows it."""


class FileAccess(Object):
    """One access to a file (5.2)."""

    id: Uuid
    file: Uuid
    user: Uuid | None
    user_username: str
    access_type: AccessType
    reason: str
    ip_address: str | None
    timestamp: Moment


# --- messages (4.1, 4.3) ----------------------------------------------------------------------------------


class ReactionGroup(Object):
    """All reactions to a message with one emoji."""

    emoji: str
    count: int
    users: list[str]
    reacted_by_me: bool


class Message(Object):
    """A message (4.1)."""

    id: Uuid
    war_room: Uuid
    incident: Uuid
    content: str
    message_type: MessageType
    sender: Uuid | None
    """Null for the system and for Matrix users whom ETB doesn't know."""
    sender_username: str
    sender_name: str
    bot: Uuid | None
    reply_to: Uuid | None
    reply_count: int
    mentioned_users: list[User]
    notify_mentioned: bool
    attachments: list[File]
    reactions: list[ReactionGroup]
    is_pinned: bool
    pinned_by_username: str | None
    pinned_at: Moment | None
    is_edited: bool
    edited_at: Moment | None
    is_encrypted: bool
    data_classification: Level
    timeline_event: Uuid | None
    """The entry about it on ETB's timeline, where ETB said what it is called."""
    external_message_id: str | None
    external_data: dict[str, JsonValue]
    """`url`, where this object is; `permalink`, where Matrix clients open it, once Matrix knows it;
    `matrix_sender`; and `state`, where there is no text."""
    created_at: Moment
    updated_at: Moment


class Reaction(Object):
    """One reaction of one person (4.3)."""

    id: Uuid
    message: Uuid
    user: Uuid | None
    user_username: str
    emoji: str
    created_at: Moment


# --- commands and bots (4.4, 5.3) -------------------------------------------------------------------------


class Result(Object):
    """What came of a command."""

    text: str
    """What its asker was told; empty while nothing was."""


class SlaTarget(Object):
    """One service level of an incident, in short (8.4)."""

    name: str
    sla_type: str | None
    status: str
    target_time: Moment


class OnDuty(Object):
    """Who is on call in one rotation (8.6)."""

    rotation_name: str
    username: str


class StatusResult(Result):
    """What `status` reported (4.4); null where that isn't known, as of all of these."""

    incident_id: Uuid | None
    title: str | None
    status: str | None
    severity: str | None
    priority: str | None
    assigned_to_username: str | None
    sla: list[SlaTarget] | None
    oncall: list[OnDuty] | None
    confirmed_at: Moment | None
    """When ETB said so: earlier than the command where ETB was away."""


class RunbookResult(Result):
    """How a run of a runbook stands."""

    runbook_id: Uuid | None
    runbook_name: str | None
    execution_id: Uuid | None
    status: str | None
    current_step: int | None
    total_steps: int | None


class EscalateResult(Result):
    """The escalation that was started."""

    escalation_id: Uuid | None
    level: int | None
    notified: list[str] | None
    """By username or address; empty: ETB says that it has told nobody yet."""


class AssignResult(Result):
    """Who has the incident, and who had it."""

    assigned_to_username: str | None
    previous_username: str | None
    """Null too where nobody had it."""


class UpdateResult(Result):
    """What was changed; `old` and `new` are the same where it was so already."""

    field: str | None
    old: str | None
    new: str | None


class Command(Object):
    """A run of a command (4.4)."""

    id: Uuid
    message: Uuid | None
    war_room: Uuid
    incident: Uuid | None
    command_type: CommandType
    command_text: str
    parameters: dict[str, JsonValue]
    executed_by: Uuid | None
    executed_by_username: str
    executed_at: Moment
    completed_at: Moment | None
    execution_status: ExecutionStatus
    execution_result: StatusResult | RunbookResult | EscalateResult | AssignResult | UpdateResult | Result
    """By `command_type`; the status, severity or assignee that ETB has now may be another one."""
    error_message: str
    automation_execution: Uuid | None
    duration_ms: int | None


class Bot(Object):
    """What the one Matrix bot can do, as a record (5.3)."""

    id: Uuid
    name: str
    bot_type: BotType
    bot_type_display: str
    description: str
    is_active: bool
    auto_respond: bool
    response_triggers: list[str]
    capabilities: list[str]
    created_at: Moment
    updated_at: Moment


# --- frames of answers (1.3, 1.6) -------------------------------------------------------------------------

T = TypeVar("T")


class Page(Object, Generic[T]):
    """A page of a list (1.3). `count` counts only what the caller may know of."""

    # Looking for docstrings of each kind of page, which are nowhere, was a third of the program's start.
    model_config = ConfigDict(use_attribute_docstrings=False)

    count: int
    next: str | None
    previous: str | None
    results: list[T]


class Error(Object):
    """What went wrong, for a person and for a machine (1.6)."""

    detail: str
    code: str


class Invalid(RootModel[dict[str, list[str]]]):
    """What is wrong with which field (1.6); what is wrong with none of them stands in `non_field_errors`."""


class Ticket(Object):
    """Opens one WebSocket instead of a token, once, within seconds."""

    ticket: str
    expires_at: Moment


class LinkCode(Object):
    """Proves once, for some minutes, who at ETB somebody is who types it in Matrix."""

    code: str
    command: str
    """What to write to the bot, in a direct chat with it."""
    bot: str
    """Its Matrix id."""
    expires_at: Moment


class Link(Object):
    """Who the caller is in Matrix."""

    username: str
    matrix_user_id: str | None
    """Null: nobody; what they write on the web is said by an account of this service in their name."""
    source: Literal["LINKED", "CONFIGURED", "NONE"]
    """By a code of their own, or by the operator, which can't be undone here."""


Fields = Mapping[str, Sequence[str]]
"""Messages by field, as `Invalid` holds them."""
