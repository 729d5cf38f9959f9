"""A service with API keys on its own database, for the tests of the event log and its audit."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.errors
from flask import Flask
from werkzeug.test import TestResponse

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from support.factories import new_domain
from support.service import ROOT, environment

JOBS = "/api/scrape-jobs"
MERGE = {"Content-Type": "application/merge-patch+json"}
ONE, RETRY, RELEASE, HEARTBEAT = "/<id>", "/<id>/retry", "/<id>/release", "/<id>/heartbeat"
"""Paths of the endpoints that change a job, below JOBS."""

ADDRESS = "203.0.113.7"
NO_FAULTS = "The history is as it was written."
KEY_NAMES = ("Zoë's key", "the night shift", "ops")


class AuditedService:
    """The application with authentication on a database of its own, and an API key for it."""

    def __init__(self, url: str, app: Flask | None = None) -> None:
        self.url = url
        self.app = app or create_app(Settings(database_url=url, rate_limit=False))
        self.client = self.app.test_client()
        self.admin_key = self.key("admin")
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()
        with self.app.app_context():
            self.app.extensions["sqlalchemy"].engine.dispose()

    def key(self, name: str) -> str:
        with self.app.app_context():
            key, _ = keys.create(name, [Scope.ALL], None, None)
        return str(key)

    def sql(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def call(
        self, method: str, path: str, body: Any = None, key: str = "", **headers: str
    ) -> TestResponse:
        headers = {"Authorization": f"Bearer {key or self.admin_key}", **headers}
        address = {"REMOTE_ADDR": ADDRESS}
        return self.client.open(
            path, method=method, json=body, headers=headers, environ_overrides=address
        )

    def succeed(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request that must succeed, and return the data of the response."""
        answer = self.call(method, path, body, **headers)
        assert answer.status_code < 300, answer.text
        return answer.get_json()["data"]

    def create(self, **fields: Any) -> str:
        return str(self.succeed("POST", JOBS, {"domain": new_domain(), **fields})["id"])

    def update(self, job: str, **fields: Any) -> None:
        self.succeed("PUT", f"{JOBS}/{job}", fields)

    def claim(self, job: str) -> str:
        """Claim the job, the only one of its domain, and return the lease token."""
        ((domain,),) = self.sql("SELECT domain FROM scrape_jobs WHERE id = %(id)s", id=job)
        (taken,) = self.succeed("POST", f"{JOBS}/next", {"worker_id": "w", "domains": [domain]})
        assert taken["id"] == job
        return str(taken["lease_token"])

    def create_with_history(self) -> str:
        """Return a new job with five events: created, started, updated, failed, retried."""
        job = self.create(metadata={"tags": ["a"]}, max_retries=3)
        self.update(job, status="running")
        self.update(job, stats={"pagesProcessed": 3, "note": "äöü 😀"})
        self.update(job, status="failed", error_message="Timeout")
        self.succeed("POST", f"{JOBS}/{job}/retry")
        return job

    def events(self, job: str) -> list[tuple[Any, ...]]:
        """Return the job's events: number, actor, request id, address, time and changes."""
        return self.sql(
            "SELECT seq, actor_type, actor_id, actor_name, request_id, address, at, action,"
            " old_status, new_status, changes FROM job_events WHERE job_id = %(job)s ORDER BY seq",
            job=job,
        )

    def verify(self) -> list[str]:
        """Return the faults that `flask audit verify` prints, one line for each job."""
        result = self.app.test_cli_runner().invoke(args=["audit", "verify"])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(
            result.exception
        )
        lines = result.stdout.splitlines()
        if lines == [NO_FAULTS]:
            assert result.exit_code == 0
            return []
        assert result.exit_code == 1
        jobs = "1 job" if len(lines) == 1 else f"{len(lines)} jobs"
        assert f"Error: The history of {jobs} is not as it was written\n" in result.stderr
        return sorted(lines)


@contextmanager
def audited_service(url: str) -> Iterator[AuditedService]:
    """Run the application on the database and close it at the end."""
    audited = AuditedService(url)
    try:
        yield audited
    finally:
        audited.close()


def run_flask(url: str, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a flask command in a separate process."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", *words]
    env = environment(DATABASE_URL=url, **settings)
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def fault_line(job: object, seq: int, kind: str) -> str:
    """Return the line that `flask audit verify` prints for a fault."""
    return f"job {job}: event {seq}: {kind}"


def remove_events(which: str) -> str:
    """Return SQL that deletes events of a job by a condition on their number, such as ``> 3``."""
    return f"DELETE FROM job_events WHERE job_id = %(job)s AND seq {which}"


def copy_event(seq: int, to: int | str, job: str = "%(job)s") -> str:
    """Return SQL that inserts a copy of an event with another number, or for another job."""
    changes = f"jsonb_build_object('seq', {to}, 'job_id', {job})"
    return (
        f"INSERT INTO job_events SELECT (jsonb_populate_record(e, {changes})).*"
        f" FROM job_events e WHERE job_id = %(job)s AND seq = {seq}"
    )


def export_events(audited: AuditedService, job: str) -> list[dict[str, Any]]:
    """Return the job's events as `flask audit show` prints them."""
    result = audited.app.test_cli_runner().invoke(args=["audit", "show", job])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
