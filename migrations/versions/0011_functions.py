"""The functions that create and change jobs."""

from alembic import op

from app.database.functions import creation

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "event_value_1",
    "event_hash_1",
    "append_event_1",
    "job_tag_1",
    "job_json_1",
    "is_shown_time_1",
    "differing_fields_1",
    "changed_fields_1",
    "change_job_1",
    "create_jobs_1",
)


def upgrade() -> None:
    for name in FUNCTIONS:
        op.execute(creation(name))


def downgrade() -> None:
    for name in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {name}")
