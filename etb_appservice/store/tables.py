"""The tables of the database `etb`, as the newest migration leaves them (a test compares the two).

No column here holds what a person wrote: such things are sealed BLOBs. Times are UTC milliseconds. On PostgreSQL
all tables stand in the schema `etb`, by the connection's search path.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

_SHOWN = "state IN ('open', 'sealed', 'unreadable')"
_Seq = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts only an INTEGER PRIMARY KEY

seen = Table(
    "seen",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("first_ms", BigInteger, nullable=False),
    Index("ix_seen_first", "first_ms"),
    sqlite_with_rowid=False,
)

inbox = Table(
    "inbox",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("place", BigInteger),  # the first seq of a row that was moved; NULL while it never was
    Column("source", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("room_id", Text),
    Column("session_id", Text),
    # One small index per question, each over the few rows that can answer it.
    Index(
        "ix_inbox_ready", "lane", "seq",
        sqlite_where=text("state = 'ready'"), postgresql_where=text("state = 'ready'"),
    ),
    Index(
        "ix_inbox_timer", "due_ms",
        sqlite_where=text("state = 'timer'"), postgresql_where=text("state = 'timer'"),
    ),
    Index(
        "ix_inbox_held", "due_ms",
        sqlite_where=text("state = 'ready' AND due_ms > 0"),
        postgresql_where=text("state = 'ready' AND due_ms > 0"),
    ),
    Index(
        "ix_inbox_waiting", "room_id", "session_id",
        sqlite_where=text("state = 'waiting'"), postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_inbox_waiting_key", "key",
        sqlite_where=text("state = 'waiting'"), postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_inbox_parked", "seq",
        sqlite_where=text("state = 'parked'"), postgresql_where=text("state = 'parked'"),
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

outbox = Table(
    "outbox",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("effect", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("first_tried_ms", BigInteger),
    Column("device_id", Text),
    Column("error", Text, nullable=False),
    Index(
        "ix_outbox_queued", "target", "seq",
        sqlite_where=text("state = 'queued'"), postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_outbox_held", "due_ms",
        sqlite_where=text("state = 'queued' AND due_ms > 0"),
        postgresql_where=text("state = 'queued' AND due_ms > 0"),
    ),
    Index(
        "ix_outbox_aside", "seq",
        sqlite_where=text("state <> 'queued'"), postgresql_where=text("state <> 'queued'"),
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

rooms = Table(
    "rooms",
    metadata,
    Column("war_room", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("incident_id", Text),
    Column("room_id", Text),
    Column("classification", SmallInteger, nullable=False),
    Column("visibility", Text, nullable=False),
    Column("keys_to_invited", Boolean, nullable=False),
    Column("encrypted", Boolean, nullable=False),
    Column("is_current", Boolean, nullable=False),
    Column("card_event", Text),
    Column("shown", LargeBinary, nullable=False),  # name, card and who holds its key
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("room_id", name="uq_rooms_room_id"),
    Index(
        "ix_rooms_current", "war_room",
        unique=True, sqlite_where=text("is_current"), postgresql_where=text("is_current"),
    ),
    Index("ix_rooms_incident", "incident_id"),
)  # fmt: skip

members = Table(
    "members",
    metadata,
    Column("room_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("membership", Text, nullable=False),
    Index("ix_members_user", "user_id"),
    sqlite_with_rowid=False,
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("is_open", Boolean, nullable=False),
    Column("copy", LargeBinary, nullable=False),
    Column("confirmed_ms", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Index(
        "ix_incidents_open", "first_ms", "id",
        sqlite_where=text("is_open"), postgresql_where=text("is_open"),
    ),
)  # fmt: skip

etb_copies = Table(
    "etb_copies",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("copy", LargeBinary, nullable=False),
    Column("confirmed_ms", BigInteger, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("origin_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("decided_ms", BigInteger, nullable=False),
    Column("body", LargeBinary),
    Column("thread_root", Text),
    Column("replaces", Text),
    Column("parent", Text),  # the event under which it is found: its thread's root, else what it answers
    UniqueConstraint("event_id", name="uq_messages_event_id"),
    UniqueConstraint("lane", "position", name="uq_messages_position"),
    Index(
        "ix_messages_shown", "lane", "position",
        sqlite_where=text(_SHOWN), postgresql_where=text(_SHOWN),
    ),
    Index(
        "ix_messages_parent", "parent", "position",
        sqlite_where=text("parent IS NOT NULL"), postgresql_where=text("parent IS NOT NULL"),
    ),
)  # fmt: skip

reactions = Table(
    "reactions",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("message_id", Text, nullable=False),
    sqlite_with_rowid=False,
)

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("war_room", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("message_id", Text),
    Column("event_id", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("details", LargeBinary, nullable=False),
    Column("access_count", Integer, nullable=False),
    Column("withdrawn_ms", BigInteger),
    Column("level", Integer),  # how it is classified itself; 0: as its room; NULL: of an older program, not known
    Index("ix_files_lane", "lane", "id"),
    Index("ix_files_event", "event_id"),
)

file_accesses = Table(
    "file_accesses",
    metadata,
    Column("id", Text, primary_key=True),
    Column("file_id", Text, nullable=False),
    Column("war_room", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("ix_file_accesses_file", "file_id", "id"),
)

commands = Table(
    "commands",
    metadata,
    Column("id", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("incident_id", Text),
    Column("event_id", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),  # name, arguments and result: the name too may be typed text
    Column("status", Text, nullable=False),
    Column("asked_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger, nullable=False),
    UniqueConstraint("event_id", name="uq_commands_event_id"),
    Index("ix_commands_room", "room_id", "asked_ms"),
    Index("ix_commands_incident", "incident_id", "asked_ms"),
)

cases = Table(
    "cases",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("war_room", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    UniqueConstraint("war_room", "kind", "id", name="uq_cases_entry"),
    Index("ix_cases_open", "kind", "seq", sqlite_where=text("is_open"), postgresql_where=text("is_open")),
    sqlite_autoincrement=True,
)

documents = Table(
    "documents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("war_room", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("upload", LargeBinary),  # only with the first part
    Column("created_ms", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("tag", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("hashes", Text, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)

acts = Table(
    "acts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key", LargeBinary),
    Column("accepted_ms", BigInteger, nullable=False),
    Column("ruling", Text),
    Index("ix_acts_key", "key"),
    Index("ix_acts_accepted", "accepted_ms"),
    sqlite_with_rowid=False,
)

gaps = Table(
    "gaps",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Index("ix_gaps_due", "due_ms"),
    sqlite_with_rowid=False,
)

keepsakes = Table(
    "keepsakes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)

vault_keys = Table(
    "vault_keys",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("parent", LargeBinary),
    Column("scope", Text, nullable=False),
    Column("data_class", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("scope", "data_class", "period", name="uq_vault_keys_place"),
    Index("ix_vault_keys_parent", "parent"),
)

vault_check = Table(
    "vault_check",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

vault_former = Table(
    "vault_former",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("checked", LargeBinary, nullable=False),  # what only this former root can make
    Column("audit", LargeBinary, nullable=False),  # its audit key, under the present root
    Column("handover", LargeBinary),  # the root that followed, under this one; NULL once the overlap has ended
    Column("replaced_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("is_placed", Boolean, nullable=False),  # whether the settings are known to hold a later root
)
