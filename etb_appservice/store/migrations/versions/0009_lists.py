"""Lists of files and commands over many rooms are found and counted without opening anything.

Revision ID: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """How files are classified in a column, filled in at the next start: it is sealed in what stands there."""
    op.add_column("files", sa.Column("level", sa.Integer()))
    op.create_index("ix_commands_incident", "commands", ["incident_id", "asked_ms"])
