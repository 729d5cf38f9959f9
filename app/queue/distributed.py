"""The claim's second form, for jobs that are spread over several machines (Citus).

There no statement may lock rows of more than one shard, so candidates are found without a lock,
best first, and each is taken by its id. Limits are kept by the same lock as in the first form, with
the look and the taking in its transaction.
"""

import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.lease_queries import take
from app.jobs.models import MAX_PRIORITY, pending_in
from app.jobs.representation import job_json
from app.queue.order import DUE, LIMIT, RANK, WANTED
from app.queue.queries import Leased, Wanted

SPARE = 64
"""How many more candidates of each priority are looked at than are to be taken: others take at the
same time."""

ROUNDS = 6
"""How often candidates are looked for, where the last ones could not all be had."""

PAUSE_SECONDS = 0.02

RUNNING = Statement(
    "count_running_by_domain",
    # Promises: how many jobs of each domain run.
    "SELECT j.domain, count(*) FROM scrape_jobs j WHERE (j.status = 'running') IS TRUE GROUP BY j.domain",
    past_row_security=True,
)

CANDIDATES = Statement(
    "find_candidates",
    # Promises: at most `candidates` due jobs of one priority, the longest due first, of domains
    # that are not full.
    f"""
    SELECT {RANK}, j.id, j.domain, {LIMIT} FROM scrape_jobs j
    WHERE {pending_in("due", "j.status")} AND j.priority = %(priority)s::int AND {DUE} <= now() AND {WANTED}
        AND NOT EXISTS (SELECT FROM unnest(%(busy_domains)s::text[], %(running_jobs)s::bigint[]) AS r (domain, jobs)
            WHERE r.domain = j.domain AND r.jobs >= {LIMIT})
    ORDER BY {DUE}, j.id LIMIT %(candidates)s::int
    """,
)

LOCK = Statement(
    "lock_domain",
    # Promises: nobody else who asks looks at this domain's limit until the transaction ends; or
    # false.
    "SELECT pg_try_advisory_xact_lock(hashtextextended('queue ' || %(domain)s::text, 0))",
)

COUNT = Statement(
    "count_running",
    # Promises: how many jobs of the domain run.
    "SELECT count(*) FROM scrape_jobs j WHERE (j.status = 'running') IS TRUE AND j.domain = %(domain)s::text",
    past_row_security=True,
)

TAKE = Statement(
    "take_job",
    # Promises: the job runs from now on, leased to this worker; or no row: it is not due and
    # pending any more, or somebody else has it locked.
    f"""
    WITH picked AS MATERIALIZED (
        SELECT j.*, greatest(now(), j.updated_at) AS t, %(token)s::text AS token FROM scrape_jobs j
        WHERE j.id = %(id)s::uuid AND j.status = 'pending' AND {DUE} <= now() FOR NO KEY UPDATE SKIP LOCKED
    ), {take("AND j.id = %(id)s::uuid")}
    SELECT job.id, {job_json("job")} FROM job
    """,
)


class _Candidate(NamedTuple):
    rank: Any
    id: UUID
    domain: str
    limit: int | None


def claim(
    wanted: Wanted,
    worker_id: str,
    lease_seconds: int,
    tokens: Sequence[str],
    provenance: Provenance,
) -> Sequence[Leased]:
    """Lease at most as many jobs to the worker as there are `tokens`; see `queries.claim`."""
    jobs: list[Leased] = []
    for _ in range(ROUNDS):
        candidates = _candidates(wanted, len(tokens) + SPARE)
        passed_over = _take(candidates, jobs, worker_id, lease_seconds, tokens, provenance)
        if len(jobs) == len(tokens) or not passed_over:
            break
        time.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311 - lets rivals pass, hides nothing
    return sorted(jobs)


def _take(
    candidates: Sequence[_Candidate],
    jobs: list[Leased],
    worker_id: str,
    lease_seconds: int,
    tokens: Sequence[str],
    provenance: Provenance,
) -> int:
    """Take candidates, one after another, until there are enough `jobs`; return how many could not
    be had."""
    work = {
        "worker_id": worker_id,
        "lease_seconds": lease_seconds,
        **events.provenance_parameters("claimed", provenance),
    }
    passed_over = 0
    for candidate in candidates:
        if len(jobs) == len(tokens):
            break
        token, taken = tokens[len(jobs)], []
        with database.transaction():
            if candidate.limit is None or _has_room(candidate.domain, candidate.limit):
                taken = database.run(TAKE, {**work, "id": str(candidate.id), "token": token})
        jobs.extend(Leased(candidate.rank, job_id, token, text) for job_id, text in taken)
        passed_over += not taken
    return passed_over


def _candidates(wanted: Wanted, count: int) -> Sequence[_Candidate]:
    running = database.run(RUNNING, {})
    parameters = {
        **wanted.parameters(),
        "busy_domains": [domain for domain, _ in running],
        "running_jobs": [jobs for _, jobs in running],
        "candidates": count,
    }
    found = [
        _Candidate(*row)
        for priority in range(1, MAX_PRIORITY + 1)
        for row in database.run(CANDIDATES, {**parameters, "priority": priority})
    ]
    return sorted(found, key=lambda candidate: (candidate.rank, candidate.id))


def _has_room(domain: str, limit: int) -> bool:
    locked = database.run(LOCK, {"domain": domain})[0][0]
    return bool(locked) and database.run(COUNT, {"domain": domain})[0][0] < limit
