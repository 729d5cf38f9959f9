"""The schemas of the queue's requests."""

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
from app.jobs.schemas import JOB_TYPE, MAX_DELAY_SECONDS, Domain

MAX_LIMIT = 100


class ClaimSchema(StrictSchema):
    """The body of a worker's request for jobs."""

    worker_id = Name(required=True)
    job_types = ListOf(Pattern(**JOB_TYPE), "job types", allow_none=True, load_default=None)
    domains = ListOf(Domain(), "host names", allow_none=True, load_default=None)
    limit = WholeNumber(1, MAX_LIMIT, load_default=1)
    lease_seconds = WholeNumber(5, 3600, load_default=60)
    wait_seconds = WholeNumber(0, 20, load_default=0)


class UpcomingSchema(StrictSchema):
    """The query of a request for the upcoming jobs."""

    job_types = ListOfInQuery(Pattern(**JOB_TYPE), "job types", load_default=None)
    domains = ListOfInQuery(Domain(), "host names", load_default=None)
    limit = QueryNumber(1, MAX_LIMIT, load_default=1)


class RetrySchema(StrictSchema):
    """The body of a retry."""

    error_message = Message(allow_none=True)
    delay_seconds = WholeNumber(0, MAX_DELAY_SECONDS, allow_none=True, load_default=None)
    reset_retry_count = StrictBoolean(load_default=False)


class EmptySchema(StrictSchema):
    """A body without fields."""


NEXT = ClaimSchema()
UPCOMING = UpcomingSchema()
RETRY = RetrySchema()
EMPTY = EmptySchema()
