"""Files that were withdrawn and must be kept.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A time for each; of those that are there none was withdrawn and kept."""
    op.add_column("files", sa.Column("withdrawn_ms", sa.BigInteger()))
