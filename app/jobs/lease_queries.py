"""SQL of leases: lease a pending job, extend a lease, find expired leases.

It also records that a worker was informed of its job's cancellation.
"""

from typing import Any
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.database.tenant_scope import visible_rows
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.documents import document_text
from app.jobs.outages import OUTAGES, RECOVERY
from app.jobs.representation import FOLLOWING, Representation, job_json, tag
from app.jobs.states import Status

_APPEND_CLAIMED = events.append_event(
    "FROM picked",
    job_id="picked.id",
    seq="picked.version + 1",
    at="picked.t",
    old_status=f"'{Status.PENDING}'::text",
    new_status=f"'{Status.RUNNING}'::text",
    changes=events.field_changes(
        {
            "started_at": (timestamp("picked.started_at"), timestamp("picked.t")),
            "scheduled_for": (timestamp("picked.scheduled_for"), "NULL::text"),
            "worker_id": ("picked.worker_id", "%(worker_id)s::text"),
        }
    ),
    stats="picked.stats",
    previous_seq="picked.status_seq",
    retry_count="picked.retry_count",
    previous_hash="(SELECT picked.chain FROM picked WHERE picked.id = v.job_id)",
)


def take() -> str:
    """Return the clauses that lease the jobs of the clause ``picked`` to a worker.

    They belong to the statement that picks the jobs, and append the events. The clause ``job``
    has the jobs as they are afterwards. Parameters are `worker_id`, `lease_seconds` and those of
    the provenance.

    ``picked`` holds locked rows of pending jobs, with the time of the claim as `t` and a lease
    token for each job as `token`. For a few jobs the function lease_job_1 does the same.
    """
    return f"""{_APPEND_CLAIMED}, job AS (
        UPDATE scrape_jobs j SET
            status = '{Status.RUNNING}', started_at = picked.t, scheduled_for = NULL,
            worker_id = %(worker_id)s::text, lease_token = picked.token,
            lease_seconds = %(lease_seconds)s::int,
            lease_expires_at = picked.t + make_interval(secs => %(lease_seconds)s::int),
            cancel_heard_at = NULL, updated_at = picked.t, version = picked.version + 1,
            status_seq = picked.version + 1, chain = event.hash
        FROM picked JOIN event ON event.job_id = picked.id WHERE j.id = picked.id
        RETURNING j.*
    ), {events.enqueue_for_webhooks()}, {events.enqueue_for_statistics()}"""


LEASE_ARGUMENTS = (
    "%(worker_id)s::text, %(lease_seconds)s::int, %(following)s::jsonb, %(provenance)s::jsonb"
)
"""The last arguments of the function lease_job_1, which are the same for all jobs of a claim."""

_FOLLOWING = document_text(FOLLOWING)


def lease_parameters(worker_id: str, lease_seconds: int, provenance: Provenance) -> dict[str, Any]:
    """Return the parameters of LEASE_ARGUMENTS."""
    return {
        "worker_id": worker_id,
        "lease_seconds": lease_seconds,
        "following": _FOLLOWING,
        "provenance": events.provenance_document("claimed", provenance),
    }


LEASE = Statement(
    "lease_job",
    promise="The job as JSON text, if it runs from now on, leased to this worker; otherwise null."
    " See lease_job_1.",
    sql=f"""
    SELECT lease_job_1(
        %(id)s::uuid, %(max_concurrent)s::int, %(lease_token)s::text, {LEASE_ARGUMENTS})
    """,
)


def lease(
    job_id: UUID,
    max_concurrent: int | None,
    lease_token: str,
    worker_id: str,
    lease_seconds: int,
    provenance: Provenance,
) -> str | None:
    """Lease the job to the worker, and return it as JSON text.

    Args:
        job_id: The job.
        max_concurrent: The job's own limit, which the caller has checked.
        lease_token: The token of the new lease.
        worker_id: The worker's name.
        lease_seconds: How long the lease lasts without a heartbeat.
        provenance: The provenance of the event.

    Returns:
        The job; None if it is not due and pending, if it has another limit now, or if another
        transaction has locked it.
    """
    parameters = {
        "id": str(job_id),
        "max_concurrent": max_concurrent,
        "lease_token": lease_token,
        **lease_parameters(worker_id, lease_seconds, provenance),
    }
    text: str | None = database.run(LEASE, parameters)[0][0]
    return text


HEARTBEAT = Statement(
    "extend_lease",
    promise="The lease has its full length again from now on. Nothing else is changed, and no"
    " index is written. No row: the job is not running under this token.",
    sql=f"""
    WITH cur AS MATERIALIZED (
        SELECT j.id, now() + make_interval(secs => j.lease_seconds) AS until FROM scrape_jobs j
        WHERE j.id = %(id)s::uuid AND j.lease_token = %(lease_token)s::text
            AND j.status = '{Status.RUNNING}' AND j.lease_seconds IS NOT NULL
            AND {visible_rows("j")}
        FOR NO KEY UPDATE
    ), job AS (
        UPDATE scrape_jobs j SET lease_expires_at = greatest(j.lease_expires_at, cur.until)
        FROM cur WHERE j.id = cur.id AND j.id = %(id)s::uuid RETURNING j.*
    )
    SELECT {tag("job")}, {job_json("job")} FROM job
    """,
)


