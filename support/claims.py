"""A queue that is filled by SQL and claimed through the service, without HTTP."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.extras
from flask import Flask

from app.config import Settings
from app.database.tenant_scope import tenant_scope
from app.events.provenance import SYSTEM, Provenance
from app.factory import create_app
from app.queue import service
from app.queue.claims import ClaimedJob, ClaimFilter, ClaimRequest
from support.service import own_work

CLAIMERS = 50
"""How many threads may claim at the same time."""

PROVENANCE = Provenance(SYSTEM, None)

FILL = """
INSERT INTO scrape_jobs (id, domain_id, customer_config_id, domain, job_type, priority,
    max_retries, max_concurrent, status, scheduled_for, created_at, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), r.customer, r.domain, r.job_type, r.priority,
    3, r.max_concurrent, r.status, now() + r.due_in * interval '1 second',
    now() - (r.age * interval '1 second') - (n * interval '1 millisecond'), now()
FROM jsonb_to_recordset(%s::jsonb) AS r
    (customer uuid, domain text, job_type text, priority int, max_concurrent int, status text,
     due_in float8, age float8, jobs int), LATERAL generate_series(1, r.jobs) AS n
RETURNING id
"""
DEFAULTS = {
    "domain": "d.example",
    "job_type": "page",
    "priority": 5,
    "age": 60,
    "jobs": 1,
    "status": "pending",
}


@dataclass
class ClaimQueue:
    """A queue whose jobs belong to one test only."""

    app: Flask
    connection: Any

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def clear(self) -> None:
        self.rows("TRUNCATE scrape_jobs, job_events, outbox, uncounted_events")

    def fill(self, *groups: dict[str, Any]) -> list[UUID]:
        """Insert groups of equal jobs, and return their ids.

        A group has the fields of its jobs, how many `jobs` there are, their `age`, and in how many
        seconds they are due (`due_in`). In a group, each job is a millisecond older than the last.
        """
        values = psycopg2.extras.Json([{**DEFAULTS, **group} for group in groups])
        return [job_id for (job_id,) in self.rows(FILL, [values])]

    def claim(
        self,
        limit: int = 1,
        *,
        is_distributed: bool = False,
        customer: UUID | None = None,
        **accepted: Any,
    ) -> Sequence[ClaimedJob]:
        """Claim jobs; `accepted` are the fields of a ClaimFilter."""
        with self.app.app_context(), tenant_scope(customer):
            request = ClaimRequest("w", ClaimFilter(**accepted), limit)
            return service.claim(request, PROVENANCE, is_distributed=is_distributed)

    def upcoming(
        self, limit: int = 1, *, customer: UUID | None = None, **accepted: Any
    ) -> list[UUID]:
        """Return the ids of the upcoming jobs; `accepted` are the fields of a ClaimFilter."""
        with self.app.app_context(), tenant_scope(customer):
            return [job.id for job in service.upcoming(ClaimFilter(**accepted), limit)]


@contextmanager
def claim_queue(url: str) -> Iterator[ClaimQueue]:
    """Yield a queue on the database; close its connections at the end."""
    app = create_app(Settings(auth="off", rate_limit=False, database_url=url, threads=CLAIMERS))
    connection = psycopg2.connect(url)
    connection.autocommit = True
    psycopg2.extras.register_uuid(conn_or_curs=connection)  # type: ignore[no-untyped-call]
    yield ClaimQueue(app, connection)
    connection.close()
    with own_work(app):
        app.extensions["sqlalchemy"].engine.dispose()


def at_once(*calls: Any) -> None:
    """Make all calls at the same time, each in a thread, and wait for their results."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()
