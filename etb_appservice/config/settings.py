"""The settings as frozen, typed values. What is written here is the reference: docs are generated from it.

Nothing here reads a file or the environment (that is `load`), and no secret may appear in a repr or an error.
Every key is read by some part of the service; a key that does nothing would be a lie.
"""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from etb_appservice import commands as command_package
from etb_appservice.config.values import (
    Address,
    Count,
    DatabaseUrl,
    Emoji,
    EncryptionKey,
    EtbUsername,
    GlassHolder,
    HeaderSecret,
    Level,
    ListenAddress,
    Localpart,
    MatrixUser,
    Minutes,
    Origin,
    PartnerName,
    Pattern,
    PeopleTemplate,
    Percent,
    RedisUrl,
    RoomVersion,
    Seconds,
    ServerName,
    Token,
    Url,
    WebhookSecret,
    WebUrl,
    decode_base64,
)
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.partners import server_of
from etb_appservice.domain.policy import ReactionPolicy
from etb_appservice.domain.reactions import ReactionAction
from etb_appservice.domain.rooms import DEFAULT_RULES, Visibility
from etb_appservice.flows.commands import find

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Section(BaseModel):
    """One section of the settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True, title=None
    )
    secret_keys: ClassVar[tuple[str, ...]] = ()
    """Keys that are secret and may be given as `<key>_file` instead."""


class Homeserver(Section):
    """The Matrix homeserver this service belongs to."""

    secret_keys = ("admin_token",)

    url: Url
    """Where this service reaches the homeserver's client API."""
    domain: ServerName
    """The homeserver's server name: what stands after the colon in its users' ids."""
    request_timeout_s: Seconds = 30.0
    """How long one request to the homeserver may take; a `/sync`, which it holds open, may take 30 s more."""
    admin_user: MatrixUser | None = None
    """A user of its own that is an administrator of the homeserver, for `purge` and `media`; never the bot, and
    outside of this service's names. Off without it."""
    admin_token: Token | None = None
    """An access token of `admin_user`. Secret."""
    admin_token_file: Path | None = None
    """A file that holds `admin_token`."""

    @model_validator(mode="after")
    def _admin_is_whole(self) -> Self:
        if (self.admin_user is None) != (self.admin_token is None):
            raise ValueError("admin_user and admin_token belong together: give both, or none")
        if self.admin_user is not None and not self.admin_user.endswith(f":{self.domain}"):
            raise ValueError(f"admin_user must be a user of {self.domain}")
        return self


