"""The functions that change a job."""

from alembic import op

from app.database.functions import creation

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FUNCTIONS = ("extend_lease_1",)


def upgrade() -> None:
    for name in FUNCTIONS:
        op.execute(creation(name))


def downgrade() -> None:
    for name in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {name}")
