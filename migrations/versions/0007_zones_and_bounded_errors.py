"""Totals of quarter hours by kind of job, an index by time, and a limit on the error totals."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = ("job_totals", "job_duration_totals", "job_error_totals")
QUARTER = 900

GROUP = "grain, domain, start, job_type, customer"
KEPT = "CASE grain WHEN 60 THEN 20 WHEN 600 THEN 50 ELSE 100 END"

WHOSE = "current_setting('scrape_jobs.customer', true)"


def upgrade() -> None:
    # The work before the last step may take minutes if millions of error texts are stored. It locks
    # no table. Only the counting of statistics waits for it; reads add the events that are not
    # counted yet.
    op.execute("SET LOCAL statement_timeout = 0")
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("SET LOCAL work_mem = '64MB'")
    op.execute("SELECT pg_advisory_xact_lock(hashtextextended('statistics', 0))")
    bound = _has_surplus()
    if bound:
        _make_bounded()
    for table in TABLES:
        name = "bounded_errors" if bound and table == "job_error_totals" else table
        op.create_index(
            f"{table}_of_kinds",
            name,
            ["grain", "start", "customer"],
            postgresql_where=sa.text("domain > ''"),
        )
    op.create_table(
        "statistics_marks",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    # The last step locks the tables and takes milliseconds.
    if bound:
        _replace()
    else:
        op.add_column(
            "job_error_totals",
            sa.Column("missed", sa.BigInteger(), server_default="0", nullable=False),
        )
    # An INSERT without the column fails. Older releases therefore cannot add to the totals, which
    # would lack the quarter hours. Their events stay uncounted until this release counts them.
    op.add_column(
        "job_totals", sa.Column("layout", sa.SmallInteger(), server_default="1", nullable=False)
    )
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


def _has_surplus() -> bool:
    """Return whether a span of time and a kind of job have more patterns than the new limit."""
    found = op.get_bind().execute(
        sa.text(
            f"SELECT 1 FROM job_error_totals GROUP BY {GROUP}"  # noqa: S608 - of constants
            f" HAVING count(*) > {KEPT} LIMIT 1"
        )
    )
    return found.first() is not None


def _make_bounded() -> None:
    """Make a table of the most frequent patterns; the sums of the others have the pattern ''."""
    op.execute(
        "CREATE TABLE bounded_errors (LIKE job_error_totals INCLUDING DEFAULTS)"
        " WITH (fillfactor = 80)"
    )
    op.execute("ALTER TABLE bounded_errors ADD COLUMN missed bigint NOT NULL DEFAULT 0")
    # In a row with the pattern '', `missed` is the count of the most frequent dropped pattern.
    op.execute(
        f"""
        INSERT INTO bounded_errors ({GROUP}, pattern, failures, job_id, missed)
        SELECT {GROUP}, name, sum(failures), (array_agg(job_id ORDER BY place))[1],
            CASE name WHEN '' THEN max(failures) ELSE 0 END
        FROM (
            SELECT r.*, CASE WHEN place <= {KEPT} THEN pattern ELSE '' END AS name FROM (
                SELECT t.*, row_number() OVER (PARTITION BY {GROUP} ORDER BY failures DESC) AS place
                FROM job_error_totals t
            ) AS r
        ) AS r
        GROUP BY {GROUP}, name
        """  # noqa: S608 - of constants
    )
    op.execute(
        "ALTER TABLE bounded_errors"
        f" ADD CONSTRAINT bounded_errors_pkey PRIMARY KEY ({GROUP}, pattern)"
    )
    op.execute("ANALYZE bounded_errors")


def _replace() -> None:
    """Replace the old table by the bounded one, with the same rights and the same row security."""
    op.execute(
        """
        DO $$
        DECLARE
            granted record;
        BEGIN
            FOR granted IN
                SELECT a.privilege_type, coalesce(r.rolname, 'public') AS grantee,
                    a.grantee = 0 AS is_public
                FROM pg_class c CROSS JOIN aclexplode(c.relacl) AS a
                LEFT JOIN pg_roles r ON r.oid = a.grantee
                WHERE c.oid = 'job_error_totals'::regclass AND a.grantee <> c.relowner
            LOOP
                EXECUTE format('GRANT %s ON bounded_errors TO %s', granted.privilege_type,
                    CASE WHEN granted.is_public THEN 'PUBLIC'
                        ELSE quote_ident(granted.grantee) END);
            END LOOP;
        END
        $$
        """
    )
    op.execute("ALTER TABLE bounded_errors ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY customers ON bounded_errors USING ({WHOSE} = 'all' OR customer = {WHOSE})"
    )
    op.execute("DROP TABLE job_error_totals")
    op.execute("ALTER TABLE bounded_errors RENAME TO job_error_totals")
    op.execute(
        "ALTER TABLE job_error_totals"
        " RENAME CONSTRAINT bounded_errors_pkey TO job_error_totals_pkey"
    )
