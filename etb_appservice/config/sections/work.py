"""The sections about how an incident is worked on: commands, runbooks, deadlines, the end."""

from typing import Literal, Self

from pydantic import Field, model_validator

from etb_appservice import commands as command_package
from etb_appservice.config.sections.section import Section
from etb_appservice.config.values import Count, Emoji, Minutes, Percent, Seconds
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.policy import ReactionPolicy
from etb_appservice.domain.reactions import ReactionAction
from etb_appservice.flows.commands import find


class Commands(Section):
    """Commands in rooms."""

    prefixes: tuple[Literal["!", "/", "."], ...] = Field(default=("!", "/"), min_length=1)
    """What a command begins with."""
    per_minute: Count = 30
    """How many commands one person may send per minute."""
    burst: Count = 10
    """How many of these at once."""
    etb_wait_s: Seconds = 2.0
    """How long a command waits for ETB before it answers from the last known copy."""
    late_after_s: Seconds = 300.0
    """A command that arrives so long after it was sent is run only when its sender confirms it."""
    answer_within_s: Seconds = 600.0
    """How long the bot waits for the answer to a question of its own."""
    declared_category: str = ""
    """The category of incidents that are declared by a command, where ETB asks for one. Empty leaves it to ETB."""


class Approvals(Section):
    """What other people have to approve before it is done, besides the runbooks that ETB marks so."""

    commands: tuple[str, ...] = ()
    """Names of commands."""
    runbooks: tuple[str, ...] = ()
    """Names of runbooks."""
    needed: Count = 1
    """How many people have to approve. Who asked is never one of them."""
    role: OurRole = "commander"
    """What they have to be: `responder`, `commander`, `compliance`, `auditor` or `admin`."""
    minutes: Count = 30
    """Within which time."""

    @model_validator(mode="after")
    def _commands_exist(self) -> Self:
        known = {one.name for one in find(command_package).values()}
        for name in self.commands:
            if name.casefold() not in known:
                raise ValueError(f"commands: there is no command {name}; it would never be held for approval")
        return self


class RunbookSettings(Section):
    """Runs of runbooks."""

    watch_minutes: Count = 240
    """How long a run is watched. One that takes longer goes on in ETB, and the room is told so."""


class Cadence(Section):
    """The rhythm of an incident: when the next status update is due, and what else the bot says by itself."""

    update_minutes: dict[str, Count] = Field(default_factory=lambda: {"CRITICAL": 30, "HIGH": 60})
    """By severity, how many minutes may pass between status updates. A severity that isn't named asks for none."""
    snooze: dict[Emoji, Count] = Field(default_factory=lambda: {"1⃣": 30, "2⃣": 60, "3⃣": 90})
    """Reactions that put a reminder off, and by how many minutes."""
    stop: Emoji = "🛑"
    """The reaction that ends reminders until the next status update."""
    commander_minutes: Minutes = 15
    """After how many minutes without a commander the room is told, once; 0 for never."""
    catch_up_minutes: Minutes = 10
    """Whoever joins an incident that has been open for so many minutes is told privately how things stand."""

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if self.stop in self.snooze:
            raise ValueError("stop and snooze must be different emoji")
        return self


class Reactions(Section):
    """What reactions to messages do. They are not encrypted: only for what does no harm."""

    actions: dict[Emoji, ReactionAction] = Field(default_factory=lambda: dict(ReactionPolicy().actions))
    """By emoji: `timeline` puts the message on the incident's timeline, `task` makes a task of it, `acknowledge`
    acknowledges the page that it is."""


class Duty(Section):
    """Deadlines, escalations and pages."""

    thresholds: tuple[Percent, ...] = Field(default=(50, 75, 90, 100), max_length=20)
    """The shares of an SLA's time, in percent, at which the incident's room is told."""
    page_ack_minutes: Minutes = 10
    """After how many minutes a page that nobody acknowledged is escalated in ETB; 0: never."""
    join_minutes: Minutes = 15
    """After how many minutes the people on call are paged for a room that nobody has joined; 0: never."""
    look_every_s: Seconds = 300.0
    """How often ETB is asked about an open incident when nothing is due sooner; while an escalation or a page is
    open, at least every minute."""


class Incidents(Section):
    """How incidents of ETB are understood."""

    drill_tags: tuple[str, ...] = ("drill", "exercise")
    """ETB's tags that make an incident a drill: it is marked, and its pages stay in its room. Case is ignored."""


class Closing(Section):
    """What becomes of a room when its incident has ended."""

    read_only_after_hours: int = Field(default=72, ge=0, le=24 * 366)
    """How many hours after it was closed, cancelled, found a duplicate or deleted nobody but the bot may write in
    its room any more; 0 for at once. Reopening undoes it."""
    export: bool = True
    """Whether the transcript is then sent into the room as files, and its digests are registered in ETB."""
