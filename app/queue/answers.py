"""The forms of the queue's answers, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields

from app.http.documentation import AnswerSchema
from app.http.fields import Choice, Id, Timestamp, WholeNumber, about
from app.jobs.answers import PENDING, JobAnswer
from app.jobs.models import MAX_INTEGER, MAX_PRIORITY
from app.jobs.schemas import JOB_ID
from app.jobs.states import Status


class ClaimedJobAnswer(JobAnswer):
    """A job that a worker has claimed, with its lease token."""

    title = "ClaimedJob"

    lease_token = fields.String(**about("Proves the lease; no other answer shows it."))

    example = {
        **JobAnswer.example,
        "retry_count": 0,
        "stats": {},
        "lease_expires_at": "2024-01-01T10:01:00.000Z",
        "worker_id": "worker-1",
        "lease_token": "sM2bJ0y5V3T9mK4xQ7wZr8LdHf1cNe6A",
    }


class ReachedLimit(AnswerSchema):
    """A limit on the running jobs of a domain, which is reached."""

    title = "ReachedLimit"

    limit = Choice("config.maxConcurrent", "SCRAPE_JOBS_DOMAIN_LIMIT")
    domain = fields.String()
    allowed = WholeNumber(1, MAX_INTEGER)
    running = WholeNumber(0, MAX_INTEGER)


class PositionAnswer(AnswerSchema):
    """The position of a job in the queue."""

    title = "QueuePosition"

    id = Id()
    status = Choice(*Status)
    priority = WholeNumber(1, MAX_PRIORITY)
    due_at = Timestamp(allow_none=True)
    position = fields.Integer(allow_none=True, **about("1 is the next. Null if it does not wait."))
    position_is_exact = fields.Boolean(allow_none=True)
    held_back_by = fields.Nested(ReachedLimit, allow_none=True)
    reason = fields.String(**about("When the job starts, or why it does not, in a sentence."))

    example = {
        "id": JOB_ID,
        "status": "pending",
        "priority": 7,
        "due_at": "2024-01-01T09:55:00.000Z",
        "position": 1,
        "position_is_exact": True,
        "held_back_by": None,
        "reason": (
            "The job is the next: it starts when a worker asks for work of its domain and type"
        ),
    }


LEASED: Mapping[str, Any] = {
    "lease_expires_at": "2024-01-01T10:16:00.000Z",
    "worker_id": "worker-1",
}

RETRIED: Mapping[str, Any] = {
    **PENDING,
    "retry_count": 2,
    "scheduled_for": "2024-01-01T10:20:00.000Z",
}

RELEASED: Mapping[str, Any] = {**PENDING, "retry_count": 1}

CLAIMED_JOB = ClaimedJobAnswer()
POSITION = PositionAnswer()
