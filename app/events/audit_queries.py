"""SQL of the audit: verify that no event was changed, removed or added, and export events."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from app import database
from app.database import Batches, Statement
from app.events.queries import COLUMNS, NO_HASH, event_hash

EVENTS_BATCH = 2000
JOBS_BATCH = 200
SHOWN_BATCH = 50
"""Few, because all events of a batch are in memory at once, and one may take almost a megabyte."""

FIRST_ID = UUID(int=0)
FIRST_SEQ = -(2**63)
"""The first possible position. The first batch includes its start position (`at_first`), the
following batches do not."""

VERIFY_EVENTS = Statement(
    "verify_events",
    promise="Of the next `limit` events by key: how many there were, how many jobs began with"
    " them, the key of the last one, and the first fault of each job. The events of a job"
    " must be numbered from 1 without gaps, the first one must be a creation, each hash"
    " must cover the previous event, and the job must be as its last event says. Each job"
    " is looked up by its key: a plain join would be planned for any limit, and so read all"
    " jobs in every batch.",
    sql=f"""
    WITH batch AS MATERIALIZED (
        SELECT e.* FROM job_events e
        WHERE (e.job_id, e.seq) >= (%(after)s::uuid, %(after_seq)s::bigint)
            AND (%(at_first)s::bool
                OR (e.job_id, e.seq) <> (%(after)s::uuid, %(after_seq)s::bigint))
        ORDER BY e.job_id, e.seq LIMIT %(limit)s::int
    ), last AS (
        SELECT b.job_id, b.seq FROM batch b ORDER BY b.job_id DESC, b.seq DESC LIMIT 1
    ), linked AS MATERIALIZED (
        SELECT b.*, coalesce(lag(b.seq) OVER w, p.seq, 0) AS previous_seq_number,
            coalesce(lag(b.hash) OVER w, p.hash, {NO_HASH}) AS previous_hash
        -- The last event of the batch before may belong to the first job of this batch.
        FROM batch b LEFT JOIN job_events p
            ON p.job_id = %(after)s::uuid AND p.seq = %(after_seq)s::bigint AND p.job_id = b.job_id
        WINDOW w AS (PARTITION BY b.job_id ORDER BY b.seq)
    ), checked AS (
        SELECT l.job_id, l.seq, CASE
            WHEN j.id IS NULL THEN 'without a job'
            WHEN l.seq > j.version OR l.seq <= l.previous_seq_number THEN 'added'
            WHEN l.seq > l.previous_seq_number + 1 THEN 'missing before'
            WHEN l.hash <> {event_hash("l.previous_hash", "l")} THEN 'changed'
            WHEN l.seq = 1 AND l.old_status IS NOT NULL THEN 'missing before'
            WHEN l.seq = j.version
                AND NOT EXISTS (
                    SELECT FROM job_events n WHERE n.job_id = l.job_id AND n.seq > l.seq)
            THEN CASE
                WHEN l.hash <> j.chain THEN 'changed'
                WHEN (l.new_status, l.at) <> (j.status, j.updated_at) THEN 'missing after'
            END
        END AS fault
        FROM linked l LEFT JOIN LATERAL (
            SELECT o.id, o.version, o.chain, o.status, o.updated_at
            FROM scrape_jobs o WHERE o.id = l.job_id LIMIT 1
        ) AS j ON true
    ), first_faults AS (
        SELECT DISTINCT ON (job_id) * FROM checked WHERE fault IS NOT NULL ORDER BY job_id, seq
    )
    SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM batch b WHERE b.seq = 1),
        (SELECT job_id FROM last), (SELECT seq FROM last), f.job_id, f.seq, f.fault
    FROM first_faults f RIGHT JOIN (VALUES (1)) AS always (one) ON true ORDER BY f.job_id
    """,
)

VERIFY_ENDS = Statement(
    "verify_ends_of_histories",
    promise="Of the next `limit` jobs by id: how many there were, the id of the last one, and the"
    " jobs whose last events are missing, with the number of their last event. Each job"
    " must have at least one event, even if its version says otherwise. The subquery in"
    " LIMIT hides the number from the planner: row security makes it expect very few jobs,"
    " and with a known limit it would sort all jobs instead of reading them by their key.",
    sql="""
    WITH batch AS MATERIALIZED (
        SELECT j.id, greatest(j.version, 1) AS version FROM scrape_jobs j
        WHERE j.id >= %(after)s::uuid AND (%(at_first)s::bool OR j.id <> %(after)s::uuid)
        ORDER BY j.id LIMIT (SELECT %(limit)s::int)
    ), short AS (
        SELECT b.id, coalesce(l.seq, 0) AS seq
        FROM batch b LEFT JOIN LATERAL (
            SELECT e.seq FROM job_events e WHERE e.job_id = b.id ORDER BY e.seq DESC LIMIT 1
        ) AS l ON true
        WHERE coalesce(l.seq, 0) < b.version
    )
    SELECT (SELECT count(*) FROM batch), (SELECT id FROM batch ORDER BY id DESC LIMIT 1),
        s.id, s.seq
    FROM short s RIGHT JOIN (VALUES (1)) AS always (one) ON true ORDER BY s.id
    """,
)

_SHOWN_COLUMNS = ", ".join(
    "encode(e.hash, 'hex') AS hash" if name == "hash" else f"e.{name}" for name in COLUMNS
)

EVENTS = Statement(
    "events_of_job",
    promise="The next `limit` events of one job with all their columns, oldest first.",
    sql=f"""
    SELECT e.seq, (SELECT row_to_json(r)::text FROM (SELECT {_SHOWN_COLUMNS}) AS r)
    FROM job_events e
    WHERE e.job_id = %(job_id)s::uuid AND e.seq >= %(after_seq)s::bigint
        AND (%(at_first)s::bool OR e.seq <> %(after_seq)s::bigint)
    ORDER BY e.seq LIMIT %(limit)s::int
    """,
)

COUNT = Statement(
    "count_jobs",
    promise="The number of jobs: an estimate above 100,000, exact otherwise.",
    sql="""
    SELECT CASE WHEN c.reltuples > 100000 THEN c.reltuples::bigint
        ELSE (SELECT count(*) FROM scrape_jobs) END
    FROM pg_class c WHERE c.oid = 'scrape_jobs'::regclass
    """,
)


class ChainFault(NamedTuple):
    """The first fault in the event chain of a job.

    Attributes:
        job_id: The id of the job.
        seq: The number of the event.
        kind: ``changed`` or ``added`` (the event), ``missing before`` (events before it are
            missing), ``missing after`` (events after it are missing, or the job was changed
            without one), or ``without a job`` (the event has no job).
    """

    job_id: UUID
    seq: int
    kind: str


class VerifiedBatch(NamedTuple):
    """A batch that was verified: the number of jobs that began in it, and the faults found."""

    jobs: int
    faults: list[ChainFault]


def count_jobs() -> int:
    """Return the number of jobs, estimated if there are many."""
    return int(database.run(COUNT, {})[0][0])


def verify() -> Iterator[VerifiedBatch]:
    """Verify all events in batches, then the ends of all histories.

    Raises:
        DatabaseFailure: If the database fails.
    """
    faulty_jobs: set[UUID] = set()
    for batch in itertools.chain(_verify_events(), _verify_ends()):
        faults = [fault for fault in batch.faults if fault.job_id not in faulty_jobs]
        faulty_jobs.update(fault.job_id for fault in faults)
        yield VerifiedBatch(batch.jobs, faults)  # only the first fault of each job


def _verify_events() -> Iterator[VerifiedBatch]:
    batches = Batches(VERIFY_EVENTS, EVENTS_BATCH)
    start: dict[str, Any] = {"after": str(FIRST_ID), "after_seq": FIRST_SEQ, "at_first": True}
    while (rows := batches.run(start))[0][0]:
        _, jobs, last_job_id, last_seq = rows[0][:4]
        yield VerifiedBatch(jobs, [ChainFault(*row[4:]) for row in rows if row[4] is not None])
        start = {"after": str(last_job_id), "after_seq": last_seq, "at_first": False}


def _verify_ends() -> Iterator[VerifiedBatch]:
    batches = Batches(VERIFY_ENDS, JOBS_BATCH)
    start: dict[str, Any] = {"after": str(FIRST_ID), "at_first": True}
    while (rows := batches.run(start))[0][0]:
        faults = [
            ChainFault(job_id, seq, "missing after")
            for _, _, job_id, seq in rows
            if job_id is not None
        ]
        yield VerifiedBatch(0, faults)
        start = {"after": str(rows[0][1]), "at_first": False}


def events(job_id: UUID) -> Iterator[str]:
    """Return all events of the job as JSON texts with all columns, oldest first.

    Raises:
        DatabaseFailure: If the database fails.
    """
    batches = Batches(EVENTS, SHOWN_BATCH)
    start: dict[str, Any] = {"after_seq": FIRST_SEQ, "at_first": True}
    while rows := batches.run({"job_id": str(job_id), **start}):
        yield from (text for _, text in rows)
        start = {"after_seq": rows[-1][0], "at_first": False}
