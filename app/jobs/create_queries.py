"""SQL that creates jobs, one or many in one statement."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app import database
from app.database import Statement
from app.errors import DocumentTooLarge
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.documents import MAX_DOCUMENT_BYTES, document_text
from app.jobs.representation import FOLLOWING, Representation

CREATE = Statement(
    "create_jobs",
    promise="The result of the function create_jobs_1: all jobs are stored with their first events,"
    " or none.",
    sql="SELECT * FROM create_jobs_1(%(jobs)s, %(provenance)s, %(rules)s)",
)

_RULES = document_text({"following": FOLLOWING, "max_document_bytes": MAX_DOCUMENT_BYTES})


def create(jobs: Sequence[Mapping[str, Any]], provenance: Provenance) -> Sequence[Representation]:
    """Store new pending jobs and return them in the same order.

    Args:
        jobs: The fields of each job as JSON values, by column name.
        provenance: The provenance of their first events.

    Raises:
        DocumentTooLarge: If a config or metadata is too large. Then no job is stored.
    """
    parameters = {
        "jobs": document_text(jobs),
        "provenance": events.provenance_document("created", provenance),
        "rules": _RULES,
    }
    ids = [UUID(job["id"]) for job in jobs]
    stored = {}
    for job_id, large_document, *representation in database.run(CREATE, parameters):
        if large_document is not None:
            index = ids.index(job_id) if len(ids) > 1 else None
            raise DocumentTooLarge(large_document, MAX_DOCUMENT_BYTES, index)
        stored[job_id] = Representation(job_id, *representation)
    return [stored[job_id] for job_id in ids]
