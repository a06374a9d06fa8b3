"""Facts that are timers: what was put off until now. They are facts like the others (facts.py).

Stored, and read again by later versions: give new fields a default.
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, WarRoomId


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentDue:
    """Something about an incident was changed or made in ETB at our wish: it is to be fetched at once."""

    kind: Literal["IncidentDue"] = "IncidentDue"
    incident_id: IncidentId
    tries: int = 0
    """How often ETB was asked in vain; after a few the next poll has to do."""


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
class SweepDue:
    """It is time to ask ETB for incidents of which nothing was heard for long."""

    kind: Literal["SweepDue"] = "SweepDue"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementDue:
    """Something is to be said to stakeholders; `text` was chosen for what they may know."""

    kind: Literal["AnnouncementDue"] = "AnnouncementDue"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDue:
    """The time to verify a device is over, if it is the same matter still."""

    kind: Literal["DeviceDue"] = "DeviceDue"
    war_room: WarRoomId
    device: str
    """The id of its entry in the case."""
    since_ms: int


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
class PinsDue:
    """What is pinned in a war room's room isn't what it shall be."""

    kind: Literal["PinsDue"] = "PinsDue"
    war_room: WarRoomId


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnersDue:
    """Rooms made before members could pin are looked at, those behind `after`."""

    kind: Literal["PinnersDue"] = "PinnersDue"
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDue:
    """The time is over in which a message could have named an uploaded file."""

    kind: Literal["FileDue"] = "FileDue"
    file_id: str
    user_id: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOver:
    """The time may be over for which a file is kept that was withdrawn."""

    kind: Literal["FileOver"] = "FileOver"
    file_id: str


RoomDue = (
    IncidentDue
    | PeopleDue
    | CardDue
    | UpdateDue
    | CommanderDue
    | CatchUpDue
    | LetterDue
    | KeptOutDue
    | AclsDue
    | PinsDue
    | PinnersDue
)
"""Of the rooms themselves. Those of duty, files and so on are named beside their flows."""
