"""SQL that reads one job."""

from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement
from app.database.tenant_scope import visible_rows
from app.jobs.representation import Representation, job_json, tag

GET = Statement(
    "get_job",
    promise="The job as it is now, or no row if it does not exist. One lookup by the primary key.",
    sql=f"""SELECT {tag("j")}, {job_json("j")}
    FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows("j")}""",
)


def get(job_id: UUID) -> Representation | None:
    """Return the job, or None if it does not exist."""
    rows = database.run(GET, {"id": str(job_id)})
    return Representation(job_id, *rows[0]) if rows else None


STATE = Statement(
    "job_state",
    promise="The job's version and status, or no row if the job does not exist. One lookup by the"
    " primary key.",
    sql=f"""SELECT j.version, j.status FROM scrape_jobs j
    WHERE j.id = %(id)s::uuid AND {visible_rows("j")}""",
)


class JobState(NamedTuple):
    """The version and the status of a job."""

    version: int
    status: str


def state(job_id: UUID) -> JobState | None:
    """Return the job's version and status, or None if it does not exist."""
    rows = database.run(STATE, {"id": str(job_id)})
    return JobState(*rows[0]) if rows else None


LOCK_DOCUMENTS = Statement(
    "lock_documents",
    promise="The job's status and documents, or no row if the job does not exist. The row is"
    " locked: no other transaction changes it until this one ends.",
    sql=f"""
    SELECT j.status, j.stats, j.metadata, j.config FROM scrape_jobs j
    WHERE j.id = %(id)s::uuid AND {visible_rows("j")} FOR NO KEY UPDATE
    """,
)


class Documents(NamedTuple):
    """The JSON documents of a job, and its status."""

    status: str
    stats: dict[str, Any]
    metadata: dict[str, Any]
    config: dict[str, Any]


def lock_documents(job_id: UUID) -> Documents | None:
    """Lock the job's row until the open transaction ends, and return the job's documents.

    Returns None if the job does not exist.
    """
    rows = database.run(LOCK_DOCUMENTS, {"id": str(job_id)})
    return Documents(*rows[0]) if rows else None