def extend(job_id: UUID, lease_token: str) -> Representation | None:
    """Extend the lease and return the job, or None if it is not running under `lease_token`."""
    rows = database.run(HEARTBEAT, {"id": str(job_id), "lease_token": lease_token})
    return Representation(job_id, *rows[0]) if rows else None


_APPEND_CANCEL_HEARD = events.append_event(
    "FROM cur",
    job_id="cur.id",
    seq="cur.version + 1",
    at="cur.t",
    old_status="cur.status",
    new_status="cur.status",
    previous_hash="(SELECT cur.chain FROM cur)",
)

RECORD_CANCEL_HEARD = Statement(
    "record_cancel_heard",
    promise="Once for each cancellation, the event that the worker was informed of it, and the job"
    " as it is then. No row: the event exists already, or the job was not cancelled under"
    " this token.",
    sql=f"""
    WITH cur AS MATERIALIZED (
        SELECT j.*, greatest(now(), j.updated_at) AS t FROM scrape_jobs j
        WHERE j.id = %(id)s::uuid AND j.lease_token = %(lease_token)s::text
            AND j.status = '{Status.CANCELLED}' AND j.cancel_heard_at IS NULL
            AND {visible_rows("j")}
        FOR NO KEY UPDATE
    ), {_APPEND_CANCEL_HEARD}, job AS (
        UPDATE scrape_jobs j SET
            cancel_heard_at = cur.t, updated_at = cur.t, version = cur.version + 1,
            chain = event.hash
        FROM cur, event WHERE j.id = cur.id AND j.id = %(id)s::uuid RETURNING j.*
    )
    SELECT {tag("job")}, {job_json("job")} FROM job
    """,
)


def record_cancel_heard(
    job_id: UUID, lease_token: str, provenance: Provenance
) -> Representation | None:
    """Record that the worker with `lease_token` learns of the job's cancellation.

    Returns the job, or None if this is recorded already or the job was not cancelled under the
    token.
    """
    parameters: dict[str, Any] = {"id": str(job_id), "lease_token": lease_token}
    parameters.update(events.provenance_parameters("cancel_heard", provenance))
    rows = database.run(RECORD_CANCEL_HEARD, parameters)
    return Representation(job_id, *rows[0]) if rows else None


READ_LEASE = Statement(
    "read_lease",
    promise="Whether the job was cancelled while a worker held it under this token, and the job."
    " No row: the job does not exist.",
    sql=f"""
    SELECT coalesce(j.lease_token = %(lease_token)s::text, false)
            AND j.status = '{Status.CANCELLED}',
        {tag("j")}, {job_json("j")} FROM scrape_jobs j
    WHERE j.id = %(id)s::uuid AND {visible_rows("j")}
    """,
)


def read_cancelled(job_id: UUID, lease_token: str) -> tuple[bool, Representation] | None:
    """Return whether the job was cancelled under `lease_token`, and the job.

    Returns None if the job does not exist.
    """
    rows = database.run(READ_LEASE, {"id": str(job_id), "lease_token": lease_token})
    if not rows:
        return None
    is_cancelled, *representation = rows[0]
    return is_cancelled, Representation(job_id, *representation)


WORKER = Statement(
    "read_worker",
    promise="The id of the worker that holds the job or held it last.",
    sql=f"SELECT j.worker_id FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows('j')}",
)


def read_worker_id(job_id: UUID) -> str | None:
    """Return the id of the job's worker, or None if it has none or does not exist."""
    rows = database.run(WORKER, {"id": str(job_id)})
    return rows[0][0] if rows else None


EXPIRED = Statement(
    "find_expired_leases",
    promise="At most `limit` running jobs whose lease has expired, the longest expired first. Jobs"
    " whose lease expired during an outage are left out while their worker still has time"
    " to send a heartbeat. It locks nothing: the rescue checks each job again.",
    sql=f"""
    WITH outage AS MATERIALIZED ({OUTAGES})
    SELECT j.id, j.worker_id, j.retry_count FROM scrape_jobs j
    WHERE (j.status = '{Status.RUNNING}') IS TRUE AND j.lease_expires_at < now()
        AND NOT EXISTS (SELECT FROM outage o
            WHERE j.lease_expires_at > o.began AND j.lease_expires_at <= o.ended + {RECOVERY}
                AND now() < o.ended + make_interval(secs => j.lease_seconds))
    ORDER BY j.lease_expires_at LIMIT %(limit)s::int
    """,
)


def expired(limit: int) -> list[tuple[UUID, str, int]]:
    """Return id, worker id and retry_count of at most `limit` jobs whose lease has expired."""
    return [
        (job_id, worker_id, retry_count)
        for job_id, worker_id, retry_count in database.run(EXPIRED, {"limit": limit})
    ]


LOCK = Statement(
    "lock_job_if_free",
    promise="The job's row is locked until the transaction ends. No row: another transaction holds"
    " the lock, or the job does not exist. It never waits.",
    sql=f"""
    SELECT true FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows("j")}
    FOR NO KEY UPDATE SKIP LOCKED
    """,
)


def lock_if_free(job_id: UUID) -> bool:
    """Lock the job's row until the open transaction ends.

    Returns False if another transaction holds the lock.
    """
    return bool(database.run(LOCK, {"id": str(job_id)}))
