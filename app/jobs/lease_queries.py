"""The SQL of leases: how a worker takes a pending job, how it keeps it, how it hears that it is
cancelled."""

from typing import Any
from uuid import UUID

from app import database
from app.database import Statement, timestamp
from app.database.tenant_scope import visible_rows
from app.events import queries as events
from app.events.provenance import Provenance
from app.jobs.outages import OUTAGES, RECOVERY
from app.jobs.queries import Representation, job_json, tag
from app.jobs.states import Status

_TAKEN = events.happened(
    f"SELECT picked.id, picked.version + 1, picked.t, '{Status.PENDING}'::text, '{Status.RUNNING}'::text, "
    + events.changes(
        {
            "started_at": (timestamp("picked.started_at"), timestamp("picked.t")),
            "scheduled_for": (timestamp("picked.scheduled_for"), "NULL::text"),
            "worker_id": ("picked.worker_id", "%(worker_id)s::text"),
        },
        {},
        keep_whole="false",
    )
    + ", picked.stats, picked.status_seq, picked.retry_count, NULL::float8, NULL::text FROM picked",
    previous="(SELECT picked.chain FROM picked WHERE picked.id = f.job_id)",
)


def take(only: str = "") -> str:
    """Return the clauses that lease the jobs of ``picked`` to a worker, in one statement with the
    one that picked them.

    ``picked`` holds rows of pending jobs, locked, with the moment as `t` and a token for each as
    `token`; the jobs as they are afterwards are ``job``. Of parameters they take worker_id and
    lease_seconds. `only` is a condition on `j` that names the one job where the statement is about
    one.
    """
    return f"""{_TAKEN}, job AS (
        UPDATE scrape_jobs j SET
            status = '{Status.RUNNING}', started_at = picked.t, scheduled_for = NULL,
            worker_id = %(worker_id)s::text, lease_token = picked.token, lease_seconds = %(lease_seconds)s::int,
            lease_expires_at = picked.t + make_interval(secs => %(lease_seconds)s::int), cancel_heard_at = NULL,
            updated_at = picked.t, version = picked.version + 1, status_seq = picked.version + 1,
            chain = event.hash
        FROM picked JOIN event ON event.job_id = picked.id WHERE j.id = picked.id {only}
        RETURNING j.*
    ), appended AS ({events.APPEND}),
    owed AS ({events.owe("SELECT job.id, job.version, job.updated_at, job.customer_config_id FROM job")}),
    uncounted AS ({events.leave_uncounted("SELECT job.id, job.version FROM job")})"""


HEARTBEAT = Statement(
    "extend_lease",
    # Promises: the lease lasts its whole length again from now on, and nothing else is changed, no
    # index either; or no row: the job does not run, or not under this token.
    f"""
    WITH cur AS MATERIALIZED (
        SELECT j.id, now() + make_interval(secs => j.lease_seconds) AS until FROM scrape_jobs j
        WHERE j.id = %(id)s::uuid AND j.lease_token = %(lease_token)s::text AND j.status = '{Status.RUNNING}'
            AND j.lease_seconds IS NOT NULL AND {visible_rows("j")}
        FOR NO KEY UPDATE
    ), job AS (
        UPDATE scrape_jobs j SET lease_expires_at = greatest(j.lease_expires_at, cur.until)
        FROM cur WHERE j.id = cur.id AND j.id = %(id)s::uuid RETURNING j.*
    )
    SELECT {tag("job")}, {job_json("job")} FROM job
    """,
)


def extend(job_id: UUID, lease_token: str) -> Representation | None:
    """Extend the lease and return the job, or None where it does not run under `lease_token`."""
    rows = database.run(HEARTBEAT, {"id": str(job_id), "lease_token": lease_token})
    return Representation(job_id, *rows[0]) if rows else None


