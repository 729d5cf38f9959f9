"""Parts of the job endpoints that the queue's endpoints share: preconditions and job responses."""

from collections.abc import Mapping
from typing import Any

from flask import Response

from app.http import response
from app.http.preconditions import accepted_versions, etag, lease_token
from app.jobs.change_request import Preconditions
from app.jobs.representation import Representation


def preconditions(fixed_fields: Mapping[str, Any] | None = None) -> Preconditions:
    """Return the preconditions of the current request, from its headers and `fixed_fields`.

    Raises:
        LeaseLost: If the header of the lease token is not a token.
    """
    return Preconditions(accepted_versions(), lease_token(), fixed_fields=fixed_fields or {})


def job_answer(job: Representation, message: str | None = None) -> Response:
    """Return the response that shows the job."""
    return response.success(job.json, message=message, headers={"ETag": etag(job.tag)})
