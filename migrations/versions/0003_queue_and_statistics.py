"""The queue with its leases, limits and indexes; the statistics with their running totals."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CLAIM_INDEXES = {
    "scrape_jobs_due": ["priority"],
    "scrape_jobs_type_due": ["job_type", "priority"],
    "scrape_jobs_customer_due": ["customer_config_id", "priority"],
    "scrape_jobs_domain_due": ["domain", "priority", sa.text("coalesce(max_concurrent, 0)")],
}

COUNTS = (
    "pending", "running", "completed", "failed", "cancelled", "retried", "timed",
    "memory_samples", "cpu_samples", "latency_samples",
)  # fmt: skip
SUMS = ("seconds", "pages", "page_seconds", "memory_sum", "cpu_sum", "latency_sum")
PEAKS = ("memory_peak", "cpu_peak", "latency_peak")


def upgrade() -> None:
    op.execute("SET LOCAL statement_timeout = 0")  # it counts all earlier events

    op.execute("ALTER TABLE scrape_jobs SET (fillfactor = 90)")
    op.add_column("scrape_jobs", sa.Column("max_concurrent", sa.Integer()))
    op.add_column("scrape_jobs", sa.Column("lease_seconds", sa.Integer()))
    op.add_column("scrape_jobs", sa.Column("cancel_heard_at", sa.DateTime(timezone=True)))
    op.add_column(
        "scrape_jobs", sa.Column("status_seq", sa.BigInteger(), server_default="1", nullable=False)
    )
    op.create_check_constraint("scrape_jobs_max_concurrent", "scrape_jobs", "max_concurrent >= 1")
    for name, columns in CLAIM_INDEXES.items():
        op.create_index(
            name,
            "scrape_jobs",
            [*columns, sa.text("greatest(scheduled_for, created_at)"), "id"],
            postgresql_where=sa.text("(status = 'pending') IS TRUE"),
        )
    op.create_index(
        "scrape_jobs_running",
        "scrape_jobs",
        ["domain"],
        postgresql_where=sa.text("(status = 'running') IS TRUE"),
    )

    # A volatile function counts the jobs that are committed at the moment of the call; the snapshot
    # of the calling statement is older.
    op.execute(
        """
        CREATE FUNCTION running_jobs(wanted text) RETURNS bigint LANGUAGE sql VOLATILE AS
        'SELECT count(*) FROM scrape_jobs WHERE (status = ''running'') IS TRUE AND domain = wanted'
        """
    )

    op.add_column("job_events", sa.Column("previous_seq", sa.BigInteger()))
    op.add_column("job_events", sa.Column("retry_count", sa.Integer()))
    op.add_column("job_events", sa.Column("seconds", sa.Double()))
    op.add_column("job_events", sa.Column("error_message", sa.Text()))
    op.create_index(
        "job_events_status_changes",
        "job_events",
        ["at"],
        postgresql_where=sa.text("stats IS NOT NULL"),
    )
    op.create_table(
        "uncounted_events",
        sa.Column("job_id", sa.Uuid(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
    )
    _create_totals(
        "job_totals",
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        *(sa.Column(name, sa.Double(), nullable=False) for name in SUMS),
        *(sa.Column(name, sa.Double()) for name in PEAKS),
    )
    _create_totals(
        "job_duration_totals",
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
    )
    _create_totals(
        "job_error_totals",
        sa.Column("pattern", sa.Text(), primary_key=True),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
    )

    op.execute(
        """
        UPDATE job_events e SET previous_seq = c.previous_seq FROM (
            SELECT job_id, seq, lag(seq) OVER (PARTITION BY job_id ORDER BY seq) AS previous_seq
            FROM job_events WHERE stats IS NOT NULL
        ) AS c WHERE e.job_id = c.job_id AND e.seq = c.seq
        """
    )
    op.execute(
        """
        UPDATE scrape_jobs j SET status_seq = e.seq
        FROM (SELECT job_id, max(seq) AS seq FROM job_events
            WHERE stats IS NOT NULL GROUP BY job_id) AS e
        WHERE e.job_id = j.id
        """
    )
    op.execute(
        "INSERT INTO uncounted_events (job_id, seq)"
        " SELECT job_id, seq FROM job_events WHERE stats IS NOT NULL"
    )


def downgrade() -> None:
    for table in ("job_error_totals", "job_duration_totals", "job_totals", "uncounted_events"):
        op.drop_table(table)
    op.drop_index("job_events_status_changes", "job_events")
    for column in ("error_message", "seconds", "retry_count", "previous_seq"):
        op.drop_column("job_events", column)
    op.execute("DROP FUNCTION running_jobs(text)")
    for index in ("scrape_jobs_running", *CLAIM_INDEXES):
        op.drop_index(index, "scrape_jobs")
    op.drop_constraint("scrape_jobs_max_concurrent", "scrape_jobs")
    for column in ("status_seq", "cancel_heard_at", "lease_seconds", "max_concurrent"):
        op.drop_column("scrape_jobs", column)
    op.execute("ALTER TABLE scrape_jobs RESET (fillfactor)")


def _create_totals(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("grain", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("domain", sa.Text(), primary_key=True),
        sa.Column("job_type", sa.Text(), primary_key=True),
        sa.Column("customer", sa.Text(), primary_key=True),
        sa.Column("start", sa.DateTime(timezone=True), primary_key=True),
        *columns,
        postgresql_with={"fillfactor": 80},
    )
