"""The table of outages, and an index for each partition of the queue.

The table holds the last time at which the service could extend leases.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSTZMULTIRANGE

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

OWN_LIMIT = "coalesce(max_concurrent, 0)"
CLAIM_INDEXES = {
    "due": ["priority"],
    "type_due": ["job_type", "priority"],
    "customer_due": ["customer_config_id", "priority"],
    "domain_due": ["domain", "priority", OWN_LIMIT],
}
NEW_INDEXES = {**CLAIM_INDEXES, "domain_type_due": ["domain", "job_type", "priority", OWN_LIMIT]}


def upgrade() -> None:
    op.execute("DROP TABLE IF EXISTS service_pulse")  # an earlier run may have stopped later
    op.create_table(
        "service_pulse",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outages", TSTZMULTIRANGE(), server_default="{}", nullable=False),
        sa.CheckConstraint("id = 1", name="service_pulse_one_row"),
    )
    words = "CASE status || ' in {0}' WHEN 'pending in {0}' THEN true ELSE false END"
    _replace({name: (columns, words.format(name)) for name, columns in NEW_INDEXES.items()})


def downgrade() -> None:
    op.execute("DROP TABLE IF EXISTS service_pulse")
    _replace(
        {name: (columns, "(status = 'pending') IS TRUE") for name, columns in CLAIM_INDEXES.items()}
    )


def _replace(indexes: dict[str, tuple[list[str], str]]) -> None:
    """Rebuild the indexes of the queue, each beside the former one, while the service runs."""
    with op.get_context().autocommit_block():
        # No timeouts: a large table takes long, and the build waits for open transactions. The
        # service keeps running meanwhile.
        op.execute("SET statement_timeout = 0")
        op.execute("SET lock_timeout = 0")
        for name in NEW_INDEXES:
            if name in indexes:
                columns, where = indexes[name]
                listed = ", ".join([*columns, "greatest(scheduled_for, created_at)", "id"])
                # An earlier run may have left one unfinished.
                op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS new_{name}")
                op.execute(
                    f"CREATE INDEX CONCURRENTLY new_{name} ON scrape_jobs ({listed}) WHERE {where}"
                )
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS scrape_jobs_{name}")
            if name in indexes:
                op.execute(f"ALTER INDEX new_{name} RENAME TO scrape_jobs_{name}")
        op.execute("SET statement_timeout = '5s'")
        op.execute("SET lock_timeout = '4s'")
