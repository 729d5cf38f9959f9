"""The sweeper: takes jobs back from workers that give no sign of life. Any number may run, in any
processes."""

import logging
import random
from uuid import UUID

from app.errors import LockTimeout
from app.events.provenance import SYSTEM, Provenance
from app.jobs import lease_queries, leases
from app.jobs.change_request import Retry
from app.queue.backoff import delay_seconds

log = logging.getLogger(__name__)

BATCH = 100
MOST = 1000
"""Jobs after which a sweep ends, and the next one goes on."""


def sweep() -> int:
    """Rescue the jobs whose lease has run out and return how many there were. Raises
    DatabaseFailure.

    Each is a transaction of its own, which looks again under the row's lock: sweepers may meet at a
    job, and its worker may come back just then. A job that another transaction holds is passed over
    until the next sweep.
    """
    rescued = 0
    held: set[UUID] = set()
    while True:
        limit = BATCH + len(held)
        found = lease_queries.expired(limit)
        fresh = [job for job in found if job[0] not in held]
        random.shuffle(fresh)  # two sweepers should not follow each other from row to row
        for job_id, worker_id, retry_count in fresh:
            how = Retry(delay_seconds=delay_seconds(retry_count, random.random()))  # noqa: S311 - spreads, hides nothing
            try:
                rescued += leases.rescue(job_id, worker_id, how, Provenance(SYSTEM, None))
            except LockTimeout:
                held.add(job_id)
        if len(found) < limit or not fresh or rescued + len(held) >= MOST:
            break
    if held:
        log.warning(
            "%d expired jobs are locked by other transactions: the next sweep looks at them again",
            len(held),
        )
    return rescued
