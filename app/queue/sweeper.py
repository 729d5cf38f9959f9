"""The sweeper: takes jobs back from workers that give no sign of life. Any number may run, in any processes."""

import logging
import random

from app.errors import LockTimeout
from app.events.origin import SYSTEM, Origin
from app.jobs import lease_queries, leases
from app.jobs.queries import Retry
from app.queue.backoff import delay_seconds

log = logging.getLogger(__name__)

BATCH = 100
MOST = 1000
"""Jobs after which a sweep ends, and the next one goes on."""


def sweep() -> int:
    """Rescue the jobs whose lease has run out and return how many there were. Raises DatabaseFailure.

    Each is a transaction of its own, which looks again under the row's lock: sweepers may meet at a job, and its worker
    may come back just then.
    """
    rescued = held = 0
    while True:
        found = lease_queries.expired(BATCH)
        random.shuffle(found)  # two sweepers should not follow each other from row to row
        for job_id, worker_id, retry_count in found:
            how = Retry(delay_seconds=delay_seconds(retry_count, random.random()))  # noqa: S311 - spreads, hides nothing
            try:
                rescued += leases.rescue(job_id, worker_id, how, Origin(SYSTEM, None))
            except LockTimeout:
                log.warning(
                    "somebody holds an expired job locked: it is looked at again", extra={"job_id": str(job_id)}
                )
                held += 1
        if len(found) < BATCH or held or rescued >= MOST:
            return rescued
