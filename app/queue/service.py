"""The operations of the queue. They know no HTTP."""

import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from app.errors import JobNotFound
from app.events.provenance import Provenance
from app.jobs.changes import record
from app.jobs.states import Status
from app.queue import distributed, position_queries, queries
from app.queue.claims import ClaimedJob, ClaimFilter, ClaimRequest, UpcomingJob
from app.queue.explanation import explain
from app.queue.position_queries import QueueDepth
from app.waiting import NothingYet, WaitingRequests

EXTRA_CANDIDATES = (8, 50, 100, 200, 400, 800, 1600, 1600)
"""How many more jobs each attempt of a claim considers than it claims, because other claims may
take some."""

EXTRA_UPCOMING = 200
"""How many more jobs to consider than to show as upcoming, because a limit may exclude some."""

MAX_PAUSE_SECONDS = 0.02

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WaitingClient(Generic[T]):
    """The client of a request that may wait for jobs, as functions of the HTTP layer.

    Attributes:
        reauthenticate: Raises NotAuthenticated if the client's API key is no longer valid.
        is_disconnected: Returns whether the client has closed its connection.
        run_once: Runs a function and returns its response, in one transaction with the request's
            idempotency key. A repeated request gets the first response, without a new run. If the
            function raises, the transaction is rolled back, including the use of the key.
        respond: Returns the response that shows the claimed jobs.
    """

    reauthenticate: Callable[[], None]
    is_disconnected: Callable[[], bool]
    run_once: Callable[[Callable[[], T]], T]
    respond: Callable[[Sequence[ClaimedJob]], T]


def claim_or_wait(
    request: ClaimRequest,
    provenance: Provenance,
    client: WaitingClient[T],
    waiting: WaitingRequests,
    *,
    is_distributed: bool,
) -> T:
    """Claim jobs, and wait for up to `request.wait_seconds` while none is due.

    The API key is checked again before each attempt: it may be revoked during the wait.

    Returns:
        The response with the claimed jobs; without jobs if none became due in time.

    Raises:
        NotAuthenticated: The API key is no longer valid.
        DatabaseFailure: The database did not answer, or refused the statement.
    """

    def attempt(is_last: bool) -> T:
        client.reauthenticate()
        return client.run_once(lambda: claim_and_respond(is_last))

    def claim_and_respond(is_last: bool) -> T:
        jobs = claim(request, provenance, is_distributed=is_distributed)
        if not jobs and not is_last:
            raise NothingYet
        return client.respond(jobs)

    response = waiting.wait(attempt, request.wait_seconds, client.is_disconnected)
    return client.respond(()) if response is None else response


def claim(
    request: ClaimRequest, provenance: Provenance, *, is_distributed: bool = False
) -> Sequence[ClaimedJob]:
    """Lease at most `request.limit` of the due jobs that come next to the worker.

    Args:
        request: The worker's request.
        provenance: The provenance of the events.
        is_distributed: Whether the jobs' table is distributed over several machines.

    Returns:
        The claimed jobs, in the queue's order.

    Raises:
        DatabaseFailure: The database did not answer, or refused the statement.
    """
    tokens = [secrets.token_urlsafe(24) for _ in range(request.limit)]
    claim_jobs = distributed.claim if is_distributed else _claim
    jobs = claim_jobs(request, tokens, provenance)
    for job in jobs:
        record("claimed", str(job.id), Status.PENDING, Status.RUNNING, provenance)
    return jobs


def _claim(
    request: ClaimRequest, tokens: Sequence[str], provenance: Provenance
) -> Sequence[ClaimedJob]:
    jobs: list[ClaimedJob] = []
    partitioning = request.filter.partitioning
    for extra in EXTRA_CANDIDATES:
        attempt = queries.claim(partitioning, request, tokens[len(jobs) :], extra, provenance)
        jobs.extend(attempt.jobs)
        if attempt.cut_off:
            partitioning = "all_domains"
        elif len(jobs) == len(tokens) or not (attempt.skipped or attempt.has_more):
            break
        elif not attempt.jobs:
            time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))  # noqa: S311 - jitter, no secret
    return sorted(jobs)


def upcoming(claim_filter: ClaimFilter, limit: int) -> Sequence[UpcomingJob]:
    """Return at most `limit` of the jobs that come next, as many as fit a page; claim none.

    Raises:
        DatabaseFailure: The database did not answer, or refused the statement.
    """
    found = queries.upcoming(claim_filter.partitioning, claim_filter, limit, EXTRA_UPCOMING)
    if found.cut_off:
        found = queries.upcoming("all_domains", claim_filter, limit, EXTRA_UPCOMING)
    return found.jobs


def depth() -> QueueDepth:
    """Return how many jobs are due, and for how long. Raises DatabaseFailure."""
    return position_queries.depth()


def position(job_id: UUID, domain_limit: int | None) -> dict[str, Any]:
    """Return the position of the job in the queue, and why it has not started.

    Raises:
        JobNotFound: The job does not exist.
        DatabaseFailure: The database did not answer, or refused the statement.
    """
    found = position_queries.position(job_id, domain_limit)
    if found is None:
        raise JobNotFound
    return explain(job_id, found)
