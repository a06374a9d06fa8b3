"""What is kept of a CHAT_ENCRYPTION_KEY that was replaced.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each key that was replaced."""
    op.create_table(
        "vault_former",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("checked", sa.LargeBinary(), nullable=False),
        sa.Column("audit", sa.LargeBinary(), nullable=False),
        sa.Column("handover", sa.LargeBinary(), nullable=True),
        sa.Column("replaced_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("is_placed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("epoch"),
    )
