"""Fewer rows of totals to read for a window.

The totals are ordered by time, the buckets of durations are coarser, and there are totals of six
hours.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = {"job_totals": "", "job_duration_totals": ", bucket", "job_error_totals": ", pattern"}

HOUR, SIX_HOURS = 3600, 21600
NO_DURATION = -1000

COUNTS = (
    "pending", "running", "completed", "failed", "cancelled", "retried", "timed",
    "memory_samples", "cpu_samples", "latency_samples",
)  # fmt: skip
SUMS = ("seconds", "pages", "page_seconds", "memory_sum", "cpu_sum", "latency_sum")
PEAKS = ("memory_peak", "cpu_peak", "latency_peak")


def upgrade() -> None:
    op.execute("SET LOCAL statement_timeout = 0")
    _order("grain, domain, start, job_type, customer")
    # A bucket covers two of the former buckets, whose limits were 4 % apart.
    op.execute(
        f"""
        CREATE TEMPORARY TABLE merged ON COMMIT DROP AS
        SELECT grain, domain, start, job_type, customer,
            CASE bucket WHEN {NO_DURATION} THEN bucket ELSE floor(bucket / 2.0)::int END AS bucket,
            sum(jobs) AS jobs
        FROM job_duration_totals GROUP BY 1, 2, 3, 4, 5, 6
        """  # noqa: S608 - of constants
    )
    op.execute("TRUNCATE job_duration_totals")
    op.execute(
        """
        INSERT INTO job_duration_totals (grain, domain, start, job_type, customer, bucket, jobs)
        SELECT grain, domain, start, job_type, customer, bucket, jobs FROM merged
        """
    )
    added = {name: f"sum({name})" for name in (*COUNTS, *SUMS)} | {
        name: f"max({name})" for name in PEAKS
    }
    _add_six_hours("job_totals", added)
    _add_six_hours("job_duration_totals", {"jobs": "sum(jobs)"}, "bucket")
    latest = {"failures": "sum(failures)", "job_id": "(array_agg(job_id ORDER BY start DESC))[1]"}
    _add_six_hours("job_error_totals", latest, "pattern")


def downgrade() -> None:
    # The finer buckets no longer exist, so all events are counted again.
    op.execute("TRUNCATE job_totals, job_duration_totals, job_error_totals, uncounted_events")
    op.execute(
        "INSERT INTO uncounted_events (job_id, seq)"
        " SELECT job_id, seq FROM job_events WHERE stats IS NOT NULL"
    )
    _order("grain, domain, job_type, customer, start")


def _order(key: str) -> None:
    for table, last in TABLES.items():
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD PRIMARY KEY ({key}{last})"
        )


def _add_six_hours(table: str, columns: dict[str, str], last: str | None = None) -> None:
    names = ", ".join([*([last] if last else []), *columns])
    values = ", ".join([*([last] if last else []), *columns.values()])
    op.execute(
        f"""
        INSERT INTO {table} (grain, domain, start, job_type, customer, {names})
        SELECT {SIX_HOURS}, '', b.start, '', '',
            {values.replace("ORDER BY start", "ORDER BY t.start")}
        FROM {table} t
        CROSS JOIN LATERAL (
            SELECT date_bin(interval '6 hours', t.start, timestamptz 'epoch')) AS b (start)
        WHERE t.grain = {HOUR} AND t.domain = '' GROUP BY b.start{f", {last}" if last else ""}
        """  # noqa: S608 - of constants
    )
