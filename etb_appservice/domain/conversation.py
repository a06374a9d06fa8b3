"""What a message of a war room carries besides its text: who is meant, what it answers, reactions, files.

    Message (ports) ── details: MessageDetails ── reactions: Reacted
                                               └─ files: ids of ChatFile (ports) ── details: FileDetails
    war room ── Poll ── votes: Vote            war room ── Pins (pins.py)

All of it is stored sealed, so new fields get a default. Pure: functions answer changed copies.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from etb_appservice.domain.ids import NOBODY, EventId, RoomId, UserId, Username
from etb_appservice.domain.reactions import bare

MessageType = Literal["TEXT", "SYSTEM", "COMMAND", "ALERT", "UPDATE", "FILE", "BOT"]
"""As docs/etb-contract.md 2.4 names them."""
FileType = Literal["LOG", "SCREENSHOT", "EVIDENCE", "DOCUMENT", "IMAGE", "VIDEO", "ARCHIVE", "OTHER"]
FileSource = Literal["AUTO", "USER", "ETB"]
"""Who said how a file is classified."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, as both sides know them; `username` is NOBODY for whom ETB doesn't know."""

    user_id: UserId
    username: Username = NOBODY

    @property
    def key(self) -> str:
        """One person has one, whether they speak as themselves or through their ghost."""
        return self.username or self.user_id


# --- reactions --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reacted:
    """A reaction that stands. `emoji` is as it was sent; it is compared by `reactions.bare`."""

    emoji: str
    user_id: UserId
    username: Username = NOBODY
    event_id: EventId
    """The reaction's own event; what a redaction names."""
    at_ms: int

    @property
    def person(self) -> Person:
        """Who reacted."""
        return Person(self.user_id, self.username)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmojiCount:
    """All who reacted with one emoji, each once, in the order in which they did."""

    emoji: str
    people: tuple[Person, ...]

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.people)


def grouped(reactions: Iterable[Reacted]) -> tuple[EmojiCount, ...]:
    """Reactions by emoji, as a reader wants them; the first spelling of an emoji is shown."""
    shown: dict[str, str] = {}
    people: dict[str, dict[str, Person]] = {}
    for one in reactions:
        key = bare(one.emoji)
        shown.setdefault(key, one.emoji)
        people.setdefault(key, {}).setdefault(one.person.key, one.person)
    return tuple(EmojiCount(emoji=shown[key], people=tuple(of.values())) for key, of in people.items())


def has_reacted(reactions: Iterable[Reacted], person: Person, emoji: str) -> bool:
    """Whether a person's reaction with this emoji stands."""
    return any(bare(one.emoji) == bare(emoji) and one.person.key == person.key for one in reactions)


# --- messages ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """An edit that came before what it edits could be read; it takes effect with that."""

    body: str
    at_ms: int
    mentions: tuple[UserId, ...] = ()
    mentioned: tuple[Username, ...] = ()
    mentions_room: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDetails:
    """What is sealed of a message together with its text."""

    message_type: MessageType = "TEXT"
    username: Username = NOBODY
    """The ETB user who spoke, through a ghost or by a linked Matrix id."""
    reply_to: EventId | None = None
    """What it answers. In a thread: what it answers there, None where it only goes on."""
    mentions: tuple[UserId, ...] = ()
    mentioned: tuple[Username, ...] = ()
    """Those of the mentioned whom ETB knows."""
    mentions_room: bool = False
    reactions: tuple[Reacted, ...] = ()
    edited_ms: int | None = None
    files: tuple[str, ...] = ()
    """Ids of `ports.ChatFile`."""
    client_id: str = ""
    """What its sender's socket called it."""
    undelivered: str = ""
    """What of it Matrix doesn't show though it is decided, such as `message` or `edit`; empty: nothing."""
    awaiting: Edited | None = None
    """The last edit of a message that can't be read yet."""

    def with_reaction(self, reaction: Reacted) -> "MessageDetails":
        """The same event once; of one Matrix id and emoji, the first that stands."""
        for one in self.reactions:
            is_same = one.user_id == reaction.user_id and bare(one.emoji) == bare(reaction.emoji)
            if is_same or one.event_id == reaction.event_id:
                return self
        return replace(self, reactions=(*self.reactions, reaction))

    def reaction_sent(self, before: EventId, event_id: EventId) -> "MessageDetails":
        """Matrix knows a reaction by now, under this event."""
        return replace(
            self,
            reactions=tuple(
                replace(one, event_id=event_id) if one.event_id == before else one for one in self.reactions
            ),
        )

    def without_reaction(self, event_id: EventId) -> "MessageDetails":
        """A reaction was withdrawn."""
        return replace(self, reactions=tuple(one for one in self.reactions if one.event_id != event_id))


