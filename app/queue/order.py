"""The queue's order, as SQL: which due jobs come next.

The highest priority comes first; among equal priorities, the job that has been due the longest.
Waiting ages a job: one step of priority is worth AGING_SECONDS of waiting. A job of the lowest
priority therefore comes before every job that becomes due nine such steps later, and none starves.

Pending jobs are read in partitions. A partition of the queue is the set of pending jobs that share
one priority, and depending on the partitioning also the job type, the customer, or the domain. (It
is no partition of a PostgreSQL table.) Ageing never changes the order inside a partition, so an
index returns the first jobs of each, and a claim merges them. It costs the same however many jobs
wait, and jobs that are not due yet cost nothing.

Concurrency limits complicate this: behind the jobs of a domain that has reached its limit, jobs of
other domains may wait. A coarse partition is read past MAX_SKIPPED_JOBS such jobs. If that is not
enough, the partition is cut off, and the claim is repeated with the finer partitioning
"all_domains": one domain and one concurrency limit each, so that a full domain is skipped in one
step.

Mostly no limit prevents the first jobs from starting. So a small claim first reads only these, and
the limits of those that it tries are checked one by one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.database.tenant_scope import PARAMETER, visible_rows
from app.jobs.models import MAX_PRIORITY, pending_in

AGING_SECONDS = 4 * 3600
MAX_SKIPPED_JOBS = 150
"""How many jobs a coarse partition is read past because they cannot start."""

DUE_AT = "greatest(j.scheduled_for, j.created_at)"
RANK = f"{DUE_AT} - j.priority * interval '{AGING_SECONDS} seconds'"

JOB_LIMIT = "least(%(domain_limit)s::int, j.max_concurrent)"
"""How many jobs of its domain may run when `j` starts, including `j`; null for no limit."""

MATCHES_FILTER = (
    "(%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))"
    " AND (%(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[]))"
    f" AND {visible_rows('j')}"
)
"""Whether the worker accepts `j`, and the caller's tenant scope includes it."""

_PRIORITIES = f"generate_series(1, {MAX_PRIORITY}) AS p (priority)"
_OWN_LIMIT = "coalesce(j.max_concurrent, 0)"


def _free_slots(limit: str, domain: str) -> str:
    """Return SQL for how many more jobs of the domain may start, judged without a lock."""
    return f"""CASE WHEN {limit} IS NOT NULL THEN {limit} - (SELECT count(*) FROM (
        SELECT FROM scrape_jobs r WHERE (r.status = 'running') IS TRUE AND r.domain = {domain}
        LIMIT {limit}) AS r) END"""


@dataclass(frozen=True, slots=True)
class _CoarsePartitioning:
    """A way to divide the queue into partitions that share the priority.

    Attributes:
        index: The index to read, a name for `pending_in`.
        values: A FROM item; a partition has one `value` of it, too.
        condition: Further SQL that selects the jobs with that value.
    """

    index: str
    values: str = "(VALUES (1))"
    condition: str = ""


def _first_jobs(coarse: _CoarsePartitioning) -> str:
    """Return SQL for the first `candidates` jobs of all partitions, whether they may start or not.

    The worker must accept all jobs of the partitions.
    """
    return f"""
    SELECT f.* FROM {_PRIORITIES} CROSS JOIN {coarse.values} AS v (value) CROSS JOIN LATERAL (
        SELECT j.id, j.domain, j.max_concurrent, {RANK} AS rank FROM scrape_jobs j
        WHERE {pending_in(coarse.index, "j.status")} AND j.priority = p.priority
            AND {DUE_AT} <= now() {coarse.condition} AND {visible_rows("j")}
        ORDER BY {DUE_AT}, j.id LIMIT %(candidates)s::int
    ) AS f
    ORDER BY f.rank, f.id LIMIT %(candidates)s::int"""


def _coarse(coarse: _CoarsePartitioning) -> str:
    """Return SQL for the first jobs of each partition that may start."""
    return f"""
    SELECT concat_ws(' ', v.value, p.priority) AS partition_key,
        f.id, f.domain, f.rank, f.free_slots, f.ready, f.position = %(window)s::int AS cut_off
    FROM {_PRIORITIES} CROSS JOIN {coarse.values} AS v (value) CROSS JOIN LATERAL (
        SELECT w.*, w.matches AND coalesce(w.free_slots > 0, true) AS ready FROM (
            SELECT s.*, row_number() OVER (ORDER BY s.due_at) AS position FROM (
                SELECT j.id, j.domain, {DUE_AT} AS due_at, {RANK} AS rank,
                    {MATCHES_FILTER} AS matches,
                    {_free_slots(JOB_LIMIT, "j.domain")} AS free_slots
                FROM scrape_jobs j
                WHERE {pending_in(coarse.index, "j.status")} AND j.priority = p.priority
                    AND {DUE_AT} <= now() {coarse.condition}
                ORDER BY {DUE_AT} LIMIT %(window)s::int
            ) AS s
        ) AS w
        WHERE (w.matches AND coalesce(w.free_slots > 0, true)) OR w.position = %(window)s::int
        ORDER BY w.due_at LIMIT %(candidates)s::int
    ) AS f"""


