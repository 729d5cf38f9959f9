"""The queue's SQL: taking jobs, showing what comes next, and where a job stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, tenant_scope, timestamp
from app.database.page_size import fitting
from app.database.tenant_scope import visible_rows
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.lease_queries import take
from app.jobs.models import MAX_PRIORITY, pending_in
from app.jobs.representation import job_json
from app.queue.order import AGING_SECONDS, DUE, LANES, LIMIT, WINDOW

MAX_PAIRS = 100
"""Pairs of a domain and a job type that are looked at one by one: each costs a look, whether it has
jobs or not."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs a worker takes: None is any; `domain_limit` is how many of one domain may run at
    once (None: any)."""

    job_types: Sequence[str] | None = None
    domains: Sequence[str] | None = None
    domain_limit: int | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the statements' parameters."""
        return {
            "job_types": self.job_types,
            "domains": self.domains,
            "domain_limit": self.domain_limit,
        }

    @property
    def lanes(self) -> str:
        """The lanes to read first: those that hold the fewest jobs that are not wanted."""
        if self.domains is not None:
            few = (
                self.job_types is not None and len(self.domains) * len(self.job_types) <= MAX_PAIRS
            )
            return "domains_and_types" if few else "domains"
        if tenant_scope.customer() is not None:
            return "customer"
        return "all" if self.job_types is None else "types"


def _candidates(lanes: str) -> str:
    """Return the clauses of the `candidates` jobs that come next, as far as can be told without
    locking them.

    ``candidate`` is empty where a lane was cut off: what is behind the cut might come before what
    was found.
    """
    return f"""found AS MATERIALIZED ({LANES[lanes]}
    ), cut AS MATERIALIZED (SELECT coalesce(bool_or(f.cut_off), false) AS off FROM found f
    ), horizon AS MATERIALIZED (
        -- What is behind the last one seen of a lane that goes on may come before what is found of others.
        SELECT min(l.last) AS rank FROM (
            SELECT max(f.rank) AS last FROM found f GROUP BY f.lane HAVING count(*) >= %(candidates)s::int) AS l
    ), candidate AS MATERIALIZED (
        SELECT n.id, n.rank FROM (
            SELECT f.*, row_number() OVER (PARTITION BY f.domain ORDER BY f.rank, f.id) AS nth FROM found f
            WHERE f.ready
        ) AS n, cut, horizon
        WHERE NOT cut.off AND coalesce(n.nth <= n.room, true) AND coalesce(n.rank <= horizon.rank, true)
        ORDER BY n.rank, n.id LIMIT %(candidates)s::int
    )"""


_GOES_ON = "(SELECT count(*) FROM found WHERE ready) > (SELECT count(*) FROM candidate)"


_STILL_PENDING = "(j.status = 'pending') IS TRUE"
"""Words that no index has: the candidates are read again by their ids, not among all pending
jobs."""


def _claim(lanes: str) -> Statement:
    return Statement(
        f"claim_{lanes}",
        # Promises: at most `limit` of the due jobs that come next run from now on, leased to this
        # worker; no two claims get the same one, and no limit is exceeded, whatever else happens at
        # the moment. What others hold locked is passed over, and a domain whose limit another claim
        # is looking at counts as full: the last row says how many more there were for the taking,
        # whether a lane was cut off, and whether another look may find more.
        f"""
        WITH {_candidates(lanes)}, locked AS MATERIALIZED (
            SELECT j.*, greatest(now(), j.updated_at) AS t, c.rank FROM candidate c JOIN scrape_jobs j ON j.id = c.id
            WHERE {_STILL_PENDING} AND {DUE} <= now()
            ORDER BY c.rank, c.id LIMIT %(limit)s::int FOR NO KEY UPDATE OF j SKIP LOCKED
        ), numbered AS MATERIALIZED (
            SELECT j.*, {LIMIT} AS most, row_number() OVER (PARTITION BY j.domain ORDER BY j.rank, j.id) AS nth
            FROM locked j
        ), picked AS MATERIALIZED (
            SELECT n.*, (%(tokens)s::text[])[row_number() OVER (ORDER BY n.rank, n.id)] AS token FROM numbered n
            WHERE CASE WHEN n.most IS NULL THEN true
                WHEN NOT pg_try_advisory_xact_lock(hashtextextended('queue ' || n.domain, 0)) THEN false
                -- A fresh look: of what the lock's last holder has committed, this statement's own may know nothing.
                ELSE running_jobs(n.domain) + n.nth <= n.most END
        ), {take()}
        SELECT picked.rank, job.id, picked.token, {job_json("job")}, NULL, NULL, NULL
        FROM job JOIN picked ON picked.id = job.id
        UNION ALL
        SELECT NULL, NULL, NULL, NULL,
            (SELECT count(*) FROM candidate) - (SELECT count(*) FROM picked), (SELECT off FROM cut),
            {_GOES_ON}
        ORDER BY rank, id
        """,
        past_row_security=True,
    )


def _shown() -> str:
    """Return SQL for the first candidates that fit a page."""
    rows = f"""SELECT c.rank, j.id, {job_json("j")} AS json FROM (
        SELECT * FROM candidate ORDER BY rank, id LIMIT %(shown)s::int) AS c JOIN scrape_jobs j ON j.id = c.id"""
    return fitting(rows, "rank, id")


