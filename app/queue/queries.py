"""The SQL that claims jobs and shows which ones come next."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app import database
from app.database import Statement
from app.database.page_size import fit_page
from app.events.provenance import Provenance
from app.jobs.lease_queries import LEASE_ARGUMENTS, lease_parameters
from app.jobs.representation import job_json
from app.queue.claims import ClaimedJob, ClaimFilter, ClaimRequest, UpcomingJob
from app.queue.order import FIRST_JOBS, MAX_SKIPPED_JOBS, PARTITIONINGS


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
        SELECT n.id, n.domain, n.max_concurrent, n.rank FROM (
            SELECT f.*, row_number() OVER (PARTITION BY f.domain ORDER BY f.rank, f.id) AS nth
            FROM found f WHERE f.ready
        ) AS n, cut, horizon
        WHERE NOT cut.off AND coalesce(n.nth <= n.free_slots, true)
            AND coalesce(n.rank <= horizon.rank, true)
        ORDER BY n.rank, n.id LIMIT %(candidates)s::int
    )"""


_CLAIM_PROMISE = (
    "At most `limit` of the due jobs that come next run from now on, leased to this worker; see"
    " claim_jobs_1. The last row returns the number of candidates, whether a partition was cut off,"
    " and whether another claim may find more."
)


def _claim_statement(name: str, candidates: str, cut_off: str, has_more: str) -> Statement:
    """Return the statement that claims jobs of the clause ``candidate``.

    Args:
        name: The name of the statement.
        candidates: The clauses up to ``candidate``.
        cut_off: SQL for whether a partition was cut off.
        has_more: SQL for whether jobs were left out that another claim may find.
    """
    return Statement(
        name,
        promise=_CLAIM_PROMISE,
        sql=f"""
        WITH {candidates}
        SELECT c.rank, claimed.id, claimed.token, claimed.job, NULL, NULL, NULL
        FROM (
            SELECT array_agg(c.id ORDER BY c.rank, c.id) AS ids,
                array_agg(c.domain ORDER BY c.rank, c.id) AS domains,
                array_agg(c.max_concurrent ORDER BY c.rank, c.id) AS limits
            FROM candidate c
        ) AS a
        CROSS JOIN claim_jobs_1(a.ids, a.domains, a.limits, %(domain_limit)s::int,
            %(tokens)s::text[], {LEASE_ARGUMENTS}) AS claimed
        JOIN candidate c ON c.id = claimed.id
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, (SELECT count(*) FROM candidate), {cut_off}, {has_more}
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


_CLAIM_FIRST = {
    partitioning: _claim_statement(
        f"claim_first_{partitioning}", f"candidate AS MATERIALIZED ({jobs})", "false", "false"
    )
    for partitioning, jobs in FIRST_JOBS.items()
}
_CLAIM = {
    partitioning: _claim_statement(
        f"claim_{partitioning}",
        _candidates(partitioning),
        cut_off="(SELECT off FROM cut)",
        has_more="(SELECT count(*) FROM found WHERE ready) > (SELECT count(*) FROM candidate)",
    )
    for partitioning in PARTITIONINGS
}
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
    *,
    only_first: bool = False,
) -> ClaimAttempt:
    """Claim at most one job for each of the `tokens`.

    Args:
        partitioning: A name in `order.PARTITIONINGS`.
        request: The worker's request; its `limit` is not used.
        tokens: A new lease token for each job.
        extra_candidates: How many more jobs to consider, because other claims may take some.
        provenance: The provenance of the events.
        only_first: Whether to consider only the first jobs, without looking past those that a limit
            prevents. It is cheaper, and needs a name in `order.FIRST_JOBS`.

    Raises:
        DatabaseFailure: The database did not answer, or refused the statement.
    """
    statement = (_CLAIM_FIRST if only_first else _CLAIM)[partitioning]
    parameters = {
        **request.filter.parameters(),
        **_sizes(len(tokens) + extra_candidates),
        "tokens": list(tokens),
        **lease_parameters(request.worker_id, request.lease_seconds, provenance),
    }
    *rows, (*_, candidates, cut_off, has_more) = database.run(statement, parameters)
    jobs = [ClaimedJob(*row[:4]) for row in rows]
    return ClaimAttempt(jobs, candidates - len(jobs), cut_off, has_more)


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
