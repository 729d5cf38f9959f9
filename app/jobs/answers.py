"""The answers about jobs, for the OpenAPI document: forms, examples, refusals.

PostgreSQL writes the JSON of the real ones.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields

from app.api_keys.scopes import Scope
from app.errors import (
    DocumentTooLarge,
    InvalidInput,
    LeaseLost,
    NotAllowed,
    ScrapeJobError,
    TransitionRefused,
    VersionMismatch,
)
from app.http import pagination
from app.http.documentation import AnswerSchema, invalid
from app.http.fields import Choice, Document, Id, Timestamp, WholeNumber, about
from app.jobs.documents import MAX_DOCUMENT_BYTES
from app.jobs.models import MAX_INTEGER, MAX_MAX_RETRIES, MAX_PRIORITY
from app.jobs.refusals import Refusal, RefusedChange
from app.jobs.schemas import JOB_ID, JOB_TYPE, UPDATE
from app.jobs.states import Status

ACTIONS = (
    "created", "updated", "cancelled", "claimed", "retried", "given_up", "released",
    "lease_expired", "cancel_heard",
)  # fmt: skip
"""The actions of events."""


EVENT_CURSOR = pagination.encode(f"history {JOB_ID}", (1,))


class JobAnswer(AnswerSchema):
    """A job, with all its fields."""

    title = "Job"

    id = Id()
    domain_id = Id()
    customer_config_id = Id(allow_none=True, **about("The customer to which the job belongs."))
    domain = fields.String(**about("The host, normalised."))
    job_type = fields.String(metadata={"pattern": f"^{JOB_TYPE['pattern']}$"})
    status = Choice(*Status)
    priority = WholeNumber(1, MAX_PRIORITY, **about("Higher comes first."))
    retry_count = WholeNumber(0, MAX_INTEGER)
    max_retries = WholeNumber(0, MAX_MAX_RETRIES)
    config = Document(**about("How to scrape; the service reads only maxConcurrent."))
    metadata = Document(**about("Any keys; lists filter by the texts in tags."))
    started_at = Timestamp(allow_none=True)
    completed_at = Timestamp(allow_none=True)
    error_message = fields.String(
        allow_none=True, **about("Sanitised, but not escaped: it may hold HTML.")
    )
    stats = Document(**about("Progress and results, as the worker reports them."))
    created_at = Timestamp()
    updated_at = Timestamp()
    scheduled_for = Timestamp(allow_none=True, **about("When a pending job becomes due."))
    allowed_transitions = fields.List(Choice(*Status), **about("The statuses that may follow."))
    lease_expires_at = Timestamp(allow_none=True)
    worker_id = fields.String(allow_none=True, **about("The worker that holds the lease."))

    example = {
        "id": JOB_ID,
        "domain_id": "456e7890-e89b-12d3-a456-426614174000",
        "customer_config_id": "789e0123-e89b-12d3-a456-426614174000",
        "domain": "example.com",
        "job_type": "domain_scrape",
        "status": "running",
        "priority": 7,
        "retry_count": 1,
        "max_retries": 3,
        "config": {
            "depth": 3,
            "maxPages": 150,
            "timeout": 30000,
            "respectRobots": True,
            "includeSubdomains": False,
            "userAgent": "CustomBot/1.0",
        },
        "metadata": {
            "source": "api",
            "tags": ["ecommerce", "high-priority"],
            "requestedBy": "user@example.com",
            "estimatedDuration": 300,
        },
        "started_at": "2024-01-01T10:00:00.000Z",
        "completed_at": None,
        "error_message": None,
        "stats": {
            "pagesProcessed": 45,
            "totalPages": 150,
            "successfulRequests": 44,
            "failedRequests": 1,
            "avgResponseTime": 1200,
            "dataExtracted": {"products": 156, "images": 234, "links": 89},
        },
        "created_at": "2024-01-01T09:55:00.000Z",
        "updated_at": "2024-01-01T10:15:00.000Z",
        "scheduled_for": None,
        "allowed_transitions": ["completed", "failed", "cancelled"],
        "lease_expires_at": None,
        "worker_id": None,
    }


class SelectedFields(JobAnswer):
    """The fields of a job that the parameter `fields` asks for."""

    title = "SelectedFields"
    optional = frozenset(JobAnswer().fields)
    example = {"id": JOB_ID, "status": "running"}


class ActorAnswer(AnswerSchema):
    """The caller that made a change, or the service itself."""

    title = "Actor"

    type = Choice("key", "system", "anonymous")
    id = fields.String(allow_none=True, **about("The id of the API key."))
    name = fields.String(allow_none=True)


class EventAnswer(AnswerSchema):
    """A modification of a job."""

    title = "Event"

    id = WholeNumber(1, 2**63 - 1, **about("Counts the job's events, without a gap."))
    at = Timestamp()
    actor = fields.Nested(ActorAnswer)
    request_id = fields.String(allow_none=True)
    action = Choice(*ACTIONS)
    old_status = Choice(*Status, allow_none=True)
    new_status = Choice(*Status)
    changes = Document(**about("The old and the new value of each changed field."))

    example = {
        "id": 2,
        "at": "2024-01-01T10:00:00.000Z",
        "actor": {
            "type": "key",
            "id": "8dsr1tjsnnk2",
            "name": "crawler",
        },
        "request_id": "crawl-4711",
        "action": "updated",
        "old_status": "pending",
        "new_status": "running",
        "changes": {"started_at": {"from": None, "to": "2024-01-01T10:00:00.000Z"}},
    }


JOB = JobAnswer()
SELECTED_FIELDS = SelectedFields()
EVENT = EventAnswer()

NEW_JOB: Mapping[str, Any] = {
    "domain": "example.com",
    "priority": 7,
    "config": {"depth": 3, "maxPages": 150},
    "metadata": {"tags": ["ecommerce"]},
}
"""The body that creates a job."""

PENDING: Mapping[str, Any] = {
    "status": "pending",
    "retry_count": 0,
    "started_at": None,
    "stats": {},
    "allowed_transitions": ["running", "cancelled"],
}
"""By what a job that waits differs from the example of a job."""

CREATED: Mapping[str, Any] = {
    **PENDING,
    "config": NEW_JOB["config"],
    "metadata": NEW_JOB["metadata"],
    "updated_at": JobAnswer.example["created_at"],
}

UPDATED: Mapping[str, Any] = {
    "started_at": "2024-01-01T12:00:00.000Z",
    "stats": {"pagesProcessed": 10, "totalPages": 100},
    "updated_at": "2024-01-01T12:10:00.000Z",
}

MOVED: Mapping[str, Any] = {**PENDING, "priority": 9}

CANCELLED: Mapping[str, Any] = {
    "status": "cancelled",
    "completed_at": "2024-01-01T11:30:00.000Z",
    "error_message": "Cancelled via API: User requested cancellation",
    "allowed_transitions": [],
}

UPDATE_EXAMPLES: Mapping[str, Any] = {
    "progress": {
        "status": "running",
        "started_at": "2024-01-01T12:00:00.000Z",
        "stats": {"pagesProcessed": 10, "totalPages": 100},
    },
    "completion": {
        "status": "completed",
        "completed_at": "2024-01-01T12:30:00.000Z",
        "stats": {
            "pagesProcessed": 100,
            "successfulRequests": 95,
            "failedRequests": 5,
            "dataExtracted": {"products": 250, "images": 456},
        },
    },
    "failure": {"status": "failed", "error_message": "Timeout after 30 s"},
}
"""Bodies of PUT, from the reference."""


def _refused(refusal: Refusal) -> ScrapeJobError:
    """Return the failure of a change of a completed job's priority."""
    status = Status.COMPLETED
    return RefusedChange(refusal, ("priority",), status, status, 0, 3).exception()


_REFUSED = (
    invalid(UPDATE, "retry_count"),
    InvalidInput("Unknown field: statuss"),
    InvalidInput("No updatable fields provided"),
    TransitionRefused(Status.COMPLETED, Status.RUNNING),
    TransitionRefused(Status.FAILED, Status.PENDING, (3, 3)),
    LeaseLost(),
    VersionMismatch(),
    DocumentTooLarge("stats", MAX_DOCUMENT_BYTES),
    NotAllowed((Scope.JOBS_CANCEL,)),  # to cancel the job by its status
)
REFUSED_UPDATES = (*_REFUSED, _refused(Refusal.FIXED_FIELDS))
REFUSED_PATCHES = (*_REFUSED, _refused(Refusal.QUEUE_FIELDS))
