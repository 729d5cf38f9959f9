"""The second wall between customers: whoever is not the tables' owner sees whose rows
scrape_jobs.customer says."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WHOSE = "current_setting('scrape_jobs.customer', true)"
ALL = f"{WHOSE} = 'all'"

OWNED = {
    "scrape_jobs": "customer_config_id::text",
    "webhook_endpoints": "customer_config_id::text",
    "job_totals": "customer",
    "job_duration_totals": "customer",
    "job_error_totals": "customer",
}
# They are their job's, or their endpoint's, which the same wall hides; not while both are made by
# one statement.
PARTS = {
    "job_events": "EXISTS (SELECT FROM scrape_jobs j WHERE j.id = job_id)",
    "webhook_deliveries": "EXISTS (SELECT FROM webhook_endpoints w WHERE w.id = endpoint_id)",
}


def upgrade() -> None:
    for table, customer in OWNED.items():
        _wall(table, f"{ALL} OR {customer} = {WHOSE}")
    for table, condition in PARTS.items():
        _wall(table, f"{ALL} OR {condition}", "WITH CHECK (true)")


def downgrade() -> None:
    for table in (*OWNED, *PARTS):
        op.execute(f"DROP POLICY customers ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def _wall(table: str, condition: str, check: str = "") -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY customers ON {table} USING ({condition}) {check}")
