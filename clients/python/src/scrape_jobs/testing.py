"""A test harness for handlers: runs a handler without a service.

>>> run = run_handler(scrape, domain="example.com", config={"depth": 2})
>>> run.outcome, run.stats["pagesProcessed"]
('completed', 3)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scrape_jobs.errors import LeaseLost, ScrapeJobsError
from scrape_jobs.handling import Handler, HandlerRun, LeasedJob, call
from scrape_jobs.jobs import Job
from scrape_jobs.outcomes import Cancelled, Released

JOB_ID = "01900000-0000-7000-8000-000000000001"
DOMAIN_ID = "01900000-0000-7000-8000-000000000002"


@dataclass(slots=True)
class TestRun:
    """The result of a handler, and its reports.

    Attributes:
        outcome: completed, failed, fatal, retry, cancelled, released or lease_lost.
        message: The error message; empty unless the run failed.
        stats: The final statistics.
        reports: The statistics of each `progress` call.
        delay: The delay of a retry in seconds.
    """

    __test__ = False  # pytest would collect the class

    outcome: str = ""
    message: str = ""
    stats: dict[str, Any] = field(default_factory=dict)
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    delay: float | None = None


def run_handler(
    handler: Handler,
    *,
    domain: str = "example.com",
    job_type: str = "domain_scrape",
    config: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    retry_count: int = 0,
    cancel_after: int | None = None,
    lose_lease_after: int | None = None,
    release_after: int | None = None,
) -> TestRun:
    """Run a handler as a worker does, and return its result and reports.

    Args:
        handler: The handler.
        domain: The domain of the job.
        job_type: The type of the job.
        config: The config of the job.
        metadata: The metadata of the job.
        retry_count: The earlier attempts of the job.
        cancel_after: Cancel the job at this `progress` or `check` call, beginning with 1.
        lose_lease_after: Lose the lease at this call.
        release_after: Shut the worker down at this call.
    """
    run = TestRun()
    verdicts: list[tuple[int | None, ScrapeJobsError]] = [
        (cancel_after, Cancelled("Cancelled via API")),
        (lose_lease_after, LeaseLost(409, "Lease lost")),
        (release_after, Released("The worker shuts down")),
    ]
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        for first_call, verdict in verdicts:
            if first_call is not None and calls >= first_call:
                raise verdict

    def report(stats: Mapping[str, Any]) -> None:
        run.reports.append(dict(stats))
        run.stats.update(stats)
        check()

    job = Job(
        id=JOB_ID,
        domain_id=DOMAIN_ID,
        domain=domain,
        job_type=job_type,
        status="running",
        priority=5,
        retry_count=retry_count,
        max_retries=3,
        config=config or {},
        metadata=metadata or {},
    )
    result: HandlerRun = call(handler, LeasedJob(job, report, check))
    run.outcome, run.message, run.delay = result.kind, result.message, result.delay
    run.stats.update(result.stats or {})
    return run
