"""The requests that are measured: read, conditional read, progress report, creation and claim."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from bench.dataset import CONFIG, DOMAINS, EVENTS_OF_A_JOB, METADATA, WORKER, Dataset
from bench.load import CONNECTIONS, Load, http_request

JOBS = "/api/scrape-jobs"
LEASE_SECONDS = 3600
"""Longer than the benchmark, so that no lease expires."""

LEFT_PENDING = 2 * CONNECTIONS
"""Jobs that are left in the queue: of the last ones a claim may find all locked by others."""


def reads(dataset: Dataset) -> Load:
    """Return reads of jobs that nothing changes."""
    return Load("GET", 200, _reads(dataset.completed))


def conditional_reads(dataset: Dataset) -> Load:
    """Return reads of the same jobs by a client that has their current version."""
    known = f'If-None-Match: "{EVENTS_OF_A_JOB}"'
    return Load("GET, 304", 304, _reads(dataset.completed, known))


def progress_reports(dataset: Dataset) -> Load:
    """Return updates of running jobs: the status that they have, metadata, and new stats."""
    ids, pages = itertools.cycle(dataset.running), itertools.count(100)

    def next_request(_: int) -> bytes:
        page = next(pages)
        body = {
            "status": "running",
            "metadata": {"updatedBy": "system", "notes": "progress"},
            "stats": {
                "pagesProcessed": page,
                "totalPages": 10**7,
                "successfulRequests": page,
                "failedRequests": 5,
            },
        }
        return http_request("PUT", f"{JOBS}/{next(ids)}", body=body)

    return Load("PUT", 200, next_request)


def creations(_: Dataset) -> Load:
    """Return creations of a job each, in turn for all domains."""
    numbers = itertools.count()

    def next_request(_: int) -> bytes:
        body = {
            "domain": f"d{next(numbers) % DOMAINS}.example",
            "priority": 7,
            "config": CONFIG,
            "metadata": METADATA,
        }
        return http_request("POST", JOBS, body=body)

    return Load("POST", 201, next_request)


def claims(dataset: Dataset) -> Load:
    """Return claims of a job each, as long as jobs are pending; each connection is a worker."""
    requests = [
        http_request(
            "POST",
            f"{JOBS}/next",
            body={"worker_id": f"{WORKER}-{number}", "lease_seconds": LEASE_SECONDS},
        )
        for number in range(CONNECTIONS)
    ]
    limit = max(dataset.count("pending") - LEFT_PENDING, 0)
    return Load("claim", 200, requests.__getitem__, limit)


def _reads(ids: Sequence[str], *headers: str) -> Callable[[int], bytes]:
    requests: Iterator[bytes] = itertools.cycle(
        [http_request("GET", f"{JOBS}/{job_id}", *headers) for job_id in ids]
    )
    return lambda _: next(requests)


LOADS: dict[str, Callable[[Dataset], Load]] = {
    "GET": reads,
    "GET, 304": conditional_reads,
    "PUT": progress_reports,
    "POST": creations,
    "claim": claims,
}
"""The loads in the order in which they run: creations leave pending jobs for the claims."""
