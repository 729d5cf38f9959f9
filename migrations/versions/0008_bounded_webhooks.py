"""Limits on the work for webhooks.

Customers take turns, the fan-out of a status change has several steps, and each list has an index.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NIL = "00000000-0000-0000-0000-000000000000"

INDEXES = {
    "outbox_turn": ("outbox", ["customer", "created_at"], None),
    "webhook_endpoints_customer": ("webhook_endpoints", ["customer_config_id"], None),
    "webhook_deliveries_listed": (
        "webhook_deliveries",
        ["endpoint_id", "status", "created_at", "id"],
        None,
    ),
    "webhook_deliveries_failed": (
        "webhook_deliveries",
        ["endpoint_id", "finished_at"],
        "status = 'failed'",
    ),
}
FORMER = {
    "outbox_created": ("outbox", ["created_at"], None),
    "webhook_deliveries_created": ("webhook_deliveries", ["endpoint_id", "created_at", "id"], None),
}


def upgrade() -> None:
    # A constant default does not rewrite the table. Both columns exist already if an earlier run
    # was interrupted while it built the indexes.
    for column in ("customer", "served_to"):
        op.execute(
            f"ALTER TABLE outbox ADD COLUMN IF NOT EXISTS {column} uuid NOT NULL DEFAULT '{NIL}'"
        )
    _replace(FORMER, INDEXES)


def downgrade() -> None:
    # An older release repeats the whole fan-out of each row in the outbox, and expects none of its
    # deliveries to exist.
    op.execute(
        "DELETE FROM webhook_deliveries d USING outbox o"
        " WHERE d.job_id = o.job_id AND d.seq = o.seq"
    )
    for column in ("customer", "served_to"):
        op.execute(f"ALTER TABLE outbox DROP COLUMN IF EXISTS {column}")
    _replace(INDEXES, FORMER)


def _replace(
    old: dict[str, tuple[str, list[str], str | None]],
    new: dict[str, tuple[str, list[str], str | None]],
) -> None:
    """Build the new indexes, then drop the old ones; the tables stay readable and writable."""
    with op.get_context().autocommit_block():
        # No timeouts: a large table takes long, and the build waits for open transactions. The
        # service keeps running meanwhile.
        op.execute("SET statement_timeout = 0")
        op.execute("SET lock_timeout = 0")
        for name, (table, columns, where) in new.items():
            # An earlier run may have left one unfinished.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.create_index(
                name,
                table,
                columns,
                postgresql_concurrently=True,
                postgresql_where=sa.text(where) if where else None,
            )
        for name in old:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute("SET statement_timeout = '5s'")
        op.execute("SET lock_timeout = '4s'")
