"""The sections about rooms, and about who may be there and as what."""

from typing import Literal, Self

from pydantic import Field, model_validator

from etb_appservice.config.sections.section import Section
from etb_appservice.config.values import (
    Count,
    EtbUsername,
    GlassHolder,
    Level,
    Localpart,
    MatrixUser,
    Pattern,
    PeopleTemplate,
    RoomVersion,
    Seconds,
    ServerName,
)
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.partners import server_of
from etb_appservice.domain.rooms import DEFAULT_RULES, Visibility


class RoomRow(Section):
    """What one classification allows a room to be."""

    visibility: Visibility
    """How much of the past a member sees: `shared` all, `invited` from the invitation, `joined` from joining."""
    federate: bool
    """Whether users of other homeservers may ever be in the room. Fixed when the room is made."""
    title_in_state: bool
    """Whether the room's name, which every homeserver in the room can read, may hold the incident's title."""
    keys_to_invited: bool
    """Whether people who are invited but haven't joined are given keys."""
    signed_devices_only: bool | None = None
    """Whether only devices that their owners have verified are given keys, and may command. Without it: from
    CONFIDENTIAL on."""


class Rooms(Section):
    """What incident rooms are like."""

    version: RoomVersion = "12"
    """Matrix room version of new rooms."""
    alias_prefix: Localpart = "_etb_"
    """What the aliases of our rooms begin with; reserved for this service by the registration."""
    additional_creators: tuple[MatrixUser, ...] = ()
    """A break-glass account or two: as powerful as the bot in every new room."""
    rotation_hours: Count = 168
    """After how many hours a room's key is replaced."""
    rotation_messages: Count = 100
    """After how many messages a room's key is replaced."""
    servers: tuple[ServerName, ...] = ()
    """Further homeservers of our own organisation. Only these, our own and those of partners that were let in may
    take part in a room; people elsewhere are not invited."""
    history_hours: int = Field(default=168, ge=0, le=24 * 366)
    """How many hours back somebody who is invited can read, where `visibility` is `shared`; 0 for not at all."""
    rules: dict[Level, RoomRow] = Field(default_factory=dict)
    """The table per classification. A level that isn't named keeps its default."""

    @model_validator(mode="after")
    def _number_only(self) -> Self:
        for level, row in self.rules.items():
            if level > Classification.INTERNAL and row.title_in_state:
                raise ValueError(
                    f"rules.{level.name}.title_in_state must be false: above INTERNAL homeservers read only the"
                    " incident's number"
                )
        return self

    def rule_table(self) -> dict[Classification, RoomRow]:
        """The whole table: what is written, and the defaults for the rest."""
        table: dict[Classification, RoomRow] = {}
        for level, rules in DEFAULT_RULES.items():
            row = self.rules.get(level) or RoomRow(
                visibility=rules.visibility,
                federate=rules.federate,
                title_in_state=rules.title_in_state,
                keys_to_invited=rules.keys_to_invited,
            )
            if row.signed_devices_only is None:
                row = row.model_copy(update={"signed_devices_only": rules.signed_devices_only})
            table[level] = row
        return table


class People(Section):
    """Who is who: ETB usernames and Matrix ids."""

    template: PeopleTemplate = ""
    """How a Matrix id is made from an ETB username, with `{username}` in it; empty maps by `entries` only."""
    entries: dict[EtbUsername, MatrixUser] = Field(default_factory=dict)
    """Matrix ids by ETB username; an entry wins over the template."""

    @model_validator(mode="after")
    def _one_person_each(self) -> Self:
        seen: dict[UserId, Username] = {}
        for username, user_id in self.entries.items():
            if user_id in seen:
                raise ValueError(f"entries: {seen[user_id]} and {username} have the same Matrix id")
            seen[user_id] = username
        return self


class PartnerRow(Section):
    """One partner organisation, by its name in commands. `partner admit` lets it into an incident."""

    servers: tuple[ServerName, ...] = Field(min_length=1)
    """Its homeservers."""
    people: tuple[MatrixUser, ...] = ()
    """Who of these homeservers belongs to it; they are invited wherever it is let in."""
    patterns: tuple[Pattern, ...] = ()
    """The same by the part of their names before the colon, with `*` for any characters. With neither people nor
    patterns everybody on its homeservers belongs to it."""
    ceiling: Level = Classification.PUBLIC
    """The highest level of incidents it may be let into."""
    roles: tuple[OurRole, ...] = ()
    """What its people may do there: as a `responder` or a `commander` do; with none they read, talk and ask."""

    @model_validator(mode="after")
    def _at_home(self) -> Self:
        for user_id in self.people:
            if server_of(user_id) not in self.servers:
                raise ValueError(f"people: {user_id} is on none of the partner's servers")
        return self


