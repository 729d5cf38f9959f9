"""Row security, the second line of defence between customers.

A role that does not own the tables sees the rows of the customer in the setting
scrape_jobs.customer.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

VISIBLE = "current_setting('scrape_jobs.customer', true)"
ALL = f"{VISIBLE} = 'all'"

OWNED = {
    "scrape_jobs": "customer_config_id::text",
    "webhook_endpoints": "customer_config_id::text",
    "job_totals": "customer",
    "job_duration_totals": "customer",
    "job_error_totals": "customer",
}
# These rows belong to a job or an endpoint, on which row security applies, too. New rows are not
# checked: one statement may insert both, and the policy does not see the new job yet.
PARTS = {
    "job_events": "EXISTS (SELECT FROM scrape_jobs j WHERE j.id = job_id)",
    "webhook_deliveries": "EXISTS (SELECT FROM webhook_endpoints w WHERE w.id = endpoint_id)",
}


def upgrade() -> None:
    for table, customer in OWNED.items():
        _enable_row_security(table, f"{ALL} OR {customer} = {VISIBLE}")
    for table, condition in PARTS.items():
        _enable_row_security(table, f"{ALL} OR {condition}", "WITH CHECK (true)")


def downgrade() -> None:
    for table in (*OWNED, *PARTS):
        op.execute(f"DROP POLICY customers ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def _enable_row_security(table: str, condition: str, check: str = "") -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY customers ON {table} USING ({condition}) {check}")
