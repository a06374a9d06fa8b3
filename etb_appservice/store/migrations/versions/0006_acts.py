"""What web users have asked for, and how it was decided.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An act's ruling is the answer to whoever asked, also after a restart."""
    op.create_table(
        "acts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("accepted_ms", sa.BigInteger(), nullable=False),
        sa.Column("ruling", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_acts_key", "acts", ["key"])
    op.create_index("ix_acts_accepted", "acts", ["accepted_ms"])
