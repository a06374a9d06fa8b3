"""Effects: what shall be done, in the imperative, each with a key made from the fact that asked for it.

An effect is decided once and tried until it is answered. It must hold all that is needed to carry it out, since
it may be tried after a restart, by another process, hours later. Give new fields a default.
"""

from dataclasses import dataclass
from typing import Any, Literal

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import NOBODY, EventId, IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import Card
from etb_appservice.domain.rooms import RoomSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRoom:
    """Make a room as `spec` says, or adopt the one that its alias names when that one is ours and complete."""

    kind: Literal["OpenRoom"] = "OpenRoom"
    war_room: WarRoomId
    """Whose room it is; for the control room and the Space a fixed id of their own."""
    spec: RoomSpec
    urgency: int = 0
    """Of several rooms to be opened, those with the least number come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """Invite a person. Someone who is in the room already counts as invited.

    Whether the history that goes with it arrives or not, the invitation counts.
    """

    kind: Literal["Invite"] = "Invite"
    room_id: RoomId
    user_id: UserId
    reason: str = ""
    is_direct: bool = False
    """Whether their client should list the room among their direct chats."""
    history_up_to: Classification | None = None
    """The person's clearance, up to which they are given the keys of what was said before; None: of nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove a person from a room, with a reason they can read."""

    kind: Literal["Remove"] = "Remove"
    room_id: RoomId
    user_id: UserId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveRoom:
    """Leave a room, or decline an invitation, that isn't ours."""

    kind: Literal["LeaveRoom"] = "LeaveRoom"
    room_id: RoomId
    speaker: Username = NOBODY
    """Whose ghost leaves, also a room of ours; empty: the bot does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutState:
    """Set a state event.

    It is not encrypted: `content` must hold only what the room's classification lets servers read.
    """

    kind: Literal["PutState"] = "PutState"
    room_id: RoomId
    event_type: str
    state_key: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVoice:
    """Let nobody but the bot write in a room, or everybody in it again. Repeating is safe."""

    kind: Literal["SetVoice"] = "SetVoice"
    room_id: RoomId
    is_read_only: bool
    is_held: bool = False
    """Whether nobody may take anything back there (redact)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreState:
    """Set a state event back to what somebody entitled had last set. Repeating is safe.

    Nothing is done where what stands in the room by then is theirs.
    """

    kind: Literal["RestoreState"] = "RestoreState"
    room_id: RoomId
    event_type: str
    state_key: str
    entitled: tuple[UserId, ...]
    """The bot, and whoever is as powerful as it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUpgrade:
    """Take over the room by which somebody has replaced one of ours, if it is its true successor."""

    kind: Literal["FollowUpgrade"] = "FollowUpgrade"
    room_id: RoomId
    """The room that was replaced."""
    replacement: RoomId
    by: UserId
    """Who sent the tombstone, and so must have made the successor."""
    spec: RoomSpec
    """What an incident's room shall be; its version and power levels are the person's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Pin an event, keeping the other pins and their order; `instead_of` loses its pin to it."""

    kind: Literal["Pin"] = "Pin"
    room_id: RoomId
    event_id: EventId
    instead_of: EventId | None = None
    is_pinned: bool = True
    """False takes its pin away instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MendPins:
    """Let a room show these as pinned, in this order, and not those. What else it shows stays, behind them."""

    kind: Literal["MendPins"] = "MendPins"
    room_id: RoomId
    pinned: tuple[EventId, ...]
    gone: tuple[EventId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetMembersPin:
    """Let members pin in a room whose level for that is still the one that rooms were made with once."""

    kind: Literal["LetMembersPin"] = "LetMembersPin"
    room_id: RoomId


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Send an encrypted message."""

    kind: Literal["Say"] = "Say"
    room_id: RoomId
    content: str | Card
    """Markdown, or a card."""
    notify: bool = False
    """True sends `m.text`, which makes a phone ring; False sends `m.notice`."""
    mentions: tuple[UserId, ...] = ()
    reply_to: EventId | None = None
    thread_root: EventId | None = None
    edits: EventId | None = None
    """The event of ours that this one replaces."""
    purpose: Literal["", "card", "answer", "notice", "reminder", "living"] = ""
    signed_only: bool = False
    """Whether only devices that their owners have signed may read it, whatever the room's rules say."""
    speaker: Username = NOBODY
    """The ETB user whose ghost says it; empty: the bot does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendFile:
    """Send a file, encrypted as an attachment. Its bytes are not here.

    One of ours waits in `ports.Documents`; where one lies that somebody has uploaded, `ports.Files` knows.
    """

    kind: Literal["SendFile"] = "SendFile"
    room_id: RoomId
    document: str = ""
    """Its id among the documents; empty for an uploaded one."""
    file_id: str = ""
    """Its id among the files; empty for one of ours."""
    message_id: str = ""
    """The message of the record that this is; empty where it only goes with one."""
    filename: str
    mime: str
    size: int
    """In bytes."""
    msgtype: Literal["m.file", "m.image", "m.video", "m.audio"] = "m.file"
    width: int = 0
    height: int = 0
    duration_ms: int = 0
    """Of a sound or a film, as its sender says; 0: not said."""
    is_voice: bool = False
    """A sound that is shown as a voice message (MSC3245)."""
    caption: str = ""
    """What is read beside it; for a picture, what it shows. Plain text; empty shows the file's name."""
    reply_to: EventId | None = None
    thread_root: EventId | None = None
    speaker: Username = NOBODY
    """The ETB user whose ghost sends it; empty: the bot does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class React:
    """Put an emoji on a message. It is not encrypted. Who has put it there already has done so."""

    kind: Literal["React"] = "React"
    room_id: RoomId
    event_id: EventId
    emoji: str
    speaker: Username = NOBODY
    """The ETB user whose ghost does it; empty: the bot does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redact:
    """Take a message or a reaction back. One that is gone already counts as taken back."""

    kind: Literal["Redact"] = "Redact"
    room_id: RoomId
    event_id: EventId
    reason: str = ""
    """It is not encrypted."""
    speaker: Username = NOBODY
    """The ETB user whose ghost does it, of what it has said itself; empty: the bot does, of whatever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptIdentity:
    """A person's replaced cross-signing identity counts as theirs from now on. Repeating is safe."""

    kind: Literal["AcceptIdentity"] = "AcceptIdentity"
    user_id: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class AddTimelineEntry:
    """Write an entry on the incident's timeline in ETB (docs/etb-contract.md 7.3).

    ETB knows no idempotency key: `external_ref` is looked for before any repetition.
    """

    kind: Literal["AddTimelineEntry"] = "AddTimelineEntry"
    incident_id: IncidentId
    event_type: str
    title: str
    description: str
    event_time_ms: int
    external_ref: str
    event_data: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeIncident:
    """Set fields of an incident in ETB (docs/etb-contract.md 7.1). Absolute values: a repetition changes nothing.

    What is None stays as it is.
    """

    kind: Literal["ChangeIncident"] = "ChangeIncident"
    incident_id: IncidentId
    status: str | None = None
    severity: str | None = None
    assignee: Username | None = None
    classification: Classification | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareIncident:
    """Open an incident in ETB (7.1). `ref` stands in its description, to find it before any repetition."""

    kind: Literal["DeclareIncident"] = "DeclareIncident"
    title: str
    severity: str
    description: str
    category: str
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerEscalation:
    """Start an escalation in ETB (8.5). `ref` stands in its reason, to find it before any repetition."""

    kind: Literal["TriggerEscalation"] = "TriggerEscalation"
    incident_id: IncidentId
    reason: str
    ref: str
    policy_id: str = ""
    """Empty lets ETB choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveEscalation:
    """Acknowledge or resolve an escalation (8.5). One that is there already counts as moved."""

    kind: Literal["MoveEscalation"] = "MoveEscalation"
    incident_id: IncidentId
    escalation_id: str
    to: Literal["ACKNOWLEDGED", "RESOLVED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRunbook:
    """Start a runbook (9.3). `ref` is its `trigger_data.command_id`, to find the run before any repetition."""

    kind: Literal["StartRunbook"] = "StartRunbook"
    incident_id: IncidentId
    runbook_id: str
    parameters: dict[str, Any]
    ref: str
    trigger_data: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRunbook:
    """Cancel a run of a runbook (9.3). One that has ended already counts as done."""

    kind: Literal["CancelRunbook"] = "CancelRunbook"
    incident_id: IncidentId
    execution_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterEvidence:
    """Register the digest of a file as evidence in ETB (10.1); the file itself stays here.

    `source_reference` is ours alone, to find it before any repetition.
    """

    kind: Literal["RegisterEvidence"] = "RegisterEvidence"
    incident_id: IncidentId
    evidence_type: str
    title: str
    description: str
    file_hash: str
    """SHA-256, hex."""
    file_size: int
    mime: str
    source_reference: str
    classification: str = ""
    """As ETB names it; empty leaves it to ETB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeHistory:
    """Delete what was said in a room before a moment from the homeserver. Needs its administration."""

    kind: Literal["PurgeHistory"] = "PurgeHistory"
    room_id: RoomId
    before_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteMedia:
    """Delete a file from the homeserver's media store. Needs its administration."""

    kind: Literal["DeleteMedia"] = "DeleteMedia"
    mxc: str


Spoken = Say | SendFile | React | Redact
"""What somebody says or does in a room: the bot, or the ghost of `speaker`."""
AdminEffect = PurgeHistory | DeleteMedia
RoomEffect = (
    OpenRoom
    | Invite
    | Remove
    | LeaveRoom
    | PutState
    | RestoreState
    | SetVoice
    | FollowUpgrade
    | Pin
    | MendPins
    | LetMembersPin
    | Spoken
    | AcceptIdentity
)
MatrixEffect = RoomEffect | AdminEffect
EtbEffect = (
    AddTimelineEntry
    | ChangeIncident
    | DeclareIncident
    | TriggerEscalation
    | MoveEscalation
    | StartRunbook
    | CancelRunbook
    | RegisterEvidence
)
Effect = MatrixEffect | EtbEffect


_OPEN = "matrix/open/"


def urgency_of(target: str) -> int | None:
    """How urgent the opening of a room is, for a target in which one waits; None for any other target.

    >>> urgency_of("matrix/open/2/some-war-room"), urgency_of("matrix/!room")
    (2, None)
    """
    if not target.startswith(_OPEN):
        return None
    number, _, rest = target.removeprefix(_OPEN).partition("/")
    return int(number) if rest and number.isdecimal() else 0


def is_etb(target: str) -> bool:
    """Whether the effects of a target go to ETB."""
    return target.startswith("etb/")


def target_of(effect: Effect) -> str:
    """The line in which an effect waits: effects of one target are carried out one after another."""
    match effect:
        case OpenRoom(war_room=war_room, urgency=urgency):
            return f"{_OPEN}{urgency}/{war_room}"
        case FollowUpgrade(replacement=replacement):
            return f"matrix/{replacement}"
        case AcceptIdentity(user_id=user_id):
            return f"matrix/{user_id}"
        case DeclareIncident():
            return "etb/declare"
        case DeleteMedia():
            return "matrix/media"
        case (
            AddTimelineEntry(incident_id=incident_id)
            | ChangeIncident(incident_id=incident_id)
            | TriggerEscalation(incident_id=incident_id)
            | MoveEscalation(incident_id=incident_id)
            | StartRunbook(incident_id=incident_id)
            | CancelRunbook(incident_id=incident_id)
            | RegisterEvidence(incident_id=incident_id)
        ):
            return f"etb/{incident_id}"
        case (
            Invite(room_id=room_id)
            | Remove(room_id=room_id)
            | LeaveRoom(room_id=room_id)
            | PutState(room_id=room_id)
            | RestoreState(room_id=room_id)
            | SetVoice(room_id=room_id)
            | Pin(room_id=room_id)
            | MendPins(room_id=room_id)
            | LetMembersPin(room_id=room_id)
            | Say(room_id=room_id)
            | SendFile(room_id=room_id)
            | React(room_id=room_id)
            | Redact(room_id=room_id)
            | PurgeHistory(room_id=room_id)
        ):
            return f"matrix/{room_id}"
