"""The queue's order, as SQL: which due jobs come next.

The highest priority goes first, and of equal ones the job that has been due the longest. Waiting
ages a job: one step of priority is worth as much as AGING_SECONDS of waiting, so that a job of the
lowest priority goes before every job that becomes due nine such steps after it, and none starves.

Pending jobs are read in lanes, each of one priority, whose order no ageing changes: an index gives
the first of each, and the firsts are merged. So a claim costs the same however many jobs wait, and
those that are not due yet cost nothing. Limits stand in the way of that: behind the jobs of a
domain that runs as many as it may, others can wait. A lane is followed past WINDOW such jobs; if
that is not enough, the same question is asked of finer lanes, of one domain and one limit each,
where everything that is full is one step.
"""

from collections.abc import Mapping
from types import MappingProxyType

from app.database.tenant_scope import PARAMETER, visible_rows
from app.jobs.models import MAX_PRIORITY, pending_in

AGING_SECONDS = 4 * 3600
WINDOW = 150

DUE = "greatest(j.scheduled_for, j.created_at)"
RANK = f"{DUE} - j.priority * interval '{AGING_SECONDS} seconds'"

LIMIT = "least(%(domain_limit)s::int, j.max_concurrent)"
"""How many jobs of its domain may run when `j` starts, itself included; null: any number."""


def _room(limit: str, domain: str) -> str:
    """Return SQL for how many jobs of the domain may start before the limit is reached, as far as
    can be seen."""
    return f"""CASE WHEN {limit} IS NOT NULL THEN {limit} - (SELECT count(*) FROM (
        SELECT FROM scrape_jobs r WHERE (r.status = 'running') IS TRUE AND r.domain = {domain}
        LIMIT {limit}) AS r) END"""


WANTED = (
    "(%(domains)s::text[] IS NULL OR j.domain = ANY(%(domains)s::text[]))"
    " AND (%(job_types)s::text[] IS NULL OR j.job_type = ANY(%(job_types)s::text[]))"
    f" AND {visible_rows('j')}"
)
"""Whether the worker takes `j`."""

_PRIORITIES = f"generate_series(1, {MAX_PRIORITY}) AS p (priority)"


def _coarse(index: str, values: str = "(VALUES (1))", condition: str = "") -> str:
    """Return SQL for the best `candidates` of lanes of one priority, and perhaps of one `value` of
    `values`."""
    return f"""
    SELECT concat_ws(' ', v.value, p.priority) AS lane, f.id, f.domain, f.rank, f.room, f.ready,
        f.position = %(window)s::int AS cut_off
    FROM {_PRIORITIES} CROSS JOIN {values} AS v (value) CROSS JOIN LATERAL (
        SELECT w.*, w.wanted AND coalesce(w.room > 0, true) AS ready FROM (
            SELECT s.*, row_number() OVER (ORDER BY s.due) AS position FROM (
                SELECT j.id, j.domain, {DUE} AS due, {RANK} AS rank, {WANTED} AS wanted,
                    {_room(LIMIT, "j.domain")} AS room
                FROM scrape_jobs j
                WHERE {pending_in(index, "j.status")} AND j.priority = p.priority AND {DUE} <= now() {condition}
                ORDER BY {DUE} LIMIT %(window)s::int
            ) AS s
        ) AS w
        WHERE (w.wanted AND coalesce(w.room > 0, true)) OR w.position = %(window)s::int
        ORDER BY w.due LIMIT %(candidates)s::int
    ) AS f"""


_OWN_LIMIT = "coalesce(j.max_concurrent, 0)"


def _fine(index: str, given: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return SQL for the best `candidates` of lanes that have one value of each of the index's
    leading columns.

    These are the domain, perhaps the job type, the priority and the jobs' own limit. `given` names
    the parameters with the wanted values of some leading columns; the values of the others are
    found by walking from one to the next, each step of which is one look into the index. The best
    jobs are in the lanes whose first are the best, so that no more than `candidates` lanes are read
    any further.
    """
    walked = [column for column in ("domain", "priority") if column not in given]
    names = [*given, *walked, "own_limit"]
    columns = ", ".join([f"j.{column}" for column in walked] + [_OWN_LIMIT])
    values = " CROSS JOIN ".join(
        f"unnest(%({given[column]})s::text[]) AS {column}s ({column})" for column in given
    )
    conditions = "".join(f" AND j.{column} = {column}s.{column}" for column in given)
    lane = f"""SELECT {"".join(f"{column}s.{column}, " for column in given)}{columns} FROM scrape_jobs j
                    WHERE {pending_in(index, "j.status")} {conditions}"""
    order = f"ORDER BY {columns} LIMIT 1"
    last = ", ".join(f"lane.{name}" for name in (*walked, "own_limit"))
    limit = "least(%(domain_limit)s::int, nullif(lane.own_limit, 0))"
    same = "".join(f" AND j.{column} = lane.{column}" for column in (*given, *walked))
    ready = f"""
        SELECT j.id, {RANK} AS rank FROM scrape_jobs j
        WHERE {pending_in(index, "j.status")} {same} AND {_OWN_LIMIT} = lane.own_limit
            AND {DUE} <= now() AND {WANTED}
        ORDER BY {DUE}"""
    return f"""
    SELECT concat_ws(' ', {", ".join(f"lane.{name}" for name in names)}) AS lane, f.id, lane.domain, f.rank, lane.room,
        true AS ready, false AS cut_off
    FROM (
        SELECT lane.* FROM {f"{values} CROSS JOIN LATERAL" if given else ""} (
            WITH RECURSIVE lane ({", ".join(names)}) AS (
                ({lane} {order})
                UNION ALL
                SELECT n.* FROM lane CROSS JOIN LATERAL (
                    {lane} AND ({columns}) > ({last}) {order}) AS n
            )
            SELECT * FROM (SELECT lane.*, {_room(limit, "lane.domain")} AS room FROM lane) AS lane
            WHERE coalesce(lane.room > 0, true)
        ) AS lane CROSS JOIN LATERAL ({ready} LIMIT 1) AS first
        ORDER BY first.rank LIMIT %(candidates)s::int
    ) AS lane CROSS JOIN LATERAL ({ready} LIMIT %(candidates)s::int) AS f"""


LANES = {
    "all": _coarse("due"),
    "types": _coarse("type_due", "unnest(%(job_types)s::text[])", "AND j.job_type = v.value"),
    "customer": _coarse(
        "customer_due", condition=f"AND j.customer_config_id = %({PARAMETER})s::uuid"
    ),
    "domains": _fine("domain_due", {"domain": "domains"}),
    "domains_and_types": _fine("domain_type_due", {"domain": "domains", "job_type": "job_types"}),
    "all_domains": _fine("domain_due"),
}
"""SQL by the lanes that it reads: at most `candidates` rows of each `lane`, which tell whether the
job is `ready` to start, how much `room` its domain's limit leaves, and whether the lane was
`cut_off` before it had enough."""
