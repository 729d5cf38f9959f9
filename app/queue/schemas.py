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
    about,
)
from app.jobs.schemas import JOB_TYPE, MAX_DELAY_SECONDS, Domain

MAX_LIMIT = 100

_TYPES = "Jobs of these types; without it, of all."
_DOMAINS = "Jobs of these domains; without it, of all."


class ClaimSchema(StrictSchema):
    """The body of a worker's request for jobs."""

    worker_id = Name(required=True, **about("The name of the worker.", examples=["worker-1"]))
    job_types = ListOf(
        Pattern(**JOB_TYPE), "job types", allow_none=True, load_default=None, **about(_TYPES)
    )
    domains = ListOf(Domain(), "host names", allow_none=True, load_default=None, **about(_DOMAINS))
    limit = WholeNumber(1, MAX_LIMIT, load_default=1, **about("The maximum number of jobs."))
    lease_seconds = WholeNumber(5, 3600, load_default=60, **about("How long the lease lasts."))
    wait_seconds = WholeNumber(0, 20, load_default=0, **about("How long to wait for a job."))


class UpcomingSchema(StrictSchema):
    """The query of a request for the upcoming jobs."""

    job_types = ListOfInQuery(
        Pattern(**JOB_TYPE),
        "job types",
        load_default=None,
        **about(_TYPES, examples=[["domain_scrape"]]),
    )
    domains = ListOfInQuery(
        Domain(), "host names", load_default=None, **about(_DOMAINS, examples=[["example.com"]])
    )
    limit = QueryNumber(1, MAX_LIMIT, load_default=1, **about("The maximum number of jobs."))


class RetrySchema(StrictSchema):
    """The body of a retry."""

    error_message = Message(allow_none=True, **about("Why the attempt failed."))
    delay_seconds = WholeNumber(
        0,
        MAX_DELAY_SECONDS,
        allow_none=True,
        load_default=None,
        **about("Seconds until the job is due again."),
    )
    reset_retry_count = StrictBoolean(
        load_default=False, **about("Start again at 0 retries; only without a lease token.")
    )


class EmptySchema(StrictSchema):
    """A body without fields."""


NEXT = ClaimSchema()
UPCOMING = UpcomingSchema()
RETRY = RetrySchema()
EMPTY = EmptySchema()
