"""What requests may say about the queue."""

from typing import Any

from app.http.fields import (
    ListOf,
    ListOfInQuery,
    Message,
    Name,
    Pattern,
    QueryNumber,
    StrictBoolean,
    StrictSchema,
    WholeNumber,
)
from app.jobs.schemas import JOB_TYPE, Domain

MAX_LIMIT = 100
MAX_DELAY_SECONDS = 365 * 24 * 3600


class NextSchema(StrictSchema):
    """A worker that asks for work."""

    worker_id = Name(required=True)
    job_types = ListOf(Pattern(**JOB_TYPE), "job types", allow_none=True, load_default=None)
    domains = ListOf(Domain(), "host names", allow_none=True, load_default=None)
    limit = WholeNumber(1, MAX_LIMIT, load_default=1)
    lease_seconds = WholeNumber(5, 3600, load_default=60)
    wait_seconds = WholeNumber(0, 20, load_default=0)


class UpcomingSchema(StrictSchema):
    """The query of what comes next."""

    job_types = ListOfInQuery(Pattern(**JOB_TYPE), "job types", load_default=None)
    domains = ListOfInQuery(Domain(), "host names", load_default=None)
    limit = QueryNumber(1, MAX_LIMIT, load_default=1)


class RetrySchema(StrictSchema):
    """How a job is to be retried."""

    error_message = Message(allow_none=True)
    delay_seconds = WholeNumber(0, MAX_DELAY_SECONDS, allow_none=True, load_default=None)
    reset_retry_count = StrictBoolean(load_default=False)


class EmptySchema(StrictSchema):
    """A body that has nothing to say."""


NEXT = NextSchema()
UPCOMING = UpcomingSchema()
RETRY = RetrySchema()
EMPTY = EmptySchema()


def error_message(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the error_message among the fields of a retry, if there is one."""
    return {name: asked[name] for name in ("error_message",) if name in asked}
