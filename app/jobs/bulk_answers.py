"""The answers about operations on many jobs, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields

from app.errors import InvalidInput
from app.http.documentation import AnswerSchema, invalid
from app.http.fields import Choice, Id, about
from app.jobs.bulk_schemas import BULK_CANCEL
from app.jobs.schemas import JOB_ID
from app.jobs.states import Status


class CancelOutcome(AnswerSchema):
    """The outcome for one job of a cancellation of many."""

    title = "CancelOutcome"
    optional = frozenset({"status", "error", "details"})

    id = Id()
    outcome = Choice("cancelled", "refused", "not_found")
    status = Choice(*Status, **about("The status of the job now, if the service knows it."))
    error = fields.String(**about("Why the job was not changed, as for one job."))
    details = fields.String(**about("More, where there is more to say."))

    example = {
        "id": JOB_ID,
        "outcome": "cancelled",
        "status": "cancelled",
    }


class RetryOutcome(CancelOutcome):
    """The outcome for one job of a retry of many."""

    title = "RetryOutcome"

    outcome = Choice("retried", "refused", "not_found")

    example = {"id": JOB_ID, "outcome": "retried", "status": "pending"}


class CancelCounts(AnswerSchema):
    """How often each outcome of a cancellation occurs."""

    title = "CancelCounts"

    cancelled = fields.Integer()
    refused = fields.Integer()
    not_found = fields.Integer()

    example = {"cancelled": 1, "refused": 0, "not_found": 0}


class RetryCounts(AnswerSchema):
    """How often each outcome of a retry occurs."""

    title = "RetryCounts"

    retried = fields.Integer()
    refused = fields.Integer()
    not_found = fields.Integer()

    example = {"retried": 1, "refused": 0, "not_found": 0}


CANCEL_OUTCOME = CancelOutcome()
RETRY_OUTCOME = RetryOutcome()
CANCEL_COUNTS = CancelCounts()
RETRY_COUNTS = RetryCounts()

CANCEL_EXAMPLES: Mapping[str, Any] = {
    "filter": {"filter": {"domain": "example.com", "status": ["pending"]}, "limit": 100},
    "ids": {"ids": [JOB_ID], "reason": "User requested cancellation"},
}
RETRY_EXAMPLES: Mapping[str, Any] = {
    "filter": {"filter": {"domain": "example.com"}, "delay_seconds": 60},
    "ids": {"ids": [JOB_ID]},
}
"""Bodies by the way in which they name the jobs."""

REFUSED = (
    invalid(BULK_CANCEL, "ids"),
    InvalidInput("Invalid filter: must be given, or ids"),
)
