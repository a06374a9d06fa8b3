"""Replies, reactions and files of messages.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SHOWN = sa.text("state IN ('open', 'sealed', 'unreadable')")
_HAS_PARENT = sa.text("parent IS NOT NULL")


def upgrade() -> None:
    """Messages say what they belong to; reactions and files get a table each."""
    op.add_column("messages", sa.Column("parent", sa.Text(), nullable=True))
    op.execute("UPDATE messages SET parent = thread_root WHERE thread_root IS NOT NULL")
    op.create_index(
        "ix_messages_shown", "messages", ["lane", "position"], sqlite_where=_SHOWN, postgresql_where=_SHOWN
    )
    op.create_index(
        "ix_messages_parent",
        "messages",
        ["parent", "position"],
        sqlite_where=_HAS_PARENT,
        postgresql_where=_HAS_PARENT,
    )
    op.create_table(
        "reactions",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "files",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("war_room", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("details", sa.LargeBinary(), nullable=False),
        sa.Column("access_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_files_lane", "files", ["lane", "id"])
