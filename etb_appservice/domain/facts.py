"""Facts: what happened, in the past tense. One fact is one unit of work.

Every fact that came from a room says whether it was decrypted; what counts comes only from a decrypted event of
a device of its sender. Facts are stored and read again by later versions: give new fields a default.
"""

from dataclasses import dataclass, field
from typing import Literal

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.devices import SeenDevice
from etb_appservice.domain.effects import Effect
from etb_appservice.domain.files import FileAccess
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import EtbUser, Incident, OnCall
from etb_appservice.domain.talk import (
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
    ReactionTooEarly,
    Trust,
)
from etb_appservice.domain.web import WebDeleted, WebEdited, WebPinned, WebRan, WebReacted, WebSaid

__all__ = [  # those of talk.py and web.py; what stands here needs no mention
    "EventRedacted",
    "Fact",
    "KeyAwaited",
    "Loss",
    "MessageReceived",
    "MessageUnreadable",
    "Origin",
    "PinsSet",
    "PlainMessageReceived",
    "PollAsked",
    "PollEnded",
    "PollVoted",
    "ReactionReceived",
    "ReactionTooEarly",
    "Trust",
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
class IncidentDue:
    """Something about an incident was changed or made in ETB at our wish: it is to be fetched at once."""

    kind: Literal["IncidentDue"] = "IncidentDue"
    incident_id: IncidentId
    tries: int = 0
    """How often ETB was asked in vain; after a few the next poll has to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallSeen:
    """Who is on call has changed since the last look."""

    kind: Literal["OnCallSeen"] = "OnCallSeen"
    usernames: tuple[Username, ...]
    on_call: tuple[OnCall, ...] = ()
    """The same by rotation."""


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
class RightsDue:
    """Look whether somebody may still be in a room, or whether everybody there may."""

    kind: Literal["RightsDue"] = "RightsDue"
    room_id: RoomId
    user_id: UserId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RightsSweepDue:
    """After a start: look so at every room, in batches, by war room; those behind `after` are to come."""

    kind: Literal["RightsSweepDue"] = "RightsSweepDue"
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleDue:
    """It is time to look again at who belongs in an incident's room and what its card shows."""

    kind: Literal["PeopleDue"] = "PeopleDue"
    incident_id: IncidentId
    afresh: bool = False
    """After a start: what stood in the way may have been mended."""
    news: str = ""
    """Markdown that the room is told once, such as who is on call now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyDue:
    """It is time to look at an incident's SLAs, escalations and pages. Void unless `plan` is the latest one."""

    kind: Literal["DutyDue"] = "DutyDue"
    incident_id: IncidentId
    plan: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOutDue:
    """A start goes on looking at the incidents that somebody is kept out of: those with an id behind `after`."""

    kind: Literal["KeptOutDue"] = "KeptOutDue"
    after: IncidentId


@dataclass(frozen=True, slots=True, kw_only=True)
class CardDue:
    """Someone joined: where they can't hold the key of the card, it is sent anew."""

    kind: Literal["CardDue"] = "CardDue"
    incident_id: IncidentId
    user_id: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateDue:
    """The next status update of an incident is due, if `plan` still is the plan."""

    kind: Literal["UpdateDue"] = "UpdateDue"
    incident_id: IncidentId
    plan: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommanderDue:
    """By now somebody should be the incident's commander."""

    kind: Literal["CommanderDue"] = "CommanderDue"
    incident_id: IncidentId


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUpDue:
    """Somebody has joined an incident that has been open for a while."""

    kind: Literal["CatchUpDue"] = "CatchUpDue"
    incident_id: IncidentId
    user_id: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnlyDue:
    """The room of an incident that has ended is to be only read from now on, if `plan` still is the plan."""

    kind: Literal["ReadOnlyDue"] = "ReadOnlyDue"
    incident_id: IncidentId
    plan: int


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
class SweepDue:
    """It is time to ask ETB for incidents of which nothing was heard for long."""

    kind: Literal["SweepDue"] = "SweepDue"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementDue:
    """Something is to be said to stakeholders; `text` was chosen for what they may know."""

    kind: Literal["AnnouncementDue"] = "AnnouncementDue"
    text: str


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
class DeviceDue:
    """The time to verify a device is over, if it is the same matter still."""

    kind: Literal["DeviceDue"] = "DeviceDue"
    war_room: WarRoomId
    device: str
    """The id of its entry in the case."""
    since_ms: int


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
class BreakGlassEnds:
    """The time of somebody who was let in is over, or was ended; overtaken when it was given anew since."""

    kind: Literal["BreakGlassEnds"] = "BreakGlassEnds"
    war_room: WarRoomId
    grant: str
    user_id: UserId
    by: UserId | None = None
    """Who ends it before its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlassReviewDue:
    """It is time to remind the operators that somebody has to look at it; `look` counts."""

    kind: Literal["BreakGlassReviewDue"] = "BreakGlassReviewDue"
    war_room: WarRoomId
    grant: str
    look: int
    is_over: bool
    """Whether it is reminded of for having ended, or for lasting."""


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
class LetterDue:
    """Something is to be said to one person alone."""

    kind: Literal["LetterDue"] = "LetterDue"
    user_id: UserId
    text: str
    notify: bool = False
    about: str = ""
    incident_id: IncidentId | None = None
    """The incident whose contents it holds, if any."""
    signed_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionEnds:
    """The time to answer a question is over; `number` says which of that person's questions is meant."""

    kind: Literal["QuestionEnds"] = "QuestionEnds"
    war_room: WarRoomId
    asker: UserId
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalEnds:
    """The time to approve something is over."""

    kind: Literal["ApprovalEnds"] = "ApprovalEnds"
    war_room: WarRoomId
    approval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldDue:
    """A command that waited for approval has it, and may run now."""

    kind: Literal["HeldDue"] = "HeldDue"
    war_room: WarRoomId
    approval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookDue:
    """It is time to look how a run of a runbook does; `look` counts the looks."""

    kind: Literal["RunbookDue"] = "RunbookDue"
    war_room: WarRoomId
    run_id: str
    look: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportDue:
    """The transcript of a room is to be made and sent into it."""

    kind: Literal["ExportDue"] = "ExportDue"
    war_room: WarRoomId
    export: str
    """Its id; that of the command's run where somebody asked for it."""
    by: str
    """An ETB username or a Matrix id; empty for the service."""
    run_id: str = ""
    reply_to: EventId | None = None
    thread_root: EventId | None = None
    to_etb: bool = True
    """False where ETB has the incident no longer, so that nothing can be registered there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartDue:
    """A picture of an incident's timeline is to be drawn and sent into its room."""

    kind: Literal["ChartDue"] = "ChartDue"
    war_room: WarRoomId
    run_id: str
    """The command that asked for it."""
    reply_to: EventId
    thread_root: EventId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AclsDue:
    """Whether a room's server ACL is as it shall be is looked at, or of all rooms behind `after`."""

    kind: Literal["AclsDue"] = "AclsDue"
    war_room: WarRoomId | None = None
    after: str = ""


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
class FileDue:
    """The time is over in which a message could have named an uploaded file."""

    kind: Literal["FileDue"] = "FileDue"
    file_id: str
    user_id: UserId


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


Fact = (
    MessageReceived
    | PlainMessageReceived
    | MessageUnreadable
    | KeyAwaited
    | MembershipChanged
    | ReactionReceived
    | ReactionTooEarly
    | EventRedacted
    | PinsSet
    | PollVoted
    | PollEnded
    | StateChanged
    | TombstoneSeen
    | EventDisowned
    | IncidentSeen
    | IncidentDue
    | OnCallSeen
    | UsersSeen
    | RoomAsked
    | RoomChangeAsked
    | LinkCodeAsked
    | UnlinkAsked
    | RightsDoubted
    | RightsDue
    | RightsSweepDue
    | PeopleDue
    | KeptOutDue
    | DutyDue
    | CardDue
    | UpdateDue
    | CommanderDue
    | CatchUpDue
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
    | ServiceStarted
    | AclsDue
    | Troubled
    | LetterDue
    | QuestionEnds
    | ApprovalEnds
    | HeldDue
    | RunbookDue
    | ExportDue
    | ChartDue
    | WebSaid
    | WebEdited
    | WebDeleted
    | WebReacted
    | WebPinned
    | WebRan
    | FileUploaded
    | FileDue
    | FileLookedAt
    | FileClassified
    | FileWithdrawn
    | EffectDelayed
    | EffectAnswered
)
