"""Client of the Scrape Job API: jobs, workers and webhooks."""

from scrape_jobs.client import UNSET, ScrapeJobs
from scrape_jobs.errors import (
    APIError,
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    JobModified,
    LeaseLost,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RepeatedCursor,
    ScrapeJobsError,
    ServerError,
    TooManyRequests,
    TransitionRefused,
    UnexpectedAnswer,
)
from scrape_jobs.handling import Handler, LeasedJob
from scrape_jobs.jobs import Event, Job, Status
from scrape_jobs.outcomes import Cancelled, Failed, Fatal, Released, Retry
from scrape_jobs.retrying import NO_RETRY, RetryPolicy
from scrape_jobs.transport import Answer, NoAnswer, Request, RequestsTransport, Transport
from scrape_jobs.webhooks import InvalidWebhook, verify
from scrape_jobs.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "NO_RETRY",
    "UNSET",
    "APIError",
    "Answer",
    "Cancelled",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Event",
    "Failed",
    "Fatal",
    "Handler",
    "InvalidRequest",
    "InvalidWebhook",
    "Job",
    "JobModified",
    "LeaseLost",
    "LeasedJob",
    "NoAnswer",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "Released",
    "RepeatedCursor",
    "Request",
    "RequestsTransport",
    "Retry",
    "RetryPolicy",
    "ScrapeJobs",
    "ScrapeJobsError",
    "ServerError",
    "Status",
    "TooManyRequests",
    "TransitionRefused",
    "Transport",
    "UnexpectedAnswer",
    "Worker",
    "verify",
]
