"""The functions that claim jobs."""

from alembic import op

from app.database.functions import creation

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FUNCTIONS = ("lease_job_1", "claim_jobs_1")


def upgrade() -> None:
    for name in FUNCTIONS:
        op.execute(creation(name))


def downgrade() -> None:
    for name in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {name}")
