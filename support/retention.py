"""Old jobs for the tests of retention."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import psycopg2
from click.testing import Result
from flask import Flask

from support.service import ROOT, environment

JOBS = "/api/scrape-jobs"
NINETY_DAYS = 90 * 86400.0
TABLES = (
    "scrape_jobs", "job_events", "outbox", "uncounted_events", "webhook_deliveries", "job_totals",
    "job_duration_totals", "job_error_totals",
)  # fmt: skip
# Jobs that entered their status `age` ago, one microsecond apart, each with two events and a
# delivered webhook.
FILL = """
WITH job AS (
    INSERT INTO scrape_jobs (id, domain_id, domain, job_type, status, priority, max_retries, completed_at, created_at,
        updated_at, version, status_seq)
    SELECT gen_random_uuid(), gen_random_uuid(), 'old.example', 'scrape', %(status)s, 5, 3, at, at - interval '9 days',
        at, 2, 2
    FROM generate_series(1, %(count)s) AS n, LATERAL (SELECT now() - %(age)s + n * interval '1 us' AS at) AS m
    RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes, stats, retry_count)
    SELECT id, seq, updated_at, 'updated', 'running', status, 'system', '{}', '{}', 0
    FROM job, generate_series(1, 2) AS seq
), delivery AS (
    INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, status, next_try_at, created_at)
    SELECT id, 2, (SELECT id FROM webhook_endpoints), gen_random_uuid(), '{}', 'delivered', updated_at, updated_at
    FROM job
) SELECT id FROM job
"""
ENDPOINT = """
INSERT INTO webhook_endpoints (id, url, active, secret, created_at, updated_at)
VALUES (gen_random_uuid(), 'https://example.com/hook', true, 'clear:', now(), now())
"""


class OldJobs:
    """The application on a database with old jobs."""

    def __init__(self, url: str, app: Flask) -> None:
        self.url = url
        self.app = app
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()

    def sql(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def fill(
        self, count: int, status: str = "completed", *, days: float = 100, minutes: float = 0
    ) -> list[str]:
        """Insert jobs of an age and return their ids."""
        parameters = {
            "count": count,
            "status": status,
            "age": timedelta(days=days, minutes=minutes),
        }
        return [job_id for (job_id,) in self.sql(FILL, parameters)]

    def left(self) -> set[str]:
        """Return the ids of all jobs, and assert that no rows of other jobs exist."""
        ids = {job_id for (job_id,) in self.sql("SELECT id FROM scrape_jobs")}
        for table in ("job_events", "webhook_deliveries", "outbox", "uncounted_events"):
            assert {job_id for (job_id,) in self.sql(f"SELECT job_id FROM {table}")} <= ids, table
        assert ids == {job_id for (job_id,) in self.sql("SELECT job_id FROM job_events")}
        return ids

    def flask(self, *arguments: str) -> Result:
        """Run a flask command in this process."""
        return self.app.test_cli_runner().invoke(args=arguments)

    def prune(self, *options: str, older_than: str = "90d") -> str:
        """Run the command in this process, assert its success, and return its output."""
        result = self.flask("jobs", "prune", "--older-than", older_than, *options)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    def start(self, *options: str, stderr: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        """Start the command in a new process that handles SIGINT."""
        command = [
            sys.executable,
            "-m",
            "flask",
            "--app",
            "wsgi",
            "jobs",
            "prune",
            "--older-than",
            "90d",
            *options,
        ]
        settings = environment(DATABASE_URL=self.url)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        finally:
            signal.signal(signal.SIGINT, before)

    def somebody_waits_for_a_lock(self) -> bool:
        return self._finds_session("wait_event_type = 'Lock'")

    def somebody_removes(self) -> bool:
        return self._finds_session(
            "state = 'active' AND query LIKE '%remove_old_jobs%' AND pid <> pg_backend_pid()"
        )

    def _finds_session(self, condition: str) -> bool:
        found = f"SELECT FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
        return bool(self.sql(f"SELECT EXISTS ({found})")[0][0])