class Appservice(Section):
    """How the homeserver and this service know each other; the same values stand in the registration file."""

    secret_keys = ("as_token", "hs_token")

    id: str = Field(default="etb", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """The registration's id."""
    url: Url
    """Where the homeserver reaches this service."""
    listen: ListenAddress = Address("127.0.0.1", 29333)
    """Address on which the homeserver's transactions, `/health`, `/ready` and `/metrics` are served. Private."""
    as_token: Token
    """The token with which this service speaks to the homeserver. Secret."""
    as_token_file: Path | None = None
    """A file that holds `as_token`."""
    hs_token: Token
    """The token with which the homeserver speaks to this service. Secret."""
    hs_token_file: Path | None = None
    """A file that holds `hs_token`."""
    sender_localpart: Localpart = "_etb"
    """A name that nobody uses, not even the bot: Synapse refuses `/sync` to a registration's sender."""
    user_prefix: Localpart = "_etb_"
    """What the localparts of Matrix users that belong to this service begin with."""

    @model_validator(mode="after")
    def _two_tokens(self) -> Self:
        if self.as_token.get_secret_value() == self.hs_token.get_secret_value():
            raise ValueError("as_token and hs_token must differ")
        return self


class Bot(Section):
    """The one that speaks in the rooms."""

    localpart: Localpart = "etb"
    """The bot's name on the homeserver."""
    displayname: str = Field(default="ETB", min_length=1, max_length=200)
    """What people see as its name."""
    device_name: str = Field(default="etb-appservice", min_length=1, max_length=200)
    """What people see as the name of its device when they verify it."""


class Database(Section):
    """Where the service keeps what must not be lost.

    Two databases, one for the service and one for Matrix encryption: two files on SQLite, two schemas on
    PostgreSQL.
    """

    secret_keys = ("url", "crypto_url")

    url: DatabaseUrl
    """`sqlite:///file` (four slashes for an absolute path, three for one beside this file) or
    `postgresql://user:password@host/database`. Secret, since it may hold a password."""
    url_file: Path | None = None
    """A file that holds `url`."""
    crypto_url: DatabaseUrl | None = None
    """The database for Matrix encryption. Without it: a second file beside the first (`etb.db` and
    `etb-crypto.db`), or the schema `crypto` of the same PostgreSQL database. Secret."""
    crypto_url_file: Path | None = None
    """A file that holds `crypto_url`."""

    @property
    def kind(self) -> Literal["sqlite", "postgresql"]:
        """Which database the service's own tables live in."""
        return "sqlite" if self.etb_url.startswith("sqlite:") else "postgresql"

    @property
    def etb_url(self) -> str:
        """The URL of the service's own tables, in the clear: `sqlite:///path` or `postgresql://...`."""
        return _postgresql(self.url.get_secret_value())

    @property
    def etb_crypto_url(self) -> str:
        """The URL of the encryption tables, in the clear; on PostgreSQL they have a schema of their own."""
        if self.crypto_url is not None:
            return _postgresql(self.crypto_url.get_secret_value())
        if self.kind == "sqlite":
            path = Path(self.etb_url.removeprefix("sqlite:///"))
            return f"sqlite:///{path.with_name(path.stem + '-crypto' + path.suffix)}"
        return self.etb_url


def _postgresql(url: str) -> str:
    return "postgresql://" + url.removeprefix("postgres://") if url.startswith("postgres://") else url


class Encryption(Section):
    """Encryption of what is stored, and patience with messages whose key is late."""

    secret_keys = ("key",)

    key: EncryptionKey
    """32 bytes in base64 (`openssl rand -base64 32`). Everything this service stores is sealed under it: without
    it nothing can be read again. Also as `CHAT_ENCRYPTION_KEY`. Secret."""
    key_file: Path | None = None
    """A file that holds `key`."""
    tell_after_s: Seconds = 30.0
    """After how long the room is told that a message can't be read."""
    give_up_after_s: Seconds = 7 * 24 * 3600.0
    """After how long the key is no longer waited for."""

    @property
    def key_bytes(self) -> bytes:
        """The 32 bytes."""
        return decode_base64(self.key.get_secret_value())

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.tell_after_s > self.give_up_after_s:
            raise ValueError("tell_after_s must not be longer than give_up_after_s")
        return self


class Etb(Section):
    """The incident system ETB."""

    secret_keys = ("token",)

    base_url: Url
    """Where ETB's API is. Also as `ETB_BASE_URL`."""
    token: HeaderSecret
    """The token of this service's account in ETB. Also as `ETB_TOKEN`. Secret."""
    token_file: Path | None = None
    """A file that holds `token`."""
    auth_scheme: Literal["Token", "Bearer"] = "Token"
    """The word before the token in the `Authorization` header. Also as `ETB_AUTH_SCHEME`."""
    timeout_s: Seconds = 10.0
    """How long one request to ETB may take. Also as `ETB_TIMEOUT_S`."""
    verify_tls: bool = True
    """Whether ETB's certificate is checked; false only for a test. Also as `ETB_VERIFY_TLS`."""
    poll: bool = True
    """Whether ETB is asked for changed incidents. May be off only where the webhook is on; its modules and who is
    on call, of which no webhook tells, are looked at all the same."""
    poll_interval_s: Seconds = 15.0
    """How often ETB is asked. Also as `ETB_POLL_INTERVAL_S`."""
    web_url: WebUrl = ""
    """Where a person opens an incident in ETB, with `{id}` or `{number}` for its own; empty gives no links."""
    paths: dict[str, str] = Field(default_factory=dict)
    """Paths that differ from the defaults, by name such as `incidents.list`. Also as `ETB_PATHS`, as JSON."""
    enums: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By field, ETB's spelling and ours: `severity: {Sev1: CRITICAL}`. Also as `ETB_ENUM_MAP`, as JSON."""

    @model_validator(mode="after")
    def _paths_are_paths(self) -> Self:
        if any(not path.startswith("/") or path.startswith("//") for path in self.paths.values()):
            raise ValueError("every path in `paths` must start with one slash")
        return self


class Webhook(Section):
    """`POST /hooks/etb/incident/`, by which ETB can tell of a change at once (Standard Webhooks)."""

    enabled: bool = False
    """Whether webhooks are taken."""
    secrets: tuple[WebhookSecret, ...] = ()
    """Secrets (`whsec_...`), any of which may sign: two while one replaces the other. Secret."""
    secret_files: tuple[Path, ...] = ()
    """Files that hold one secret each, beside or instead of `secrets`."""

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.enabled and not self.secrets:
            raise ValueError("webhooks are enabled, but `secrets` and `secret_files` are empty")
        return self


class Gateway(Section):
    """The public side: what ETB and people's browsers reach."""

    listen: ListenAddress = Address("127.0.0.1", 29334)
    """Address on which webhooks and the chat API are served. Put a reverse proxy with TLS in front of it."""
    enabled: bool = True
    """Whether the chat API is served."""
    public_url: Origin = ""
    """Where browsers reach this service, such as `https://chat.example.org`. Links in answers begin with it, and
    pages of it may call; without it links are paths."""
    origins: tuple[Origin, ...] = ()
    """Origins of further web pages that may call, such as ETB's own. A browser on any other page is refused."""
    token_cache_s: Seconds = 60.0
    """For how long ETB's word on whose token it is counts. A token that ETB revokes works so much longer."""
    per_minute: Count = 600
    """How many requests one person may send per minute."""
    burst: Count = 100
    """How many of these at once."""
    page_size: Count = 20
    """How many rows a page of a list has where the caller asks for no number."""
    most_page_size: Count = 100
    """How many it has at most."""

    @model_validator(mode="after")
    def _pages_fit(self) -> Self:
        if self.page_size > self.most_page_size:
            raise ValueError("page_size must not be larger than most_page_size")
        return self


class SocketSettings(Section):
    """WebSockets of the chat API, on the same address."""

    secret_keys = ("redis_url",)

    redis_url: RedisUrl | None = None
    """A Redis through which several processes tell each other what is new, such as `redis://:password@host:6379/0`.
    What goes through it is encrypted. Without it this process tells only its own sockets. Secret."""
    redis_url_file: Path | None = None
    """A file that holds `redis_url`."""
    token_in_url: bool = False
    """Whether `?token=` in the URL is taken. Off: URLs stand in the logs of proxies; browsers use a ticket or the
    subprotocol."""
    per_person: Count = 20
    """How many sockets one person may have open."""
    most: Count = 5000
    """How many there may be in all."""
    idle_minutes: Minutes = 480
    """After how many minutes a socket that asks for nothing is closed; 0 for never. One that doesn't answer pings
    is closed within a minute."""


class Files(Section):
    """Files that people upload and fetch by the chat API."""

    most_mib: Count = 50
    """The size of one file in MiB, in both directions. Synapse's `max_upload_size` must allow it."""
    blocked: tuple[str, ...] = (
        "application/vnd.microsoft.portable-executable",
        "application/x-elf",
        "application/x-mach-binary",
    )
    """Types that aren't taken, as they are found in the bytes, whatever a file is called: programs by default."""
    alone_after_s: Seconds = 60.0
    """How long an uploaded file waits for a message that names it, before it is sent by itself."""
    at_once: Count = 16
    """How many uploads and downloads may be under way at the same moment; whoever comes later is asked to wait."""


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


class RunbookSettings(Section):
    """Runs of runbooks."""

    watch_minutes: Count = 240
    """How long a run is watched. One that takes longer goes on in ETB, and the room is told so."""


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


class Devices(Section):
    """People's devices in rooms whose level asks for verified ones (`rooms.rules`, `signed_devices_only`)."""

    remove_after_hours: float = Field(default=24.0, ge=0, le=24 * 366)
    """After how many hours whoever still has a device there that they haven't verified is removed from the
    incident's room; 0 for never. They are told at once, and invited again once it is verified."""
    look_every_s: Seconds = 60.0
    """How often such rooms are looked at."""


class GhostSettings(Section):
    """The Matrix users that speak for ETB users who write on ETB's web page."""

    idle_days: Count = 30
    """How long somebody's device is kept unused; the same one is made again when they next say something."""
    drain_every_s: Seconds = 300.0
    """How often what other people's clients have sent to these devices is thrown away."""
    most_devices: Count = 500
    """How many of them have a device at once; those unused for the longest time lose theirs first."""


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


class Announcements(Section):
    """The room in which stakeholders read how incidents stand, and nobody but the bot writes."""

    members: tuple[MatrixUser, ...] = ()
    """Who is invited there; with nobody there is no such room. Who is taken out of the list is removed."""
    classification: Level = Classification.INTERNAL
    """What all of these people may know: nothing is said of incidents above this level."""
    severity: Literal["EMERGENCY", "CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"] = "HIGH"
    """From which severity on incidents are announced."""


class Retention(Section):
    """How long things are kept."""

    seen_keys_days: Count = Field(default=30, ge=4)
    """How long the service remembers what it has seen, so that nothing is done twice. At least 4."""


class Ops(Section):
    """Logs and metrics."""

    log_level: LogLevel = "INFO"
    """The least important lines that are logged."""
    audit_log_level: LogLevel = "INFO"
    """The same for lines about the audit log. Also as `CHAT_AUDIT_LOG_LEVEL`. The audit log is always kept."""
    json_logs: bool = False
    """One JSON object a line instead of text for people."""
    metrics: bool = True
    """Whether `/metrics` is served."""


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
