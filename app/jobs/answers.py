"""What the endpoints of jobs have in common: what a request demands of a job, and the answer that shows one."""

from collections.abc import Mapping
from typing import Any

from flask import Response

from app.http import envelope
from app.http.preconditions import accepted_versions, etag, lease_token
from app.jobs.changes import Demands
from app.jobs.queries import NOTHING, Representation


def demands(fixed: Mapping[str, Any] = NOTHING) -> Demands:
    """Return what the current request demands of the job that it changes, `fixed` values included. Raises LeaseLost."""
    return Demands(accepted_versions(), lease_token(), fixed=fixed)


def job_answer(job: Representation, message: str | None = None) -> Response:
    """Answer with the job."""
    return envelope.success(job.json, message=message, headers={"ETag": etag(job.tag)})
