"""What the endpoints of jobs have in common: what a request preconditions of a job, and the answer
that shows one."""

from collections.abc import Mapping
from typing import Any

from flask import Response

from app.http import response
from app.http.preconditions import accepted_versions, etag, lease_token
from app.jobs.changes import Preconditions
from app.jobs.queries import NOTHING, Representation


def preconditions(fixed: Mapping[str, Any] = NOTHING) -> Preconditions:
    """Return the preconditions of the current request, `fixed` values included. Raises
    LeaseLost."""
    return Preconditions(accepted_versions(), lease_token(), fixed=fixed)


def job_answer(job: Representation, message: str | None = None) -> Response:
    """Answer with the job."""
    return response.success(job.json, message=message, headers={"ETag": etag(job.tag)})