_HEARD = events.happened(
    "SELECT cur.id, cur.version + 1, cur.t, cur.status, cur.status, '{}'::jsonb, NULL::jsonb, NULL::bigint, NULL::int,"
    " NULL::float8, NULL::text FROM cur",
    previous="(SELECT cur.chain FROM cur)",
)

HEAR = Statement(
    "record_hearing",
    # Promises: once for each cancellation, the event that the worker was told of it.
    f"""
    WITH cur AS MATERIALIZED (
        SELECT j.*, greatest(now(), j.updated_at) AS t FROM scrape_jobs j
        WHERE j.id = %(id)s::uuid AND j.lease_token = %(lease_token)s::text AND j.status = '{Status.CANCELLED}'
            AND j.cancel_heard_at IS NULL AND {visible_rows("j")}
        FOR NO KEY UPDATE
    ), {_HEARD}, job AS (
        UPDATE scrape_jobs j SET
            cancel_heard_at = cur.t, updated_at = cur.t, version = cur.version + 1, chain = event.hash
        FROM cur, event WHERE j.id = cur.id AND j.id = %(id)s::uuid RETURNING j.*
    ), appended AS ({events.APPEND})
    SELECT {tag("job")}, {job_json("job")} FROM job
    """,
)


def record_hearing(job_id: UUID, lease_token: str, provenance: Provenance) -> Representation | None:
    """Record that the holder of `lease_token` hears that the job is cancelled, and return the job.

    None where that is known already, or is not so.
    """
    parameters: dict[str, Any] = {"id": str(job_id), "lease_token": lease_token}
    rows = database.run(
        HEAR, {**parameters, **events.provenance_parameters("cancel_heard", provenance)}
    )
    return Representation(job_id, *rows[0]) if rows else None


LEASE = Statement(
    "read_lease",
    # Promises: the job, and whether it is a cancelled one whose worker holds the token.
    f"""
    SELECT coalesce(j.lease_token = %(lease_token)s::text, false) AND j.status = '{Status.CANCELLED}',
        {tag("j")}, {job_json("j")} FROM scrape_jobs j
    WHERE j.id = %(id)s::uuid AND {visible_rows("j")}
    """,
)


def read_cancelled(job_id: UUID, lease_token: str) -> tuple[bool, Representation] | None:
    """Return the job, and whether it was cancelled under `lease_token`; None where there is no such
    job."""
    rows = database.run(LEASE, {"id": str(job_id), "lease_token": lease_token})
    if not rows:
        return None
    (cancelled, *representation), *_ = rows
    return cancelled, Representation(job_id, *representation)


WORKER = Statement(
    "read_worker",
    # Promises: who holds, or held, the job.
    f"SELECT j.worker_id FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows('j')}",
)


def worker(job_id: UUID) -> str | None:
    """Return the id of the job's worker; None where there is none, or no such job."""
    rows = database.run(WORKER, {"id": str(job_id)})
    return rows[0][0] if rows else None


EXPIRED = Statement(
    "find_expired_leases",
    # Promises: at most `limit` running jobs whose lease has run out, the longest first; without
    # those whose lease ran out during an outage and whose worker still has time to come back. It
    # locks nothing: the rescue looks again.
    f"""
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
    """Return id, worker and retry count of at most `limit` jobs whose lease has run out, and has no
    chance left."""
    return [
        (job_id, worker_id, retries)
        for job_id, worker_id, retries in database.run(EXPIRED, {"limit": limit})
    ]


LOCK = Statement(
    "lock_job_if_free",
    # Promises: the job's row is locked until the transaction ends; or no row: another transaction
    # holds it, or there is no such job. It never waits.
    f"SELECT true FROM scrape_jobs j WHERE j.id = %(id)s::uuid AND {visible_rows('j')} FOR NO KEY UPDATE SKIP LOCKED",
)


def lock_if_free(job_id: UUID) -> bool:
    """Lock the job's row until the open transaction ends; return False where another transaction
    holds it."""
    return bool(database.run(LOCK, {"id": str(job_id)}))
