"""The sweeper: rescues jobs from workers whose lease has expired.

Any number of sweepers may run at the same time, in any processes.
"""

import logging
import random
from uuid import UUID

from app.errors import LockTimeout
from app.events.provenance import SYSTEM, Provenance
from app.jobs import lease_queries, leases
from app.jobs.change_request import Retry
from app.queue.backoff import delay_seconds

log = logging.getLogger(__name__)

SWEEP_BATCH = 100
MAX_SWEPT_JOBS = 1000
"""After how many jobs a sweep ends; the next sweep continues."""


def sweep() -> int:
    """Rescue the jobs whose lease has expired, and return how many were rescued.

    Each rescue is a transaction of its own, which checks the lease again under the row's lock:
    another sweeper may rescue the same job, and its worker may send a heartbeat just then. A job
    that another transaction has locked is skipped until the next sweep.

    Raises:
        DatabaseFailure: The database did not answer, or refused a statement.
    """
    rescued = 0
    locked: set[UUID] = set()
    while True:
        limit = SWEEP_BATCH + len(locked)
        expired = lease_queries.expired(limit)
        new = [job for job in expired if job[0] not in locked]
        random.shuffle(new)  # two sweepers should not follow each other from row to row
        for job_id, worker_id, retry_count in new:
            try:
                rescued += _rescue(job_id, worker_id, retry_count)
            except LockTimeout:
                locked.add(job_id)
        if len(expired) < limit or not new or rescued + len(locked) >= MAX_SWEPT_JOBS:
            break
    if locked:
        log.warning(
            "%d expired jobs are locked by other transactions and wait for the next sweep",
            len(locked),
        )
    return rescued


def _rescue(job_id: UUID, worker_id: str, retry_count: int) -> bool:
    delay = delay_seconds(retry_count, random.random())  # noqa: S311 - jitter, no secret
    return leases.rescue(job_id, worker_id, Retry(delay_seconds=delay), Provenance(SYSTEM, None))
