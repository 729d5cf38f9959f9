"""Parts of requests and answers about jobs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scrape_jobs.caller import Result, path_part
from scrape_jobs.jobs import Job

JOBS = "/api/scrape-jobs"

LEASE_HEADER = "X-Lease-Token"


def path_of(job_id: str) -> str:
    """Return the path of a job."""
    return f"{JOBS}/{path_part(job_id)}"


def job_of(result: Result) -> Job:
    """Return the job of an answer."""
    return Job.from_json(result.document["data"], result.etag)


def key_headers(idempotency_key: str | None) -> dict[str, str]:
    """Return the header of a key, if there is one."""
    return {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}


def document_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as JSON values."""
    return {name: plain(value) for name, value in fields.items()}


def plain(value: Any) -> Any:
    """Return the value as a JSON value: a datetime as ISO 8601 text."""
    return value.isoformat() if isinstance(value, datetime) else value
