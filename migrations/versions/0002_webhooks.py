"""Webhooks: the outbox of status changes, the endpoints and their deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("job_id", sa.Uuid(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("created_at", MOMENT, nullable=False),
    )
    op.create_index("outbox_created", "outbox", ["created_at"])

    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("statuses", postgresql.ARRAY(sa.Text())),
        sa.Column("job_types", postgresql.ARRAY(sa.Text())),
        sa.Column("domains", postgresql.ARRAY(sa.Text())),
        sa.Column("description", sa.Text()),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("failing_since", MOMENT),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text()),
        sa.Column("previous_secret_until", MOMENT),
        sa.Column("from_settings", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
    )

    op.create_table(
        "webhook_deliveries",
        sa.Column("job_id", sa.Uuid(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("endpoint_id", sa.Uuid(), primary_key=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try_at", MOMENT, nullable=False),
        sa.Column("claim", sa.Uuid()),
        sa.Column("tries", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'failed')", name="webhook_deliveries_status"
        ),
        sa.CheckConstraint("jsonb_typeof(tries) = 'array'", name="webhook_deliveries_tries_array"),
        postgresql_with={"fillfactor": 80},
    )
    pending = sa.text("status = 'pending'")
    op.create_index(
        "webhook_deliveries_due",
        "webhook_deliveries",
        ["endpoint_id", "next_try_at"],
        postgresql_where=pending,
    )
    op.create_index(
        "webhook_deliveries_order",
        "webhook_deliveries",
        ["endpoint_id", "job_id", "seq"],
        postgresql_where=pending,
    )
    op.create_index(
        "webhook_deliveries_created", "webhook_deliveries", ["endpoint_id", "created_at", "id"]
    )
    op.create_index("webhook_deliveries_id", "webhook_deliveries", ["id"])


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_endpoints")
    op.drop_table("outbox")