# --- files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedFile:
    """Where a file lies and how it is decrypted (client-server API, "Sending encrypted attachments", v2)."""

    mxc: str
    key: str = ""
    """`k` of its JWK: A256CTR, base64url. Empty for a file that lies there in clear."""
    iv: str = ""
    sha256: str = ""
    """Of what lies there, unpadded base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDetails:
    """What is sealed of a file (docs/etb-contract.md 5.1)."""

    name: str
    """As it is shown: without path, control characters and surprises."""
    original_name: str
    mime: str = "application/octet-stream"
    size: int = 0
    """In bytes, as its sender says where nobody has looked."""
    sha256: str = ""
    """Hex, of the plain text; empty where only its sender has seen that."""
    file: EncryptedFile | None = None
    """None while it isn't uploaded."""
    thumbnail: EncryptedFile | None = None
    thumbnail_width: int = 0
    """Of a thumbnail that we have made; it is a JPEG."""
    thumbnail_height: int = 0
    thumbnail_size: int = 0
    file_type: FileType = "OTHER"
    width: int = 0
    height: int = 0
    duration_ms: int = 0
    is_voice: bool = False
    """A voice message (MSC3245)."""
    classification: str = ""
    """As ETB names the level; empty: that of its room."""
    classification_source: FileSource = "AUTO"
    description: str = ""
    uploaded_by: Username = NOBODY
    evidence: str = ""
    """Its id in ETB's compliance module, once registered there."""
    room_id: RoomId | None = None
    """In which of a war room's rooms its event is; None where it has none, or where an older program said it."""


_MOST_NAME = 200
"""Bytes of a file's name: what every file system takes, with something to spare."""


def safe_name(original: str) -> str:
    r"""A file's name without its path, and without what can't be seen or turns text round.

    >>> safe_name("../../etc/pass\x00wd"), safe_name("C:\\a\\b.txt"), safe_name(" .. ")
    ('passwd', 'b.txt', 'file')
    """
    last = original.replace("\\", "/").rstrip("/").rpartition("/")[2]
    seen = "".join(letter for letter in last if letter.isprintable()).strip().strip(".").strip()
    if len(seen.encode()) > _MOST_NAME:
        stem, dot, ending = seen.rpartition(".")
        if not stem or len(ending) > _LONGEST_ENDING:
            stem, dot, ending = seen, "", ""
        room = _MOST_NAME - len(f"{dot}{ending}".encode())
        seen = stem.encode()[:room].decode(errors="ignore") + dot + ending
    return seen or "file"


_LONGEST_ENDING = 10
_ARCHIVES = ("zip", "x-tar", "gzip", "x-7z-compressed", "x-bzip2", "x-xz", "zstd", "vnd.rar", "x-rar-compressed")


def file_type_of(mime: str, name: str) -> FileType:
    """The kind of a file of which nobody said it.

    >>> file_type_of("image/png", "a.png"), file_type_of("text/plain", "mail.log"), file_type_of("text/plain", "a")
    ('IMAGE', 'LOG', 'DOCUMENT')
    """
    kind, _, what = mime.lower().partition(";")[0].strip().partition("/")
    if name.lower().endswith(".log"):
        return "LOG"
    if kind == "image":
        return "IMAGE"
    if kind == "video":
        return "VIDEO"
    if kind == "application" and what in _ARCHIVES:
        return "ARCHIVE"
    if kind == "text" or what in {"pdf", "json", "rtf", "msword"} or what.startswith(("vnd.oasis", "vnd.ms-")):
        return "DOCUMENT"
    return "DOCUMENT" if what.startswith("vnd.openxmlformats") else "OTHER"


# --- polls ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The last vote of one person; without answers it is spoilt."""

    user_id: UserId
    username: Username = NOBODY
    event_id: EventId
    answers: tuple[str, ...]
    """Ids of answers."""
    at_ms: int = 0
    """When it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """A poll of the room (MSC3381). Its id is the event that began it; its message shows how it stands."""

    kind: Literal["Poll"] = "Poll"
    id: str
    by: UserId
    question: str
    answers: tuple[tuple[str, str], ...]
    """(id, text)."""
    is_disclosed: bool = True
    """False: how it stands is shown only once it has ended."""
    most: int = 1
    """How many answers one person may choose."""
    votes: tuple[Vote, ...] = ()
    is_open: bool = True

    def with_vote(self, vote: Vote) -> "Poll":
        """Each person's last vote counts."""
        if any(one.user_id == vote.user_id and one.at_ms > vote.at_ms for one in self.votes):
            return self
        known = {one for one, _ in self.answers}
        chosen = tuple(dict.fromkeys(one for one in vote.answers if one in known))[: self.most]
        others = tuple(one for one in self.votes if one.user_id != vote.user_id)
        return replace(self, votes=(*others, replace(vote, answers=chosen)))

    def without_vote(self, event_id: EventId) -> "Poll":
        """A vote was redacted."""
        return replace(self, votes=tuple(one for one in self.votes if one.event_id != event_id))

    def text(self) -> str:
        """How it stands, as a text."""
        lines = [f"Poll: {self.question}"]
        shows = self.is_disclosed or not self.is_open
        for number, (answer, text) in enumerate(self.answers, start=1):
            votes = sum(answer in one.answers for one in self.votes)
            lines.append(f"{number}. {text}" + (f" ({votes})" if shows and self.votes else ""))
        if not self.is_open:
            lines.append("The poll has ended.")
        elif self.votes and not shows:
            lines.append(f"{len(self.votes)} have voted.")
        return "\n".join(lines)
