"""The Scrapy settings of the add-on."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class ReportingSettings:
    """The settings that begin with SCRAPE_JOBS_; the README lists them.

    Attributes:
        url: SCRAPE_JOBS_URL, the address of the service.
        key: SCRAPE_JOBS_KEY, the API key.
        job_id: SCRAPE_JOBS_JOB_ID, the job to report. Without it a job is claimed.
        lease_token: SCRAPE_JOBS_LEASE_TOKEN, if another program has claimed that job.
        job_types: SCRAPE_JOBS_JOB_TYPES, the types of jobs to claim.
        domains: SCRAPE_JOBS_DOMAINS, the domains of jobs to claim.
        worker_id: SCRAPE_JOBS_WORKER_ID, the name of the worker.
        lease_seconds: SCRAPE_JOBS_LEASE, the length of the lease.
        completed_reasons: SCRAPE_JOBS_COMPLETED_REASONS, further closing reasons that count as
            completed.
    """

    url: str | None
    key: str | None
    job_id: str | None
    lease_token: str | None
    job_types: Sequence[str]
    domains: Sequence[str]
    worker_id: str | None
    lease_seconds: int
    completed_reasons: Sequence[str]

    @classmethod
    def from_scrapy(cls, settings: Any) -> Self:
        """Read the settings; job id and lease token also come from the environment."""
        return cls(
            url=settings.get("SCRAPE_JOBS_URL"),
            key=settings.get("SCRAPE_JOBS_KEY"),
            job_id=settings.get("SCRAPE_JOBS_JOB_ID") or os.environ.get("SCRAPE_JOB_ID"),
            lease_token=settings.get("SCRAPE_JOBS_LEASE_TOKEN"),
            job_types=settings.getlist("SCRAPE_JOBS_JOB_TYPES"),
            domains=settings.getlist("SCRAPE_JOBS_DOMAINS"),
            worker_id=settings.get("SCRAPE_JOBS_WORKER_ID"),
            lease_seconds=settings.getint("SCRAPE_JOBS_LEASE", 60),
            completed_reasons=settings.getlist("SCRAPE_JOBS_COMPLETED_REASONS"),
        )
