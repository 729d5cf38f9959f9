"""Jobs, their events, and idempotency keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "scrape_jobs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("domain_id", sa.Uuid(), nullable=False),
        sa.Column("customer_config_id", sa.Uuid()),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("retry_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_retries", sa.Integer(), nullable=False),
        sa.Column("config", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("metadata", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("stats", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("error_message", sa.Text()),
        sa.Column("scheduled_for", MOMENT),
        sa.Column("started_at", MOMENT),
        sa.Column("completed_at", MOMENT),
        sa.Column("worker_id", sa.Text()),
        sa.Column("lease_token", sa.Text()),
        sa.Column("lease_expires_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'completed', 'failed', 'cancelled')",
            name="scrape_jobs_status",
        ),
        sa.CheckConstraint(
            "status NOT IN ('completed', 'cancelled') OR completed_at IS NOT NULL",
            name="scrape_jobs_final_completed_at",
        ),
        sa.CheckConstraint("priority BETWEEN 1 AND 10", name="scrape_jobs_priority"),
        sa.CheckConstraint("retry_count >= 0", name="scrape_jobs_retry_count"),
        sa.CheckConstraint("max_retries BETWEEN 0 AND 100", name="scrape_jobs_max_retries"),
        sa.CheckConstraint(
            "jsonb_typeof(config) = 'object' AND jsonb_typeof(metadata) = 'object'"
            " AND jsonb_typeof(stats) = 'object'",
            name="scrape_jobs_documents",
        ),
        sa.CheckConstraint(
            "status = 'running' OR lease_expires_at IS NULL", name="scrape_jobs_lease"
        ),
        sa.CheckConstraint(
            "status = 'pending' OR scheduled_for IS NULL", name="scrape_jobs_scheduled_for"
        ),
    )
    for name, columns in {
        "scrape_jobs_created": ["created_at", "id"],
        "scrape_jobs_status_created": ["status", "created_at", "id"],
        "scrape_jobs_domain_created": ["domain", "created_at", "id"],
        "scrape_jobs_type_created": ["job_type", "created_at", "id"],
        "scrape_jobs_customer_created": ["customer_config_id", "created_at", "id"],
        "scrape_jobs_priority_created": [sa.text("(-priority)"), "created_at", "id"],
        "scrape_jobs_updated": ["updated_at", "id"],
    }.items():
        op.create_index(name, "scrape_jobs", columns)
    op.create_index(
        "scrape_jobs_tags",
        "scrape_jobs",
        [sa.text("(metadata -> 'tags') jsonb_path_ops")],
        postgresql_using="gin",
    )

    op.create_table(
        "job_events",
        sa.Column("job_id", sa.Uuid(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("old_status", sa.Text()),
        sa.Column("new_status", sa.Text(), nullable=False),
        sa.Column("actor_type", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text()),
        sa.Column("actor_name", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("changes", postgresql.JSONB(), nullable=False),
        sa.Column("stats", postgresql.JSONB()),
        sa.CheckConstraint(
            "actor_type IN ('key', 'system', 'anonymous')", name="job_events_actor_type"
        ),
        sa.CheckConstraint("jsonb_typeof(changes) = 'object'", name="job_events_changes_object"),
    )

    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", postgresql.JSONB()),
        sa.Column("body", sa.Text()),
        sa.Column("created_at", MOMENT, nullable=False),
    )
    op.create_index("idempotency_keys_created", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    op.drop_table("job_events")
    op.drop_table("scrape_jobs")
