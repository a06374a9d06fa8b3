"""Documents that are printed, as protocols."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.media import Media
from etb_appservice.domain.posts import Post
from etb_appservice.domain.roles import Role
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.story import Story
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.ports.conversation import CommandRun, Message
from etb_appservice.ports.copies import Room

MOST_MESSAGES = 20_000
"""What one transcript holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Everything that is kept of a war room, as it stood at one moment. Each list is oldest first."""

    export: str
    at_ms: int
    by: str
    room: Room
    incident: Incident | None
    usernames: Mapping[UserId, Username]
    """Who is who, of those whom ETB knows."""
    bot: UserId
    messages: Sequence[Message]
    timeline: Sequence[TimelineItem]
    roles: Sequence[Role]
    tasks: Sequence[Task]
    posts: Sequence[Post]
    runs: Sequence[RunbookRun]
    commands: Sequence[CommandRun]
    media: Sequence[Media]
    is_whole: bool = True
    """False: there are more messages than were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A document, ready to be sent."""

    filename: str
    mime: str
    content: bytes
    sha256: str
    """Hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedTranscript:
    """The same in two forms, and how much of it went in."""

    html: Printed
    json: Printed
    messages: int
    stopped: str = ""
    """Where it stops and why; empty when everything is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG, ready to be sent."""

    content: bytes
    width: int
    height: int


class Press(Protocol):
    """Makes documents. Pure: the same again of the same. May take a second: call it in a thread."""

    def transcript(self, transcript: Transcript) -> PrintedTranscript:
        """Each form holds at most MOST_DOCUMENT_BYTES; what doesn't fit is left out, and `stopped` says so."""
        ...

    def chart(self, story: Story) -> Picture:
        """The course of an incident."""
        ...
