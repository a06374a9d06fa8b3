"""What the operator has decided, in the domain's own words. Flows get these and never the settings file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from etb_appservice.domain.breakglass import GlassRole
from etb_appservice.domain.classification import Classification, ClassificationMap
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.ghosts import Ghosts
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.partners import Partner, server_of
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.reactions import ReactionAction, bare
from etb_appservice.domain.rooms import RoomPolicy


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting between tries: `first_s` doubles up to `most_s`, with full jitter; parked after `tries`."""

    first_s: float = 1.0
    most_s: float = 300.0
    tries: int = 10

    def wait_s(self, attempt: int, jitter: float) -> float:
        """Seconds before try number `attempt` + 1. `jitter` in 0..1; at least half of the step is waited."""
        step = min(self.most_s, self.first_s * 2.0 ** min(attempt - 1, 30))
        return float(step * (0.5 + jitter / 2))


@dataclass(frozen=True, slots=True)
class CommandPolicy:
    """`prefixes` begin a command; `per_minute` commands a sender may send, in bursts of `burst`."""

    prefixes: tuple[str, ...] = ("!", "/")
    per_minute: int = 30
    burst: int = 10
    etb_wait_s: float = 2.0
    """How long a command waits for ETB before it answers from the last known copy."""
    rights_fresh_s: float = 300.0
    """How long ETB's word on a person's account and clearance counts as fresh."""
    late_after_s: float = 300.0
    """How old a command may be, by its sender's word, before it has to be confirmed."""
    answer_within_s: float = 600.0
    """How long a question of the bot's stays open."""
    declared_category: str = ""
    """The category of incidents that are declared here; empty leaves it to ETB."""


@dataclass(frozen=True, slots=True)
class ClearancePolicy:
    """How long ETB's word on people holds, and who may stay without being named any more."""

    hold_s: float = 24 * 3600.0
    """How long ETB's word on a person holds while ETB can't be reached; after that: no."""
    stay_up_to: Classification = Classification.CONFIDENTIAL
    """Up to which level whoever came in rightly stays when they no longer belong to the incident."""


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """What needs approval besides what ETB marks, by whom, and within which time."""

    commands: frozenset[str] = frozenset()
    runbooks: frozenset[str] = frozenset()
    """Names, folded by `folded`."""
    needed: int = 1
    role: OurRole = "commander"
    within_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class RunbookPolicy:
    """`watch_s`: how long a run is watched."""

    watch_s: float = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """How long a message waits for its key, by our clock, before the room is told, and before we give up."""

    tell_after_s: float = 30.0
    give_up_after_s: float = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class RolePolicy:
    """What ETB's roles mean here: `meaning` by ETB's name; `by_category` whom an incident's category lets in."""

    meaning: Mapping[str, OurRole] = field(default_factory=dict)
    by_category: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def of(self, etb_roles: Iterable[str]) -> frozenset[OurRole]:
        """What somebody with these roles in ETB is here.

        >>> sorted(RolePolicy({"Incident Manager": "commander"}).of(["Incident Manager", "Cook"]))
        ['commander']
        """
        return frozenset(self.meaning[name] for name in etb_roles if name in self.meaning)

    def lets_in(self, etb_roles: Iterable[str], category: str) -> bool:
        """Whether a role of somebody's makes them a responder of every incident of this category."""
        return not self.by_category.get(category, frozenset()).isdisjoint(etb_roles)


@dataclass(frozen=True, slots=True)
class CadencePolicy:
    """The rhythm of an incident: after how many minutes what is due, and how that is put off."""

    update_minutes: Mapping[str, int] = field(default_factory=lambda: {"CRITICAL": 30, "HIGH": 60})
    """Between status updates, by severity; a severity that isn't named asks for none."""
    snooze: Mapping[str, int] = field(default_factory=lambda: {"1⃣": 30, "2⃣": 60, "3⃣": 90})
    """Minutes by emoji."""
    stop: str = "🛑"
    commander_minutes: int = 15
    """After how long without a commander the room is told; 0: never."""
    catch_up_minutes: int = 10
    """After how long whoever joins is told how things stand."""

    def update_ms(self, severity: str) -> int | None:
        """How long an incident of this severity may be without an update.

        >>> CadencePolicy().update_ms("HIGH"), CadencePolicy().update_ms("LOW")
        (3600000, None)
        """
        minutes = self.update_minutes.get(severity)
        return None if minutes is None else minutes * 60_000

    def snooze_minutes(self, emoji: str) -> int | None:
        """By how many minutes an emoji puts a reminder off."""
        return next((minutes for one, minutes in self.snooze.items() if bare(one) == bare(emoji)), None)


@dataclass(frozen=True, slots=True)
class ReactionPolicy:
    """What reactions do, by emoji."""

    actions: Mapping[str, ReactionAction] = field(
        default_factory=lambda: {"📌": "timeline", "⭐": "task", "✅": "acknowledge"}
    )

    def action(self, emoji: str) -> ReactionAction | None:
        """What a reaction with this emoji does.

        >>> ReactionPolicy().action("⭐"), ReactionPolicy().action("🎉")
        ('task', None)
        """
        return next((does for one, does in self.actions.items() if bare(one) == bare(emoji)), None)


