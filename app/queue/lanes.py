"""The queue's order, as SQL: which due jobs come next.

The highest priority goes first, and of equal ones the job that has been due the longest. Waiting ages a job: one step
of priority is worth as much as AGING_SECONDS of waiting, so that a job of the lowest priority goes before every job
that becomes due nine such steps after it, and none starves.

Pending jobs are read in lanes, each of one priority, whose order no ageing changes: an index gives the first of each,
and the firsts are merged. So a claim costs the same however many jobs wait, and those that are not due yet cost
nothing. Limits stand in the way of that: behind the jobs of a domain that runs as many as it may, others can wait. A
lane is followed past such jobs for WINDOW rows; if that is not enough, the same question is asked of lanes by domain,
where a domain that is full is one step.
"""

from app.jobs.models import MAX_PRIORITY

AGING_SECONDS = 4 * 3600
WINDOW = 500

DUE = "greatest(j.scheduled_for, j.created_at)"
RANK = f"{DUE} - j.priority * interval '{AGING_SECONDS} seconds'"

LIMIT = "least(%(domain_limit)s::int, j.max_concurrent)"
"""How many jobs of its domain may run when `j` starts, itself included; null: any number."""

FULL = f"""CASE WHEN {LIMIT} IS NULL THEN false ELSE {LIMIT} <= (SELECT count(*) FROM (
    SELECT FROM scrape_jobs r WHERE r.status = 'running' AND r.domain = j.domain LIMIT {LIMIT}) AS r) END"""
"""Whether the limit keeps `j` from starting, as far as a statement sees that another one may be changing."""

WANTED = (
    "(%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))"
    " AND (%(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[]))"
    " AND (%(customer)s::uuid IS NULL OR j.customer_config_id = %(customer)s::uuid)"
)
"""Whether the worker takes `j`."""

_PRIORITIES = f"generate_series(1, {MAX_PRIORITY}) AS p (priority)"


def _coarse(values: str, condition: str) -> str:
    """Return SQL for the best `candidates` of lanes of one priority, and perhaps of one `value` of `values`."""
    return f"""
    SELECT f.id, f.rank, f.position = {WINDOW} AS cut_off, f.ready
    FROM {_PRIORITIES} CROSS JOIN {values} CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT s.*, row_number() OVER (ORDER BY s.due) AS position FROM (
                SELECT j.id, {DUE} AS due, {RANK} AS rank, {WANTED} AND NOT {FULL} AS ready
                FROM scrape_jobs j
                WHERE j.status = 'pending' AND j.priority = p.priority AND {DUE} <= now() {condition}
                ORDER BY {DUE} LIMIT {WINDOW}
            ) AS s
        ) AS w WHERE w.ready OR w.position = {WINDOW} ORDER BY w.due LIMIT %(candidates)s::int
    ) AS f"""


_BY_DOMAIN = f"""
    SELECT f.id, f.rank, false AS cut_off, true AS ready
    FROM (
        WITH RECURSIVE head AS (
            (SELECT j.domain, j.priority FROM scrape_jobs j WHERE j.status = 'pending'
             ORDER BY j.domain, j.priority LIMIT 1)
            UNION ALL
            SELECT n.* FROM head CROSS JOIN LATERAL (
                SELECT j.domain, j.priority FROM scrape_jobs j
                WHERE j.status = 'pending' AND (j.domain, j.priority) > (head.domain, head.priority)
                ORDER BY j.domain, j.priority LIMIT 1
            ) AS n
        )
        SELECT head.* FROM head
        WHERE (%(domains)s::text[] IS NULL OR head.domain = ANY(%(domains)s::text[]))
            AND (%(domain_limit)s::int IS NULL OR (SELECT count(*) FROM scrape_jobs r
                WHERE r.status = 'running' AND r.domain = head.domain) < %(domain_limit)s::int)
    ) AS lane CROSS JOIN LATERAL (
        SELECT j.id, {RANK} AS rank FROM scrape_jobs j
        WHERE j.status = 'pending' AND j.domain = lane.domain AND j.priority = lane.priority AND {DUE} <= now()
            AND {WANTED} AND NOT {FULL}
        ORDER BY {DUE} LIMIT %(candidates)s::int
    ) AS f"""

LANES = {
    "all": _coarse("(VALUES (1)) AS v (value)", ""),
    "types": _coarse("unnest(%(job_types)s::text[]) AS v (value)", "AND j.job_type = v.value"),
    "domains": _coarse("unnest(%(domains)s::text[]) AS v (value)", "AND j.domain = v.value"),
    "customer": _coarse("(VALUES (%(customer)s::uuid)) AS v (value)", "AND j.customer_config_id = v.value"),
    "by_domain": _BY_DOMAIN,
}
"""SQL by the lanes that it reads: rows of id, rank, whether they are `ready` to start, and whether one lane was
`cut_off` before it had enough of them."""
