"""Totals by quarter hour of each kind, an index by time, and what it takes to bound the totals of errors."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = ("job_totals", "job_duration_totals", "job_error_totals")
QUARTER = 900


def upgrade() -> None:
    # Only the count of statistics writes to these tables, and it can wait: so the indexes need not be built
    # concurrently. Reading goes on. What locks readers out comes last, and takes milliseconds.
    op.execute("SET LOCAL statement_timeout = 0")
    for table in TABLES:
        op.create_index(
            f"{table}_of_kinds", table, ["grain", "start", "customer"], postgresql_where=sa.text("domain > ''")
        )
    op.create_table(
        "statistics_marks",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("place", JSONB(none_as_null=True)),
    )
    op.add_column("job_error_totals", sa.Column("missed", sa.BigInteger(), server_default="0", nullable=False))
    # Every INSERT has to name the column, which no older release does: it cannot add to the totals any more, for it
    # would leave the quarter hours out. What it does not count stays uncounted until this release counts it.
    op.add_column("job_totals", sa.Column("layout", sa.SmallInteger(), server_default="1", nullable=False))
    op.alter_column("job_totals", "layout", server_default=None)
    op.execute(
        """
        INSERT INTO statistics_marks (name, at)
        SELECT 'quarters', CASE WHEN EXISTS (SELECT FROM job_totals) THEN clock_timestamp()
            ELSE timestamptz 'epoch' END
        """
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_index(f"{table}_of_kinds", table)
        op.execute(f"DELETE FROM {table} WHERE grain = {QUARTER}")  # noqa: S608 - of constants
    op.drop_table("statistics_marks")
    op.drop_column("job_error_totals", "missed")
    op.drop_column("job_totals", "layout")