@dataclass(frozen=True, slots=True)
class DutyPolicy:
    """When an open incident's room is told of its deadlines, and when somebody is called. 0 minutes: never."""

    thresholds: tuple[int, ...] = (50, 75, 90, 100)
    """Shares of an SLA's time, in percent, ascending."""
    page_ack_minutes: int = 10
    join_minutes: int = 15
    look_every_s: float = 300.0
    """How often an open incident is looked at when nothing is due sooner."""


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """`remove_after_s`: how long a device may stay unsigned where that is asked for before its owner is out."""

    remove_after_s: float = 24 * 3600.0
    """0: never."""


@dataclass(frozen=True, slots=True)
class AnnouncementPolicy:
    """The room for stakeholders, who only read; with no `members` there is none."""

    members: frozenset[UserId] = frozenset()
    classification: Classification = Classification.INTERNAL
    """What its members may know: of incidents above this level nothing is said there."""
    severity: str = "HIGH"
    """From which severity on incidents are announced."""


@dataclass(frozen=True, slots=True)
class BreakGlassPolicy:
    """Who may together let somebody in for a while; off unless both roles have holders.

    A holder is named by Matrix id, by `operator`, or by what an ETB role means here.
    """

    first: frozenset[str] = frozenset()
    second: frozenset[str] = frozenset()
    most_hours: int = 8
    review_after_hours: int = 24

    @property
    def is_on(self) -> bool:
        """Whether anybody could do it."""
        return bool(self.first and self.second)

    def held(self, user_id: UserId, also: Iterable[str]) -> frozenset[GlassRole]:
        """Which of the two roles somebody holds; `also`: what they are besides their id.

        >>> terms = BreakGlassPolicy(frozenset({"@a:x"}), frozenset({"operator"}))
        >>> sorted(terms.held(UserId("@a:x"), ["operator"])), sorted(terms.held(UserId("@b:x"), []))
        (['first', 'second'], [])
        """
        if not self.is_on:
            return frozenset()
        words = {user_id, *also}
        roles: tuple[tuple[GlassRole, frozenset[str]], ...] = (("first", self.first), ("second", self.second))
        return frozenset(role for role, holders in roles if holders & words)


@dataclass(frozen=True, slots=True)
class FilePolicy:
    """Files that people upload and fetch by the chat API."""

    most_bytes: int = 50 * 1024 * 1024
    """Of one file, in both directions."""
    blocked: frozenset[str] = frozenset()
    """Types that aren't taken, whatever they are called."""
    alone_after_s: float = 60.0
    """How long an uploaded file waits for a message that names it, before it is sent by itself."""
    at_once: int = 16
    """How many may be under way at the same moment."""


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it."""

    rooms: RoomPolicy
    people: PeopleMap
    classification: ClassificationMap
    operators: frozenset[UserId] = frozenset()
    server_name: str = ""
    commands: CommandPolicy = field(default_factory=CommandPolicy)
    keys: KeyPolicy = field(default_factory=KeyPolicy)
    roles: RolePolicy = field(default_factory=RolePolicy)
    clearance: ClearancePolicy = field(default_factory=ClearancePolicy)
    cadence: CadencePolicy = field(default_factory=CadencePolicy)
    reactions: ReactionPolicy = field(default_factory=ReactionPolicy)
    approvals: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    runbooks: RunbookPolicy = field(default_factory=RunbookPolicy)
    duty: DutyPolicy = field(default_factory=DutyPolicy)
    announcements: AnnouncementPolicy = field(default_factory=AnnouncementPolicy)
    devices: DevicePolicy = field(default_factory=DevicePolicy)
    files: FilePolicy = field(default_factory=FilePolicy)
    partners: tuple[Partner, ...] = ()
    break_glass: BreakGlassPolicy = field(default_factory=BreakGlassPolicy)
    read_only_after_hours: int = 72
    """How long after an incident's end its room can still be written in."""
    exports_at_end: bool = False
    """Whether the transcript of a room is made when its incident ends."""
    history_hours: int = 168
    """How far back an invitation carries the keys of what was said; 0: not at all."""
    administers: bool = False
    """Whether there is a promoted user for what needs an administrator of the homeserver."""
    drill_tags: tuple[str, ...] = ("drill", "exercise")
    """ETB's tags that make an incident a drill, without regard to case."""
    intake: Backoff = field(default_factory=lambda: Backoff(tries=5, most_s=30.0))
    outbox: Backoff = field(default_factory=lambda: Backoff(tries=300))
    own_users: str = "@_etb_"
    """What the ids of our users begin with; the bot's id is in `rooms.bot`."""

    @property
    def ghosts(self) -> Ghosts:
        """How the ids of those are spelt who speak for ETB users."""
        return self.people.ghosts

    def is_at_home(self, user_id: UserId) -> bool:
        """Whether somebody's homeserver is one of our organisation, so that rooms of ours admit it."""
        server = server_of(user_id)
        return server == self.server_name or server in self.rooms.servers

    def is_ours(self, user_id: UserId) -> bool:
        """Whether a Matrix id is the bot or one of our ghosts."""
        return user_id == self.rooms.bot or (
            user_id.startswith(self.own_users) and user_id.endswith(f":{self.server_name}")
        )
