"""The SQL that claims jobs and shows which ones come next."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app import database
from app.database import Statement
from app.database.page_size import fit_page
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.lease_queries import LEASE_ARGUMENTS, lease_parameters, take
from app.jobs.representation import job_json
from app.queue.claims import ClaimedJob, ClaimFilter, ClaimRequest, UpcomingJob
from app.queue.order import DUE_AT, FIRST_JOBS, JOB_LIMIT, MAX_SKIPPED_JOBS, PARTITIONINGS


def _candidates(partitioning: str) -> str:
    """Return the clauses that find the `candidates` jobs that come next, without locking them.

    ``candidate`` is empty if a partition was cut off: the jobs behind the cut might come before the
    jobs that were found.
    """
    return f"""found AS MATERIALIZED ({PARTITIONINGS[partitioning]}
    ), cut AS MATERIALIZED (SELECT coalesce(bool_or(f.cut_off), false) AS off FROM found f
    ), horizon AS MATERIALIZED (
        -- A partition that was read to its limit has more jobs. They may come before jobs of
        -- other partitions, but not before the last job that was read.
        SELECT min(l.last) AS rank FROM (
            SELECT max(f.rank) AS last FROM found f
            GROUP BY f.partition_key HAVING count(*) >= %(candidates)s::int) AS l
    ), candidate AS MATERIALIZED (
        -- A job that exceeds its limit does not run, but the next ones of its domain count it. So
        -- the second one that seems to exceed its limit may be able to start: the domain is read
        -- no further, because a later job must not take its place.
        SELECT e.id, e.rank FROM (
            SELECT n.*, count(*) FILTER (WHERE n.nth > n.free_slots)
                OVER (PARTITION BY n.domain ORDER BY n.rank, n.id) AS exceeding
            FROM (
                SELECT f.*, row_number() OVER (PARTITION BY f.domain ORDER BY f.rank, f.id) AS nth
                FROM found f WHERE f.ready
            ) AS n
        ) AS e, cut, horizon
        WHERE NOT cut.off AND e.exceeding <= 1 AND coalesce(e.nth <= e.free_slots, true)
            AND coalesce(e.rank <= horizon.rank, true)
        ORDER BY e.rank, e.id LIMIT %(candidates)s::int
    )"""


_HAS_MORE = "(SELECT count(*) FROM found WHERE ready) > (SELECT count(*) FROM candidate)"


_STILL_PENDING = "(j.status = 'pending') IS TRUE"
"""A condition in words that no index has: the candidates are then read by id, not by reading all
pending jobs."""


def _claim_statement(partitioning: str) -> Statement:
    return Statement(
        f"claim_{partitioning}",
        promise="At most `limit` of the due jobs that come next run from now on, leased to this"
        " worker. No two claims return the same job, and no limit is exceeded, whatever"
        " other transactions do at the same time. Jobs that others have locked are skipped,"
        " and a domain whose limit another claim checks counts as full. The last row"
        " returns how many candidates were skipped, whether a partition was cut off, and"
        " whether another claim may find more.",
        sql=f"""
        WITH {_candidates(partitioning)}, locked AS MATERIALIZED (
            SELECT j.*, greatest(now(), j.updated_at) AS t, c.rank
            FROM candidate c JOIN scrape_jobs j ON j.id = c.id
            WHERE {_STILL_PENDING} AND {DUE_AT} <= now()
            ORDER BY c.rank, c.id LIMIT %(limit)s::int FOR NO KEY UPDATE OF j SKIP LOCKED
        ), numbered AS MATERIALIZED (
            SELECT j.*, {JOB_LIMIT} AS job_limit,
                row_number() OVER (PARTITION BY j.domain ORDER BY j.rank, j.id) AS nth
            FROM locked j
        ), picked AS MATERIALIZED (
            SELECT n.*, (%(tokens)s::text[])[row_number() OVER (ORDER BY n.rank, n.id)] AS token
            FROM numbered n
            WHERE CASE WHEN n.job_limit IS NULL THEN true
                WHEN NOT pg_try_advisory_xact_lock(hashtextextended('queue ' || n.domain, 0))
                    THEN false
                -- The function reads with a snapshot of its own: this statement's snapshot may
                -- not include the jobs that the lock's last holder has started.
                ELSE running_jobs(n.domain) + n.nth <= n.job_limit END
        ), {take()}
        SELECT picked.rank, job.id, picked.token, {job_json("job")}, NULL, NULL, NULL
        FROM job JOIN picked ON picked.id = job.id
        UNION ALL
        SELECT NULL, NULL, NULL, NULL,
            (SELECT count(*) FROM candidate) - (SELECT count(*) FROM picked), (SELECT off FROM cut),
            {_HAS_MORE}
        ORDER BY rank, id
        """,
        past_row_security=True,
    )


def _claim_first_statement(partitioning: str) -> Statement:
    return Statement(
        f"claim_first_{partitioning}",
        promise="At most one job for each of the `tokens` runs from now on, leased to this worker,"
        " of the first `candidates` due jobs; see claim_jobs_1. The last row returns how many"
        " candidates were skipped.",
        sql=f"""
        WITH candidate AS MATERIALIZED ({FIRST_JOBS[partitioning]}
        ), claimed AS MATERIALIZED (
            SELECT job.* FROM (
                SELECT array_agg(c.id ORDER BY c.rank, c.id) AS ids,
                    array_agg(c.domain ORDER BY c.rank, c.id) AS domains,
                    array_agg(c.max_concurrent ORDER BY c.rank, c.id) AS limits
                FROM candidate c
            ) AS a CROSS JOIN claim_jobs_1(a.ids, a.domains, a.limits, %(domain_limit)s::int,
                %(tokens)s::text[], {LEASE_ARGUMENTS}) AS job
        )
        SELECT c.rank, j.id, j.token, j.job, NULL, NULL, NULL
        FROM claimed j JOIN candidate c ON c.id = j.id
        UNION ALL
        SELECT NULL, NULL, NULL, NULL,
            (SELECT count(*) FROM candidate) - (SELECT count(*) FROM claimed), false, false
        ORDER BY rank, id
        """,
        past_row_security=True,
    )


def _first_candidates() -> str:
    """Return SQL for the first candidates that fit a page."""
    rows = f"""SELECT c.rank, j.id, {job_json("j")} AS json FROM (
        SELECT * FROM candidate ORDER BY rank, id LIMIT %(shown)s::int) AS c
        JOIN scrape_jobs j ON j.id = c.id"""
    return fit_page(rows, "rank, id")


def _upcoming_statement(partitioning: str) -> Statement:
    return Statement(
        f"next_{partitioning}",
        promise="At most `shown` of the jobs that a claim would return now if it were the only"
        " one, as many as fit a page. The last row returns whether a partition was cut off.",
        sql=f"""
        WITH {_candidates(partitioning)}
        SELECT s.rank, s.id, s.json, NULL FROM ({_first_candidates()}) AS s
        UNION ALL SELECT NULL, NULL, NULL, (SELECT off FROM cut)
        ORDER BY rank, id
        """,
        past_row_security=True,
    )


_CLAIM = {partitioning: _claim_statement(partitioning) for partitioning in PARTITIONINGS}
_CLAIM_FIRST = {partitioning: _claim_first_statement(partitioning) for partitioning in FIRST_JOBS}
_UPCOMING = {partitioning: _upcoming_statement(partitioning) for partitioning in PARTITIONINGS}


class ClaimAttempt(NamedTuple):
    """The result of one claim statement.

    Attributes:
        jobs: The claimed jobs.
        skipped: How many further candidates there were; other transactions may hold them.
        cut_off: Whether a partition was cut off, so that no job was claimed.
        has_more: Whether jobs were left out that another attempt may find. They were left out
            because the limit was checked as if all jobs before them had started.
    """

    jobs: Sequence[ClaimedJob]
    skipped: int
    cut_off: bool
    has_more: bool


def claim(
    partitioning: str,
    request: ClaimRequest,
    tokens: Sequence[str],
    extra_candidates: int,
    provenance: Provenance,
) -> ClaimAttempt:
    """Claim at most one job for each of the `tokens`.

    Args:
        partitioning: A name in `order.PARTITIONINGS`.
        request: The worker's request; its `limit` is not used.
        tokens: A new lease token for each job.
        extra_candidates: How many more jobs to consider, because other claims may take some.
        provenance: The provenance of the events.

    Raises:
        DatabaseFailure: The database did not answer, or refused the statement.
    """
    parameters = {
        **request.filter.parameters(),
        "limit": len(tokens),
        **_sizes(len(tokens) + extra_candidates),
        "tokens": list(tokens),
        "worker_id": request.worker_id,
        "lease_seconds": request.lease_seconds,
        **events.provenance_parameters("claimed", provenance),
    }
    return _attempt(_CLAIM[partitioning], parameters)


def claim_first(
    partitioning: str,
    request: ClaimRequest,
    tokens: Sequence[str],
    extra_candidates: int,
    provenance: Provenance,
) -> ClaimAttempt:
    """Claim as `claim` does, but look only at the first jobs of the queue.

    This is cheaper for a few jobs. It does not look past jobs that a limit prevents from starting:
    they count as skipped.

    Args:
        partitioning: A name in `order.FIRST_JOBS`. The worker accepts all jobs of the partitions.
        request: The worker's request; its `limit` is not used.
        tokens: A new lease token for each job.
        extra_candidates: How many more jobs to consider than to claim.
        provenance: The provenance of the events.

    Raises:
        DatabaseFailure: The database did not answer, or refused the statement.
    """
    parameters = {
        **request.filter.parameters(),
        "candidates": len(tokens) + extra_candidates,
        "tokens": list(tokens),
        **lease_parameters(request.worker_id, request.lease_seconds, provenance),
    }
    return _attempt(_CLAIM_FIRST[partitioning], parameters)


def _attempt(statement: Statement, parameters: Mapping[str, Any]) -> ClaimAttempt:
    *rows, (*_, skipped, cut_off, has_more) = database.run(statement, parameters)
    return ClaimAttempt([ClaimedJob(*row[:4]) for row in rows], skipped, cut_off, has_more)


class UpcomingJobs(NamedTuple):
    """The jobs that come next, and whether a partition was cut off, so that none was found."""

    jobs: Sequence[UpcomingJob]
    cut_off: bool


def upcoming(
    partitioning: str, claim_filter: ClaimFilter, limit: int, extra_candidates: int
) -> UpcomingJobs:
    """Return at most `limit` of the jobs that come next, as many as fit a page.

    Args:
        partitioning: A name in `order.PARTITIONINGS`.
        claim_filter: Which jobs to consider.
        limit: How many jobs to return at most.
        extra_candidates: How many more jobs of each partition to consider, because a limit may
            exclude some.

    Raises:
        DatabaseFailure: The database did not answer, or refused the statement.
    """
    parameters = {
        **claim_filter.parameters(),
        **_sizes(limit + extra_candidates),
        "shown": limit,
    }
    *rows, (*_, cut_off) = database.run(_UPCOMING[partitioning], parameters)
    return UpcomingJobs([UpcomingJob(*row[:3]) for row in rows], cut_off)


def _sizes(candidates: int) -> Mapping[str, Any]:
    return {"candidates": candidates, "window": candidates + MAX_SKIPPED_JOBS}
