"""The claim on a distributed table (Citus), where jobs are spread over several machines.

There, a statement must not lock rows of more than one shard. Candidates are therefore found without
a lock, in the queue's order, and each is claimed by its id in a transaction of its own. Concurrency
limits are kept with the same advisory lock as in `queries.claim`: the transaction that holds it
counts the running jobs and claims the candidate.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app import database
from app.database import Statement
from app.events.provenance import Provenance
from app.jobs import lease_queries
from app.jobs.models import MAX_PRIORITY, pending_in
from app.queue.claims import ClaimedJob, ClaimFilter, ClaimRequest
from app.queue.order import DUE_AT, JOB_LIMIT, MATCHES_FILTER, RANK

EXTRA_CANDIDATES = 64
"""How many more jobs of each priority to consider than to claim, because other claims may take
some."""

MAX_ROUNDS = 6
"""How often to look for candidates if some of the last ones could not be claimed."""

MAX_PAUSE_SECONDS = 0.02

COUNT_RUNNING_BY_DOMAIN = Statement(
    "count_running_by_domain",
    promise="The number of running jobs of each domain.",
    sql="""
    SELECT j.domain, count(*) FROM scrape_jobs j
    WHERE (j.status = 'running') IS TRUE GROUP BY j.domain
    """,
    past_row_security=True,
)

FIND_CANDIDATES = Statement(
    "find_candidates",
    promise="At most `candidates` due jobs of one priority, the longest due first, of domains that"
    " have not reached their limit.",
    sql=f"""
    SELECT {RANK}, j.id, j.domain, j.max_concurrent, {JOB_LIMIT} FROM scrape_jobs j
    WHERE {pending_in("due", "j.status")} AND j.priority = %(priority)s::int
        AND {DUE_AT} <= now() AND {MATCHES_FILTER}
        AND NOT EXISTS (
            SELECT FROM unnest(%(busy_domains)s::text[], %(running_jobs)s::bigint[])
                AS r (domain, jobs)
            WHERE r.domain = j.domain AND r.jobs >= {JOB_LIMIT})
    ORDER BY {DUE_AT}, j.id LIMIT %(candidates)s::int
    """,
)

LOCK_DOMAIN = Statement(
    "lock_domain",
    promise="True, and no other claim checks the limit of this domain until the transaction ends;"
    " or false if another claim checks it now.",
    sql="SELECT pg_try_advisory_xact_lock(hashtextextended('queue ' || %(domain)s::text, 0))",
)

COUNT_RUNNING = Statement(
    "count_running",
    promise="The number of running jobs of the domain.",
    sql="""
    SELECT count(*) FROM scrape_jobs j
    WHERE (j.status = 'running') IS TRUE AND j.domain = %(domain)s::text
    """,
    past_row_security=True,
)


class _Candidate(NamedTuple):
    rank: datetime
    id: UUID
    domain: str
    max_concurrent: int | None
    limit: int | None


def claim(
    request: ClaimRequest, tokens: Sequence[str], provenance: Provenance
) -> Sequence[ClaimedJob]:
    """Claim at most one job for each of the `tokens`; see `queries.claim`."""
    claimed = _ClaimedJobs(request, tokens, provenance)
    for _ in range(MAX_ROUNDS):
        skipped = claimed.add(_candidates(request.filter, len(tokens) + EXTRA_CANDIDATES))
        if claimed.is_complete or not skipped:
            break
        time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))  # noqa: S311 - jitter, no secret
    return sorted(claimed.jobs)


@dataclass
class _ClaimedJobs:
    """The jobs that a request has claimed so far."""

    request: ClaimRequest
    tokens: Sequence[str]
    provenance: Provenance
    jobs: list[ClaimedJob] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return len(self.jobs) == len(self.tokens)

    def add(self, candidates: Sequence[_Candidate]) -> int:
        """Claim candidates until there are enough; return how many could not be claimed."""
        skipped = 0
        for candidate in candidates:
            if self.is_complete:
                break
            skipped += not self._claim(candidate)
        return skipped

    def _claim(self, candidate: _Candidate) -> bool:
        """Return whether the candidate was claimed: not if it is gone or its domain is full."""
        token = self.tokens[len(self.jobs)]
        with database.transaction():
            if candidate.limit is not None and not _may_start(candidate.domain, candidate.limit):
                return False
            text = lease_queries.lease(
                candidate.id,
                candidate.max_concurrent,
                token,
                self.request.worker_id,
                self.request.lease_seconds,
                self.provenance,
            )
        if text is not None:
            self.jobs.append(ClaimedJob(candidate.rank, candidate.id, token, text))
        return text is not None


def _candidates(claim_filter: ClaimFilter, count: int) -> Sequence[_Candidate]:
    """Return at most `count` due jobs of each priority, in the queue's order."""
    running = database.run(COUNT_RUNNING_BY_DOMAIN, {})
    parameters = {
        **claim_filter.parameters(),
        "busy_domains": [domain for domain, _ in running],
        "running_jobs": [jobs for _, jobs in running],
        "candidates": count,
    }
    found = [
        _Candidate(*row)
        for priority in range(1, MAX_PRIORITY + 1)
        for row in database.run(FIND_CANDIDATES, {**parameters, "priority": priority})
    ]
    return sorted(found, key=lambda candidate: (candidate.rank, candidate.id))


def _may_start(domain: str, limit: int) -> bool:
    """Return whether a job of the domain may start in the open transaction."""
    locked = database.run(LOCK_DOMAIN, {"domain": domain})[0][0]
    return bool(locked) and database.run(COUNT_RUNNING, {"domain": domain})[0][0] < limit