def _next(lanes: str) -> Statement:
    return Statement(
        f"next_{lanes}",
        # Promises: at most `shown` of the jobs that a claim would take if no other one took any, as
        # many as fit a page; or that a lane was cut off.
        f"""
        WITH {_candidates(lanes)}
        SELECT s.rank, s.id, NULL, s.json, NULL, NULL, NULL FROM ({_shown()}) AS s
        UNION ALL SELECT NULL, NULL, NULL, NULL, 0, (SELECT off FROM cut), {_GOES_ON}
        ORDER BY rank, id
        """,
        past_row_security=True,
    )


_CLAIM = {lanes: _claim(lanes) for lanes in LANES}
_NEXT = {lanes: _next(lanes) for lanes in LANES}


class Leased(NamedTuple):
    """A job that was taken, with the token that proves its lease; the token is None where it was
    only looked at."""

    rank: datetime
    id: UUID
    token: str
    json: str


class Found(NamedTuple):
    """What a look into the lanes gave.

    Jobs; how many more could have been had; whether a lane was `cut_off`, so that it was for
    nothing; and whether it `goes_on`: some were left out that another look may find, for their
    limit was judged as if all before them started.
    """

    jobs: Sequence[Leased]
    passed_over: int
    cut_off: bool
    goes_on: bool


def claim(
    lanes: str,
    wanted: Wanted,
    worker_id: str,
    lease_seconds: int,
    tokens: Sequence[str],
    spare: int,
    provenance: Provenance,
) -> Found:
    """Lease at most as many jobs to the worker as there are `tokens`.

    `spare` more candidates are looked at, for some may be about to be taken by others.
    """
    return _found(
        _CLAIM[lanes],
        {
            **wanted.parameters(),
            "limit": len(tokens),
            **_depth(len(tokens) + spare),
            "tokens": list(tokens),
            "worker_id": worker_id,
            "lease_seconds": lease_seconds,
            **events.provenance_parameters("claimed", provenance),
        },
    )


def upcoming(lanes: str, wanted: Wanted, limit: int, spare: int) -> Found:
    """Return at most `limit` of the jobs that come next, as many as fit a page.

    `spare` more candidates of each lane are looked at, of which some may be more than a limit
    allows.
    """
    return _found(_NEXT[lanes], {**wanted.parameters(), **_depth(limit + spare), "shown": limit})


def _depth(candidates: int) -> dict[str, int]:
    return {"candidates": candidates, "window": candidates + WINDOW}


def _found(statement: Statement, parameters: Mapping[str, Any]) -> Found:
    *rows, (*_, passed_over, cut_off, goes_on) = database.run(statement, parameters)
    return Found([Leased(*row[:4]) for row in rows], passed_over, cut_off, goes_on)


DEPTH = Statement(
    "queue_depth",
    # Promises: how many jobs are due, and since when the first of them has been, in seconds.
    f"""
    SELECT count(*), coalesce(extract(epoch FROM now() - min({DUE})), 0)::float8 FROM scrape_jobs j
    WHERE j.status = 'pending' AND {DUE} <= now()
    """,
)


class Depth(NamedTuple):
    """How much work waits: due jobs, and for how many seconds the oldest has been due."""

    due_jobs: int
    oldest_seconds: float


def depth() -> Depth:
    """Return how much work waits."""
    return Depth(*database.run(DEPTH, {})[0])


MOST_COUNTED = 10_000

PLACE = Statement(
    "place_in_queue",
    # Promises: where the job stands among the due ones, counted up to MOST_COUNTED of each
    # priority, and what limits it; or no row: no such job.
    f"""
    SELECT j.status, j.priority, j.domain, {timestamp(DUE)}, {DUE} <= now(),
        (SELECT sum(lane.ahead)::bigint FROM (
            SELECT (SELECT count(*) FROM (
                SELECT FROM scrape_jobs o
                WHERE {pending_in("due", "o.status")} AND o.priority = p.priority AND {visible_rows("o")}
                    AND (greatest(o.scheduled_for, o.created_at), o.id)
                        < ({DUE} + (p.priority - j.priority) * interval '{AGING_SECONDS} seconds', j.id)
                    AND greatest(o.scheduled_for, o.created_at) <= now()
                LIMIT {MOST_COUNTED}
            ) AS c) AS ahead FROM generate_series(1, {MAX_PRIORITY}) AS p (priority)
        ) AS lane) AS ahead,
        {LIMIT}, j.max_concurrent,
        CASE WHEN {LIMIT} IS NOT NULL
            THEN (SELECT count(*) FROM scrape_jobs r WHERE (r.status = 'running') IS TRUE AND r.domain = j.domain
                AND {visible_rows("r")}) END
    FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows("j")}
    """,
    past_row_security=True,
)


class Place(NamedTuple):
    """Where a job stands in the queue; `limit`, `running` are null where nothing limits its
    domain."""

    status: str
    priority: int
    domain: str
    due_at: str
    is_due: bool
    ahead: int
    limit: int | None
    max_concurrent: int | None
    running: int | None


def place(job_id: UUID, domain_limit: int | None) -> Place | None:
    """Return where the job stands, or None where there is none."""
    rows = database.run(PLACE, {"id": str(job_id), "domain_limit": domain_limit})
    return Place(*rows[0]) if rows else None