def _fine(index: str, given: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return SQL for the first jobs of partitions that share all leading columns of an index.

    These columns are the domain, perhaps the job type, the priority and the job's own limit. The
    best jobs are in the partitions whose first job is among the best, so at most `candidates`
    partitions are read beyond their first job.

    Args:
        index: The index to read, a name for `pending_in`.
        given: Leading columns whose values the worker gives, with the names of the parameters that
            hold them. The values of the other columns are found by a loose index scan: each step
            is one index lookup of the next combination (PostgreSQL wiki, "Loose indexscan").
    """
    walked = [column for column in ("domain", "priority") if column not in given]
    names = [*given, *walked, "own_limit"]
    columns = ", ".join([f"j.{column}" for column in walked] + [_OWN_LIMIT])
    values = " CROSS JOIN ".join(
        f"unnest(%({given[column]})s::text[]) AS {column}s ({column})" for column in given
    )
    conditions = "".join(f" AND j.{column} = {column}s.{column}" for column in given)
    given_columns = "".join(f"{column}s.{column}, " for column in given)
    part = f"""SELECT {given_columns}{columns} FROM scrape_jobs j
                    WHERE {pending_in(index, "j.status")} {conditions}"""
    order = f"ORDER BY {columns} LIMIT 1"
    last = ", ".join(f"part.{name}" for name in (*walked, "own_limit"))
    limit = "least(%(domain_limit)s::int, nullif(part.own_limit, 0))"
    same = "".join(f" AND j.{column} = part.{column}" for column in (*given, *walked))
    ready = f"""
        SELECT j.id, {RANK} AS rank FROM scrape_jobs j
        WHERE {pending_in(index, "j.status")} {same} AND {_OWN_LIMIT} = part.own_limit
            AND {DUE_AT} <= now() AND {MATCHES_FILTER}
        ORDER BY {DUE_AT}"""
    return f"""
    SELECT concat_ws(' ', {", ".join(f"part.{name}" for name in names)}) AS partition_key,
        f.id, part.domain, f.rank, part.free_slots, true AS ready, false AS cut_off
    FROM (
        SELECT part.* FROM {f"{values} CROSS JOIN LATERAL" if given else ""} (
            WITH RECURSIVE part ({", ".join(names)}) AS (
                ({part} {order})
                UNION ALL
                SELECT n.* FROM part CROSS JOIN LATERAL (
                    {part} AND ({columns}) > ({last}) {order}) AS n
            )
            SELECT * FROM (
                SELECT part.*, {_free_slots(limit, "part.domain")} AS free_slots FROM part) AS part
            WHERE coalesce(part.free_slots > 0, true)
        ) AS part CROSS JOIN LATERAL ({ready} LIMIT 1) AS first
        ORDER BY first.rank LIMIT %(candidates)s::int
    ) AS part CROSS JOIN LATERAL ({ready} LIMIT %(candidates)s::int) AS f"""


_COARSE = {
    "all": _CoarsePartitioning("due"),
    "types": _CoarsePartitioning(
        "type_due", "unnest(%(job_types)s::text[])", "AND j.job_type = v.value"
    ),
    "customer": _CoarsePartitioning(
        "customer_due", condition=f"AND j.customer_config_id = %({PARAMETER})s::uuid"
    ),
}

PARTITIONINGS = {
    **{name: _coarse(coarse) for name, coarse in _COARSE.items()},
    "domains": _fine("domain_due", {"domain": "domains"}),
    "domains_and_types": _fine("domain_type_due", {"domain": "domains", "job_type": "job_types"}),
    "all_domains": _fine("domain_due"),
}
"""The ways to divide the queue into partitions, each with the SQL that reads them.

The SQL returns at most `candidates` rows of each partition, which `partition_key` names. `ready`
says whether the job may start, `free_slots` how many jobs the domain's limit still allows, and
`cut_off` whether the partition was not read far enough to return `candidates` jobs."""

FIRST_JOBS = {name: _first_jobs(coarse) for name, coarse in _COARSE.items()}
"""For the partitionings of which a worker may accept all jobs, the SQL that reads the first ones.

It returns at most `candidates` due jobs, in the order of the queue."""
