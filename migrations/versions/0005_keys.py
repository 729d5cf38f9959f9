"""API keys, the customer of each webhook endpoint, and the hash chain of the events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
SCOPES = (
    "'jobs:read', 'jobs:write', 'jobs:cancel', 'queue:work', 'webhooks:manage', 'metrics:read',"
    " 'all'"
)

CONTENT = """jsonb_build_array(n.job_id, n.seq, encode(timestamptz_send(n.at), 'hex'),
    n.old_status, n.new_status, n.changes, n.stats::text, n.previous_seq, n.retry_count,
    encode(float8send(n.seconds), 'hex'), n.error_message, n.action, n.actor_type, n.actor_id,
    n.actor_name, n.request_id, n.address)::text"""


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("customer_config_id", sa.Uuid()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("revoked_at", MOMENT),
        sa.Column("last_used_at", MOMENT),
        sa.CheckConstraint(f"scopes <@ ARRAY[{SCOPES}]", name="api_keys_scopes"),
        sa.CheckConstraint("octet_length(digest) = 32", name="api_keys_digest"),
    )
    op.execute("SET LOCAL statement_timeout = 0")  # it chains all earlier events
    op.add_column("job_events", sa.Column("address", sa.Text()))
    op.add_column(
        "job_events", sa.Column("hash", sa.LargeBinary(), server_default="", nullable=False)
    )
    op.add_column(
        "scrape_jobs", sa.Column("chain", sa.LargeBinary(), server_default="", nullable=False)
    )
    # A temporary aggregate, for one pass over the events in order.
    op.execute(
        """
        CREATE FUNCTION pg_temp.link(bytea, text) RETURNS bytea LANGUAGE sql IMMUTABLE AS
        'SELECT sha256($1 || convert_to($2, ''UTF8''))'
        """
    )
    op.execute(
        "CREATE AGGREGATE pg_temp.chain(text) (SFUNC = pg_temp.link, STYPE = bytea, INITCOND = '')"
    )
    op.execute(
        f"""
        UPDATE job_events e SET hash = c.hash FROM (
            SELECT n.job_id, n.seq,
                pg_temp.chain({CONTENT}) OVER (PARTITION BY n.job_id ORDER BY n.seq) AS hash
            FROM job_events n
        ) AS c WHERE e.job_id = c.job_id AND e.seq = c.seq
        """  # noqa: S608 - of constants
    )
    op.execute("DROP AGGREGATE pg_temp.chain(text)")
    op.execute("DROP FUNCTION pg_temp.link(bytea, text)")
    op.execute(
        """
        UPDATE scrape_jobs j SET chain = coalesce(
            (SELECT e.hash FROM job_events e WHERE e.job_id = j.id ORDER BY e.seq DESC LIMIT 1), '')
        """
    )
    # Callers may use any text as an idempotency key, even a secret, so only its digest is stored.
    op.execute("UPDATE idempotency_keys SET key = encode(sha256(convert_to(key, 'UTF8')), 'hex')")
    op.add_column("webhook_endpoints", sa.Column("customer_config_id", sa.Uuid()))


def downgrade() -> None:
    op.execute("DELETE FROM idempotency_keys")  # a digest cannot be reversed
    op.drop_column("webhook_endpoints", "customer_config_id")
    op.drop_column("scrape_jobs", "chain")
    for column in ("hash", "address"):
        op.drop_column("job_events", column)
    op.drop_table("api_keys")
