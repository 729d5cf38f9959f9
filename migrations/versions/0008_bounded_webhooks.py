"""Bounded work of the webhooks: turns between customers, changes served in steps, an index for
every list."""

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
    # A constant default rewrites no table. Both exist already where an earlier run broke off at the
    # indexes.
    for column in ("customer", "served_to"):
        op.execute(
            f"ALTER TABLE outbox ADD COLUMN IF NOT EXISTS {column} uuid NOT NULL DEFAULT '{NIL}'"
        )
    _replace(FORMER, INDEXES)


def downgrade() -> None:
    # What is still in the outbox is served whole again, by a release that expects to find none of
    # it served.
    op.execute(
        "DELETE FROM webhook_deliveries d USING outbox o WHERE d.job_id = o.job_id AND d.seq = o.seq"
    )
    for column in ("customer", "served_to"):
        op.execute(f"ALTER TABLE outbox DROP COLUMN IF EXISTS {column}")
    _replace(INDEXES, FORMER)


def _replace(
    old: dict[str, tuple[str, list[str], str | None]],
    new: dict[str, tuple[str, list[str], str | None]],
) -> None:
    """Make the new indexes before the old ones go, while the tables are read and written."""
    with op.get_context().autocommit_block():
        # A large table takes as long as it takes, and open transactions are waited for; neither
        # stops the service.
        op.execute("SET statement_timeout = 0")
        op.execute("SET lock_timeout = 0")
        for name, (table, columns, where) in new.items():
            op.execute(
                f"DROP INDEX CONCURRENTLY IF EXISTS {name}"
            )  # one that an earlier run left unfinished
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