class ControlRoom(Section):
    """The encrypted room in which operators command the service and hear from it."""

    operators: tuple[MatrixUser, ...] = ()
    """Who is invited there. With nobody in it, parked work and unmapped people are seen only in the logs."""


class ClassificationSettings(Section):
    """How sensitive an incident is when ETB doesn't say. The highest level that a rule here asks for counts."""

    default: Level
    """For incidents that no rule here names. Mandatory: a classification is never unknown."""
    by_category: dict[str, Level] = Field(default_factory=lambda: {"Security": Classification.CONFIDENTIAL})
    """Levels by ETB's category."""
    by_severity: dict[str, Level] = Field(default_factory=dict)
    """Levels by ETB's severity."""
    sensitive: Level = Classification.CONFIDENTIAL
    """At least this for incidents that ETB marks as sensitive, or whose level it states in words nobody here
    knows; also where ETB states a lower level beside it."""


class Roles(Section):
    """What ETB's roles, whose names are its own, mean here."""

    meaning: dict[str, OurRole] = Field(default_factory=dict)
    """By ETB's name of a role, what it is here: `responder`, `commander`, `compliance`, `auditor` or `admin`."""
    by_category: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By category of incident, the ETB roles whose holders are its responders without being named for it."""


class Clearance(Section):
    """How far ETB's word on people carries."""

    hold_hours: Count = 24
    """For how many hours ETB's last word on a person holds while ETB can't be reached. After that they get no
    keys and no answers until ETB confirms them; nobody is removed for it."""
    stay_up_to: Level = Classification.CONFIDENTIAL
    """Up to which level people stay in a room who came in rightly and no longer belong to the incident, such as
    those who were on call. Above it they are removed then."""
    users_per_poll: Count = 20
    """How many questions about people in open rooms ETB is asked at most at each poll. Where that isn't enough to
    look at everybody, they are looked at in turn."""


class Devices(Section):
    """People's devices in rooms whose level asks for verified ones (`rooms.rules`, `signed_devices_only`)."""

    remove_after_hours: float = Field(default=24.0, ge=0, le=24 * 366)
    """After how many hours whoever still has a device there that they haven't verified is removed from the
    incident's room; 0 for never. They are told at once, and invited again once it is verified."""
    look_every_s: Seconds = 60.0
    """How often such rooms are looked at."""


class BreakGlassSettings(Section):
    """Break-glass: two people, one of each role, may together let somebody into an incident's room for a while.

    Not the same as `rooms.additional_creators`, which is of the homeserver and asks nobody.
    """

    first: tuple[GlassHolder, ...] = ()
    """Who holds the first role: Matrix ids and `operator`, which count also while ETB is away, or what ETB's roles
    mean here (`roles.meaning`), as far as ETB confirmed them not too long ago. With nobody it is off."""
    second: tuple[GlassHolder, ...] = ()
    """Who holds the second role. One of each has to agree, and nobody agrees with themselves."""
    most_hours: int = Field(default=8, ge=1, le=7 * 24)
    """For how many hours somebody may be let in at most."""
    review_after_hours: int = Field(default=24, ge=1, le=31 * 24)
    """After how many hours at the latest the control room is reminded to have it reviewed; when it has ended it is
    reminded at once, and then daily."""

    @model_validator(mode="after")
    def _two_people(self) -> Self:
        if bool(self.first) is not bool(self.second):
            raise ValueError("`first` and `second` must both have holders, or neither")
        holders = {*self.first, *self.second}
        if len(holders) == 1 and next(iter(holders)).startswith("@"):
            raise ValueError("`first` and `second` are the same one person: nobody could ever agree")
        return self


class Announcements(Section):
    """The room in which stakeholders read how incidents stand, and nobody but the bot writes."""

    members: tuple[MatrixUser, ...] = ()
    """Who is invited there; with nobody there is no such room. Who is taken out of the list is removed."""
    classification: Level = Classification.INTERNAL
    """What all of these people may know: nothing is said of incidents above this level."""
    severity: Literal["EMERGENCY", "CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"] = "HIGH"
    """From which severity on incidents are announced."""
