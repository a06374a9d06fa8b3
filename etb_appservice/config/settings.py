"""The settings as frozen, typed values, in sections (sections/), and how these fit together.

What is written in the sections is the reference: docs are generated from it.

Nothing here reads a file or the environment (that is `load`), and no secret may appear in a repr or an error.
Every key is read by some part of the service; a key that does nothing would be a lie.
"""

from typing import Self

from pydantic import Field, model_validator

from etb_appservice.config.sections.neighbours import (
    Appservice,
    Bot,
    Database,
    Encryption,
    Etb,
    Homeserver,
    Webhook,
)
from etb_appservice.config.sections.rooms import (
    Announcements,
    BreakGlassSettings,
    ClassificationSettings,
    Clearance,
    ControlRoom,
    Devices,
    PartnerRow,
    People,
    Roles,
    Rooms,
)
from etb_appservice.config.sections.section import Section
from etb_appservice.config.sections.upkeep import Ops, Retention
from etb_appservice.config.sections.web import Files, Gateway, GhostSettings, SocketSettings
from etb_appservice.config.sections.work import (
    Approvals,
    Cadence,
    Closing,
    Commands,
    Duty,
    Incidents,
    Reactions,
    RunbookSettings,
)
from etb_appservice.config.values import PartnerName
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.partners import server_of


class Settings(Section):
    """All of it."""

    homeserver: Homeserver
    appservice: Appservice
    bot: Bot = Field(default_factory=Bot)
    database: Database
    encryption: Encryption
    etb: Etb
    webhook: Webhook = Field(default_factory=Webhook)
    gateway: Gateway = Field(default_factory=Gateway)
    sockets: SocketSettings = Field(default_factory=SocketSettings)
    files: Files = Field(default_factory=Files)
    rooms: Rooms = Field(default_factory=Rooms)
    people: People = Field(default_factory=People)
    partners: dict[PartnerName, PartnerRow] = Field(default_factory=dict)
    control_room: ControlRoom = Field(default_factory=ControlRoom)
    classification: ClassificationSettings
    commands: Commands = Field(default_factory=Commands)
    roles: Roles = Field(default_factory=Roles)
    clearance: Clearance = Field(default_factory=Clearance)
    cadence: Cadence = Field(default_factory=Cadence)
    reactions: Reactions = Field(default_factory=Reactions)
    approvals: Approvals = Field(default_factory=Approvals)
    break_glass: BreakGlassSettings = Field(default_factory=BreakGlassSettings)
    runbooks: RunbookSettings = Field(default_factory=RunbookSettings)
    duty: Duty = Field(default_factory=Duty)
    devices: Devices = Field(default_factory=Devices)
    ghosts: GhostSettings = Field(default_factory=GhostSettings)
    incidents: Incidents = Field(default_factory=Incidents)
    closing: Closing = Field(default_factory=Closing)
    announcements: Announcements = Field(default_factory=Announcements)
    retention: Retention = Field(default_factory=Retention)
    ops: Ops = Field(default_factory=Ops)

    @property
    def bot_id(self) -> UserId:
        """The bot's Matrix id."""
        return UserId(f"@{self.bot.localpart}:{self.homeserver.domain}")

    @model_validator(mode="after")
    def _servers_are_one_s(self) -> Self:
        """A homeserver is ours or a partner's, and people on it have an ETB account or belong to the partner."""
        ours = {self.homeserver.domain, *self.rooms.servers}
        whole: dict[str, str] = {}
        shared: dict[str, str] = {}
        for name, row in self.partners.items():
            for server in row.servers:
                if server in ours:
                    raise ValueError(f"partners.{name}.servers: {server} is one of ours")
                is_whole = not row.people and not row.patterns
                other = whole.get(server) or (shared.get(server) if is_whole else None)
                if other is not None:
                    raise ValueError(
                        f"partners.{name}.servers: {server} is {other}'s too: then both must say by people or"
                        " patterns who of it is theirs"
                    )
                (whole if is_whole else shared)[server] = name
        theirs = whole.keys() | shared.keys()
        for username, user_id in self.people.entries.items():
            if server_of(user_id) in theirs:
                raise ValueError(f"people.entries: {username} is on a partner's homeserver, where nobody is ETB's")
        if self.people.template.partition(":")[2] in theirs:
            raise ValueError("people.template makes ids on a partner's homeserver, where nobody is ETB's")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.etb.poll and not self.webhook.enabled:
            raise ValueError("etb.poll and webhook.enabled are both off: no incident would ever arrive")
        admin = self.homeserver.admin_user or ""
        if admin == self.bot_id or admin.startswith(f"@{self.appservice.user_prefix}"):
            raise ValueError("homeserver.admin_user must be a user of its own, outside of this service's names")
        if self.appservice.sender_localpart == self.bot.localpart:
            raise ValueError("appservice.sender_localpart must not be the bot's name")
        listeners = (self.appservice.listen, self.gateway.listen)
        if listeners[0] == listeners[1] and listeners[0].port:
            raise ValueError("appservice.listen and gateway.listen are the same address")
        if self.database.kind == "sqlite" and self.database.etb_url == self.database.etb_crypto_url:
            raise ValueError("database.url and database.crypto_url name the same file")
        return self
