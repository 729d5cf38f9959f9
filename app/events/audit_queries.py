"""The audit's SQL: whether every event is as it was written, and none is missing or has been
added."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Batches, Statement
from app.events.queries import COLUMNS, NO_HASH, event_hash

EVENTS_BATCH = 2000
JOBS_BATCH = 200
SHOWN_BATCH = 50
"""Few: an event may take most of a megabyte, and they are all in memory at once."""

FIRST_ID = UUID(int=0)
FIRST_SEQ = -(2**63)
"""There is nothing before these: who begins with them looks at them, too (`at_first`), who goes on
does not."""

VERIFY_EVENTS = Statement(
    "verify_events",
    # Promises: of the next events by key, how many there were, how many jobs began with them, where
    # they end, and the first one of each job that is not as it has to be. An event is numbered from
    # 1, a creation, without a gap; it is hashed with the one before, and its job is as the last one
    # left it. Each job is looked up by its key: a join is planned for any limit, and so to read all
    # jobs for every batch.
    f"""
    WITH batch AS MATERIALIZED (
        SELECT e.* FROM job_events e WHERE (e.job_id, e.seq) >= (%(after)s::uuid, %(after_seq)s::bigint)
            AND (%(at_first)s::bool OR (e.job_id, e.seq) <> (%(after)s::uuid, %(after_seq)s::bigint))
        ORDER BY e.job_id, e.seq LIMIT %(limit)s::int
    ), last AS (SELECT b.job_id, b.seq FROM batch b ORDER BY b.job_id DESC, b.seq DESC LIMIT 1
    ), followed AS MATERIALIZED (
        SELECT b.*, coalesce(lag(b.seq) OVER w, p.seq, 0) AS previous_number,
            coalesce(lag(b.hash) OVER w, p.hash, {NO_HASH}) AS previous
        FROM batch b LEFT JOIN job_events p  -- of what was looked at before, the last one alone can be followed here
            ON p.job_id = %(after)s::uuid AND p.seq = %(after_seq)s::bigint AND p.job_id = b.job_id
        WINDOW w AS (PARTITION BY b.job_id ORDER BY b.seq)
    ), judged AS (
        SELECT f.job_id, f.seq, CASE
            WHEN j.id IS NULL THEN 'without a job'
            WHEN f.seq > j.version OR f.seq <= f.previous_number THEN 'added'
            WHEN f.seq > f.previous_number + 1 THEN 'missing before'
            WHEN f.hash <> {event_hash("f.previous", "f")} THEN 'changed'
            WHEN f.seq = 1 AND f.old_status IS NOT NULL THEN 'missing before'
            WHEN f.seq = j.version
                AND NOT EXISTS (SELECT FROM job_events n WHERE n.job_id = f.job_id AND n.seq > f.seq)
            THEN CASE
                WHEN f.hash <> j.chain THEN 'changed'
                WHEN (f.new_status, f.at) <> (j.status, j.updated_at) THEN 'missing after'
            END
        END AS fault
        FROM followed f LEFT JOIN LATERAL (
            SELECT o.id, o.version, o.chain, o.status, o.updated_at FROM scrape_jobs o WHERE o.id = f.job_id LIMIT 1
        ) AS j ON true
    ), wrong AS (SELECT DISTINCT ON (job_id) * FROM judged WHERE fault IS NOT NULL ORDER BY job_id, seq)
    SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM batch b WHERE b.seq = 1), (SELECT job_id FROM last),
        (SELECT seq FROM last), w.job_id, w.seq, w.fault
    FROM wrong w RIGHT JOIN (VALUES (1)) AS always (one) ON true ORDER BY w.job_id
    """,
)

VERIFY_ENDS = Statement(
    "verify_ends_of_histories",
    # Promises: of the next jobs by id, how many there were, the last of them, and those whose last
    # events are missing. Each job has one event at least, whatever its version says. How many are
    # wanted is hidden from the planner: where row security lets it expect next to no jobs, it would
    # rather sort all of them than go by their key until there are enough.
    """
    WITH batch AS MATERIALIZED (
        SELECT j.id, greatest(j.version, 1) AS version FROM scrape_jobs j
        WHERE j.id >= %(after)s::uuid AND (%(at_first)s::bool OR j.id <> %(after)s::uuid)
        ORDER BY j.id LIMIT (SELECT %(limit)s::int)
    ), short AS (
        SELECT b.id, coalesce(l.seq, 0) AS seq
        FROM batch b LEFT JOIN LATERAL (
            SELECT e.seq FROM job_events e WHERE e.job_id = b.id ORDER BY e.seq DESC LIMIT 1) AS l ON true
        WHERE coalesce(l.seq, 0) < b.version
    )
    SELECT (SELECT count(*) FROM batch), (SELECT id FROM batch ORDER BY id DESC LIMIT 1), s.id, s.seq
    FROM short s RIGHT JOIN (VALUES (1)) AS always (one) ON true ORDER BY s.id
    """,
)

_SHOWN = ", ".join(
    "encode(e.hash, 'hex') AS hash" if name == "hash" else f"e.{name}" for name in COLUMNS
)

EVENTS = Statement(
    "events_of_job",
    # Promises: everything that is recorded of one job, oldest first: the next `limit` events.
    f"""
    SELECT e.seq, (SELECT row_to_json(r)::text FROM (SELECT {_SHOWN}) AS r) FROM job_events e
    WHERE e.job_id = %(job_id)s::uuid AND e.seq >= %(after_seq)s::bigint
        AND (%(at_first)s::bool OR e.seq <> %(after_seq)s::bigint)
    ORDER BY e.seq LIMIT %(limit)s::int
    """,
)

COUNT = Statement(
    "count_jobs",
    # Promises: about how many jobs there are; of few, exactly.
    """
    SELECT CASE WHEN c.reltuples > 100000 THEN c.reltuples::bigint ELSE (SELECT count(*) FROM scrape_jobs) END
    FROM pg_class c WHERE c.oid = 'scrape_jobs'::regclass
    """,
)


class Fault(NamedTuple):
    """The first event of a job that is not as it was written.

    `kind` is ``changed``, ``added``, ``missing before`` or ``missing after`` (the event number
    `seq`; after it the job may have changed with no event at all), or ``without a job``.
    """

    job_id: UUID
    seq: int
    kind: str


class Step(NamedTuple):
    """A batch that was looked at: how many jobs, and what was found."""

    jobs: int
    faults: list[Fault]


def count_jobs() -> int:
    """Return about how many jobs there are."""
    return int(database.run(COUNT, {})[0][0])


def verify() -> Iterator[Step]:
    """Look at all events, batch by batch. Raises DatabaseFailure."""
    wrong: set[UUID] = set()
    batches = Batches(VERIFY_EVENTS, EVENTS_BATCH)
    at: dict[str, Any] = {"after": str(FIRST_ID), "after_seq": FIRST_SEQ, "at_first": True}
    while (rows := batches.run(at))[0][0]:
        _, jobs, job_id, seq = rows[0][:4]
        yield Step(jobs, _new([Fault(*row[4:]) for row in rows if row[4] is not None], wrong))
        at = {"after": str(job_id), "after_seq": seq, "at_first": False}
    batches = Batches(VERIFY_ENDS, JOBS_BATCH)
    at = {"after": str(FIRST_ID), "at_first": True}
    while (rows := batches.run(at))[0][0]:
        yield Step(
            0,
            _new(
                [Fault(row[2], row[3], "missing after") for row in rows if row[2] is not None],
                wrong,
            ),
        )
        at = {"after": str(rows[0][1]), "at_first": False}


def _new(faults: Iterable[Fault], known: set[UUID]) -> list[Fault]:
    """Return the faults of jobs that none is known of; of each the first is what counts."""
    new = [fault for fault in faults if fault.job_id not in known]
    known.update(fault.job_id for fault in new)
    return new


def events(job_id: UUID) -> Iterator[str]:
    """Return all that is recorded of the job as JSON texts, oldest first. Raises
    DatabaseFailure."""
    batches = Batches(EVENTS, SHOWN_BATCH)
    at: dict[str, Any] = {"after_seq": FIRST_SEQ, "at_first": True}
    while rows := batches.run({"job_id": str(job_id), **at}):
        yield from (text for _, text in rows)
        at = {"after_seq": rows[-1][0], "at_first": False}
