"""Headers for the requests to an endpoint: encrypted values, and names in plain text."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhook_endpoints", sa.Column("headers", sa.Text()))
    op.add_column("webhook_endpoints", sa.Column("header_names", postgresql.ARRAY(sa.Text())))


def downgrade() -> None:
    op.drop_column("webhook_endpoints", "header_names")
    op.drop_column("webhook_endpoints", "headers")
