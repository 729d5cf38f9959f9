"""The endpoints of operations on many jobs."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from flask import Blueprint, Response

from app.api_keys.scopes import Scope
from app.errors import JobNotFound
from app.http import response
from app.http.body import json_body
from app.http.context import current_context
from app.http.documentation import Body, Success, documented
from app.http.errors import describe
from app.http.operation import operation
from app.http.provenance import provenance
from app.idempotency.decorator import idempotent_in_steps
from app.jobs import bulk
from app.jobs import bulk_answers as answers
from app.jobs.bulk import BulkOutcome
from app.jobs.bulk_schemas import BULK_CANCEL, BULK_RETRY

blueprint = Blueprint("bulk", __name__, url_prefix="/api/scrape-jobs")


@blueprint.post("/cancel")
@operation("Failed to cancel scrape jobs", Scope.JOBS_CANCEL)
@documented(
    Success(answers.CANCEL_OUTCOME, is_list=True, counts=answers.CANCEL_COUNTS),
    body=Body(BULK_CANCEL, answers.CANCEL_EXAMPLES),
    raises=answers.REFUSED,
)
@idempotent_in_steps
def cancel_jobs() -> Response:
    """Cancel many jobs, and return the outcome of each."""
    fields = BULK_CANCEL.parse(json_body(sanitised=BULK_CANCEL.sanitised))
    return _change(
        fields,
        bulk.CANCELLABLE,
        lambda ids: bulk.cancel(ids, fields["reason"], provenance()),
        "cancelled",
    )


@blueprint.post("/retry")
@operation("Failed to retry scrape jobs", Scope.JOBS_WRITE)
@documented(
    Success(answers.RETRY_OUTCOME, is_list=True, counts=answers.RETRY_COUNTS),
    body=Body(BULK_RETRY, answers.RETRY_EXAMPLES),
    raises=answers.REFUSED,
)
@idempotent_in_steps
def retry_jobs() -> Response:
    """Return many failed jobs to pending, and return the outcome of each."""
    fields = BULK_RETRY.parse(json_body(sanitised=BULK_RETRY.sanitised))
    return _change(
        fields,
        bulk.RETRYABLE,
        lambda ids: bulk.retry(ids, fields["delay_seconds"], provenance()),
        "retried",
    )


def _change(
    fields: Mapping[str, Any],
    statuses: Collection[str],
    change: Callable[[Sequence[UUID]], Sequence[BulkOutcome]],
    done: str,
) -> Response:
    """Change the jobs that `fields` name, and answer with the outcomes; `done` is that of success.

    A filter finds only jobs with one of `statuses`, which can be changed.
    """
    if "ids" in fields:
        job_ids, has_more = fields["ids"], False
    else:
        job_ids, has_more = bulk.matching(fields["filter"], statuses, fields["limit"])
    found = [_shown(outcome, done) for outcome in change(job_ids)]
    numbers = Counter(outcome["outcome"] for outcome in found)
    counts = {name: numbers[name] for name in (done, "refused", "not_found")}
    return response.outcomes(found, counts=counts, has_more=has_more)


def _shown(outcome: BulkOutcome, done: str) -> dict[str, Any]:
    """Return the JSON form of an outcome; its error is that of the request for one job."""
    shown: dict[str, Any] = {"id": str(outcome.id), "outcome": done}
    if outcome.refusal is not None:
        answer = describe(outcome.refusal, current_context().operation)
        is_missing = isinstance(outcome.refusal, JobNotFound)
        shown.update(outcome="not_found" if is_missing else "refused", error=answer.error)
        if answer.details is not None:
            shown["details"] = answer.details
    if outcome.status is not None:
        shown["status"] = outcome.status
    return shown
