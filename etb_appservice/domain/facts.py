"""Facts: what happened, in the past tense. One fact is one unit of work.

Every fact that came from a room says whether it was decrypted; what counts comes only from a decrypted event of
a device of its sender. Facts are stored and read again by later versions: give new fields a default.
"""

from dataclasses import dataclass, field
from typing import Literal

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.devices import SeenDevice
from etb_appservice.domain.due import (
    AclsDue,
    AnnouncementDue,
    ApprovalEnds,
    BreakGlassEnds,
    BreakGlassReviewDue,
    CardDue,
    CatchUpDue,
    ChartDue,
    CommanderDue,
    DeviceDue,
    DutyDue,
    ExportDue,
    FileDue,
    FileOver,
    HeldDue,
    IncidentDue,
    KeptOutDue,
    LetterDue,
    PeopleDue,
    PinnersDue,
    PinsDue,
    QuestionEnds,
    ReadOnlyDue,
    RightsDue,
    RightsSweepDue,
    RoomDue,
    RunbookDue,
    SweepDue,
    UpdateDue,
)
from etb_appservice.domain.effects import Effect
from etb_appservice.domain.files import FileAccess
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import EtbUser, Incident, OnCall
from etb_appservice.domain.talk import (
    CameTooEarly,
    Early,
    EventRedacted,
    KeyAwaited,
    Loss,
    MessageReceived,
    MessageUnreadable,
    Origin,
    PinsSet,
    PlainMessageReceived,
    PollAsked,
    PollEnded,
    PollVoted,
    ReactionReceived,
    TalkFact,
    Trust,
)
from etb_appservice.domain.web import WebDeleted, WebEdited, WebFact, WebPinned, WebRan, WebReacted, WebSaid

