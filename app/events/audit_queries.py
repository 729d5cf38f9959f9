"""The audit's SQL: whether every event is as it was written, and none is missing or has been added."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.errors import DatabaseTimeout
from app.events.queries import NO_HASH, event_hash

JOBS_BATCH = 2000
EVENTS_BATCH = 2000

FIRST_ID = UUID(int=0)
FIRST_SEQ = -(2**63)

VERIFY_EVENTS = Statement(
    "verify_events",
    # Promises: of the next events by key, how many there were, how many jobs began with them, where they end, and the
    # first one of each job that is not as it has to be. An event is numbered from 1 without a gap, hashed with the one
    # before, and the last one is known to its job.
    f"""
    WITH batch AS MATERIALIZED (
        SELECT e.* FROM job_events e WHERE (e.job_id, e.seq) > (%(after)s::uuid, %(after_seq)s::bigint)
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
            WHEN f.seq = j.version AND f.hash <> j.chain
                AND NOT EXISTS (SELECT FROM job_events n WHERE n.job_id = f.job_id AND n.seq > f.seq) THEN 'changed'
        END AS fault
        FROM followed f LEFT JOIN scrape_jobs j ON j.id = f.job_id
    ), wrong AS (SELECT DISTINCT ON (job_id) * FROM judged WHERE fault IS NOT NULL ORDER BY job_id, seq)
    SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM batch b WHERE b.seq = 1), (SELECT job_id FROM last),
        (SELECT seq FROM last), w.job_id, w.seq, w.fault
    FROM wrong w RIGHT JOIN (VALUES (1)) AS always (one) ON true ORDER BY w.job_id
    """,
)

VERIFY_ENDS = Statement(
    "verify_ends_of_histories",
    # Promises: of the next jobs by id, how many there were, the last of them, and those whose last events are missing.
    f"""
    WITH batch AS MATERIALIZED (
        SELECT j.id, j.version FROM scrape_jobs j WHERE j.id >= %(start)s::uuid ORDER BY j.id LIMIT {JOBS_BATCH}
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

EVENTS = Statement(
    "events_of_job",
    # Promises: everything that is recorded of one job, oldest first, a batch from after `after` on.
    f"""
    SELECT e.seq, (SELECT row_to_json(r)::text FROM (SELECT
        e.seq AS id, {timestamp("e.at")} AS at, e.action, e.actor_type, e.actor_id, e.actor_name, e.request_id,
        e.address, e.old_status, e.new_status, e.changes, encode(e.hash, 'hex') AS hash) AS r)
    FROM job_events e WHERE e.job_id = %(job_id)s::uuid AND e.seq > %(after)s::bigint
    ORDER BY e.seq LIMIT {EVENTS_BATCH}
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

    `kind` is ``changed``, ``added``, ``missing before`` or ``missing after`` (the event number `seq`), or ``without a
    job``.
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
    job_id, seq, limit = FIRST_ID, FIRST_SEQ, EVENTS_BATCH
    while True:
        try:
            rows = database.run(VERIFY_EVENTS, {"after": str(job_id), "after_seq": seq, "limit": limit})
        except DatabaseTimeout:
            if limit == 1:
                raise
            limit = max(1, limit // 4)  # large events
            continue
        events, jobs, *last = rows[0][:4]
        if not events:
            break
        job_id, seq = last
        yield Step(jobs, _new([Fault(*row[4:]) for row in rows if row[4] is not None], wrong))
    start = FIRST_ID
    while True:
        rows = database.run(VERIFY_ENDS, {"start": str(start)})
        jobs, last_job = rows[0][:2]
        yield Step(0, _new([Fault(row[2], row[3], "missing after") for row in rows if row[2] is not None], wrong))
        if jobs < JOBS_BATCH:
            return
        start = UUID(int=last_job.int + 1)


def _new(faults: Iterable[Fault], known: set[UUID]) -> list[Fault]:
    """Return the faults of jobs that none is known of; of each the first is what counts."""
    new = [fault for fault in faults if fault.job_id not in known]
    known.update(fault.job_id for fault in new)
    return new


def events(job_id: UUID) -> Iterator[str]:
    """Return all that is recorded of the job as JSON texts, oldest first. Raises DatabaseFailure."""
    seq = 0
    while rows := database.run(EVENTS, {"job_id": str(job_id), "after": seq}):
        yield from (text for _, text in rows)
        seq = rows[-1][0]