__all__ = [  # those of due.py, talk.py and web.py; what stands here needs no mention
    "AclsDue",
    "AnnouncementDue",
    "ApprovalEnds",
    "BreakGlassEnds",
    "BreakGlassReviewDue",
    "CameTooEarly",
    "CardDue",
    "CatchUpDue",
    "ChartDue",
    "CommanderDue",
    "DeviceDue",
    "DutyDue",
    "Early",
    "EventRedacted",
    "ExportDue",
    "Fact",
    "FileDue",
    "FileOver",
    "HeldDue",
    "IncidentDue",
    "KeptOutDue",
    "KeyAwaited",
    "LetterDue",
    "Loss",
    "MessageReceived",
    "MessageUnreadable",
    "Origin",
    "PeopleDue",
    "PinnersDue",
    "PinsDue",
    "PinsSet",
    "PlainMessageReceived",
    "PollAsked",
    "PollEnded",
    "PollVoted",
    "QuestionEnds",
    "ReactionReceived",
    "ReadOnlyDue",
    "RightsDue",
    "RightsSweepDue",
    "RunbookDue",
    "SweepDue",
    "Trust",
    "UpdateDue",
    "WebDeleted",
    "WebEdited",
    "WebPinned",
    "WebRan",
    "WebReacted",
    "WebSaid",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipChanged(Origin):
    """Someone was invited, joined, left, was removed or banned."""

    kind: Literal["MembershipChanged"] = "MembershipChanged"
    user_id: UserId
    membership: str
    previous: str = "leave"
    is_upgrade: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged(Origin):
    """Any other state event. Kept for the record; nothing that counts follows from it."""

    kind: Literal["StateChanged"] = "StateChanged"
    event_type: str
    state_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TombstoneSeen(Origin):
    """A room was replaced by another one; that its sender had the power for it, the homeserver has decided."""

    kind: Literal["TombstoneSeen"] = "TombstoneSeen"
    replacement: RoomId


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDisowned(Origin):
    """An event that the homeserver passed on to us and shows to nobody: its sender isn't in the room any more.

    What it says counts for nothing (Matrix server-server API, "Soft failure").
    """

    kind: Literal["EventDisowned"] = "EventDisowned"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentSeen:
    """ETB showed an incident, by webhook or by poll; it may be new, changed or as before."""

    kind: Literal["IncidentSeen"] = "IncidentSeen"
    incident: Incident
    via: Literal["webhook", "poll", "setup", "oncall", "asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallSeen:
    """Who is on call has changed since the last look."""

    kind: Literal["OnCallSeen"] = "OnCallSeen"
    usernames: tuple[Username, ...]
    on_call: tuple[OnCall, ...] = ()
    """The same by rotation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldsSeen:
    """ETB names other legal holds of an incident than before (docs/etb-contract.md 10.1)."""

    kind: Literal["HoldsSeen"] = "HoldsSeen"
    incident_id: IncidentId
    holds: tuple[str, ...]
    """The ids of all that are in force, sorted; empty where none is any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersSeen:
    """The poll has looked at people who are in rooms: whose copy differs, or is old.

    Whom ETB knows no longer is inactive here.
    """

    kind: Literal["UsersSeen"] = "UsersSeen"
    users: tuple[EtbUser, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAsked:
    """Somebody asks by ETB's web pages for the room of an incident."""

    kind: Literal["RoomAsked"] = "RoomAsked"
    ref: str
    """What the asker is told the verdict by."""
    incident_id: IncidentId
    by: EtbUser
    by_id: UserId
    confirmed_ms: int = 0
    """When ETB confirmed token and user."""
    name: str = ""
    description: str = ""
    privacy: str = ""
    """As the asker wants it; it follows the incident."""
    lets_in: tuple[EtbUser, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomChangeAsked:
    """Somebody asks by ETB's web pages for a change of a war room. What is None or empty stays."""

    kind: Literal["RoomChangeAsked"] = "RoomChangeAsked"
    ref: str
    war_room: WarRoomId
    by: EtbUser
    by_id: UserId
    confirmed_ms: int = 0
    name: str | None = None
    description: str | None = None
    archives: bool = False
    lets_in: tuple[EtbUser, ...] = ()
    puts_out: tuple[Username, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCodeAsked:
    """An ETB user asks by ETB's web pages for a code with which to link a Matrix account."""

    kind: Literal["LinkCodeAsked"] = "LinkCodeAsked"
    ref: str
    """What the asker is told the verdict by."""
    by: EtbUser
    digest: str
    """Of the code; the code itself is nowhere but in the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlinkAsked:
    """An ETB user asks by ETB's web pages that their Matrix account be linked no longer."""

    kind: Literal["UnlinkAsked"] = "UnlinkAsked"
    ref: str
    by: EtbUser


@dataclass(frozen=True, slots=True, kw_only=True)
class RightsDoubted:
    """ETB doesn't take our token (401): what it said of people before `before_ms` holds no longer."""

    kind: Literal["RightsDoubted"] = "RightsDoubted"
    before_ms: int
    since_ms: int
    """When it was refused first, so that the operators are told once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateFound:
    """ETB calls another incident a duplicate of this one."""

    kind: Literal["DuplicateFound"] = "DuplicateFound"
    incident_id: IncidentId
    duplicate: IncidentId


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentDoubted:
    """Something suggests that ETB has an incident no longer: it is asked, more than once."""

    kind: Literal["IncidentDoubted"] = "IncidentDoubted"
    incident_id: IncidentId
    sightings: int = 0
    """How often ETB has said so."""
    tries: int = 0
    """How often it was asked in vain since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesSeen:
    """In a room for verified devices something has changed about who has others."""

    kind: Literal["DevicesSeen"] = "DevicesSeen"
    war_room: WarRoomId
    people: tuple[UserId, ...]
    """Whose devices were looked at."""
    unsigned: tuple[SeenDevice, ...]
    """All of theirs that are not signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlassGiven:
    """Two people have agreed to let somebody into a war room for a while."""

    kind: Literal["BreakGlassGiven"] = "BreakGlassGiven"
    war_room: WarRoomId
    grant: str
    user_id: UserId
    by: tuple[UserId, ...]
    reason: str
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStarted:
    """The service came up: the control room and the Space must exist."""

    kind: Literal["ServiceStarted"] = "ServiceStarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """Something an operator should know of, said once per `key`."""

    kind: Literal["Troubled"] = "Troubled"
    key: str
    text: str
    """Markdown, with the fix; no secret and no text of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An effect took effect. `event_id` for messages and state, `room_id` for a room that was opened."""

    kind: Literal["Done"] = "Done"
    event_id: EventId | None = None
    room_id: RoomId | None = None
    detail: str = ""
    """What an adapter adds for the record, such as `adopted` or `created`."""
    unread_by: tuple[UserId, ...] = ()
    """People a message was meant for none of whose devices got its key, if any was known."""
    members: tuple[tuple[UserId, str], ...] = ()
    """Who is in a room that was there already, as (person, membership)."""
    found: dict[str, str] = field(default_factory=dict)
    """What ETB answered, in our own words: an `id`, a `status`, a `level`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDone:
    """An effect did not take effect, or nobody knows whether it did; its row is refused, parked or unknown."""

    kind: Literal["NotDone"] = "NotDone"
    state: Literal["refused", "parked", "unknown"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectDelayed:
    """The first try of an effect that a person waits for failed; it is tried again until it is answered."""

    kind: Literal["EffectDelayed"] = "EffectDelayed"
    key: str
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectAnswered:
    """How an effect ended. Comes in the lane of the fact that asked for it."""

    kind: Literal["EffectAnswered"] = "EffectAnswered"
    key: str
    effect: Effect
    answer: Done | NotDone


# --- files (domain/files.py) -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUploaded:
    """Somebody has uploaded a file by the chat API; its bytes lie on the homeserver, encrypted."""

    kind: Literal["FileUploaded"] = "FileUploaded"
    ref: str = ""
    """What the asker is told the verdict by."""
    file_id: str
    war_room: WarRoomId
    user_id: UserId
    """Under which its uploader speaks; their name stands in `details`."""
    details: FileDetails
    by: EtbUser
    confirmed_ms: int
    """When ETB said so of them."""
    message_id: str = ""
    """The message that it goes with; empty where a message may name it yet."""
    is_sent: bool = False
    """Whether it is to be sent at once, as a message of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLookedAt:
    """Somebody looked at a file. The rest is what its plain text showed when it was read for the first time."""

    kind: Literal["FileLookedAt"] = "FileLookedAt"
    ref: str = ""
    """What the asker is told the verdict by."""
    access: FileAccess
    sha256: str = ""
    size: int = 0
    mime: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileClassified:
    """Somebody has said how a file is classified."""

    kind: Literal["FileClassified"] = "FileClassified"
    ref: str = ""
    """What the asker is told the verdict by."""
    file_id: str
    level: Classification
    by: EtbUser
    confirmed_ms: int
    """When ETB said so of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWithdrawn:
    """Somebody has asked for a file to be deleted."""

    kind: Literal["FileWithdrawn"] = "FileWithdrawn"
    ref: str = ""
    """What the asker is told the verdict by."""
    file_id: str
    by: EtbUser
    confirmed_ms: int
    """When ETB said so of them."""
    user_id: UserId


ServiceFact = ServiceStarted | Troubled | EffectDelayed | EffectAnswered
Fact = (
    TalkFact
    | WebFact
    | RoomDue
    | ServiceFact
    | MembershipChanged
    | StateChanged
    | TombstoneSeen
    | EventDisowned
    | IncidentSeen
    | OnCallSeen
    | UsersSeen
    | HoldsSeen
    | RoomAsked
    | RoomChangeAsked
    | LinkCodeAsked
    | UnlinkAsked
    | RightsDoubted
    | RightsDue
    | RightsSweepDue
    | DutyDue
    | ReadOnlyDue
    | DuplicateFound
    | IncidentDoubted
    | SweepDue
    | AnnouncementDue
    | DevicesSeen
    | DeviceDue
    | BreakGlassGiven
    | BreakGlassEnds
    | BreakGlassReviewDue
    | QuestionEnds
    | ApprovalEnds
    | HeldDue
    | RunbookDue
    | ExportDue
    | ChartDue
    | FileUploaded
    | FileDue
    | FileOver
    | FileLookedAt
    | FileClassified
    | FileWithdrawn
)
