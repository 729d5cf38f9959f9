"""Jobs with leases, and a service on their database."""

import time
from typing import Any

import psycopg2
import requests
from flask import Flask

from app.config import Settings
from app.factory import create_app
from app.queue import sweeper
from support.service import Service, own_work


class Jobs:
    """The application on a database of the module."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: Flask = create_app(
            Settings(auth="off", rate_limit=False, database_url=url, threads=8)
        )
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def expired(self, number: int, retry_count: int = 0, max_retries: int = 3) -> list[str]:
        """Insert running jobs whose lease has expired, and return their ids."""
        self.rows(
            "DELETE FROM service_pulse"
        )  # from a service that stopped, which would count as an outage
        sql = """
            INSERT INTO scrape_jobs (id, domain_id, domain, job_type, priority, max_retries, retry_count, status,
                version, status_seq, worker_id, lease_token, lease_seconds, lease_expires_at, created_at, updated_at)
            SELECT gen_random_uuid(), gen_random_uuid(), 'lost.example', 'page', 5, %s, %s, 'running', 2, 2, 'gone',
                'token', 60, now() - interval '1 second', now(), now() FROM generate_series(1, %s) RETURNING id::text"""
        return [row[0] for row in self.rows(sql, max_retries, retry_count, number)]

    def show(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = (
            self.app.test_client().get(f"/api/scrape-jobs/{job_id}").get_json()["data"]
        )
        return job

    def history(self, job_id: str) -> list[dict[str, Any]]:
        answer = self.app.test_client().get(f"/api/scrape-jobs/{job_id}/history?limit=200")
        events: list[dict[str, Any]] = answer.get_json()["data"]
        return events

    def sweep(self) -> int:
        with own_work(self.app):
            return sweeper.sweep()

    def put(self, job_id: str, **fields: Any) -> int:
        url, token = f"/api/scrape-jobs/{job_id}", {"X-Lease-Token": "token"}
        return self.app.test_client().put(url, json=fields, headers=token).status_code


def ask(service: Service, domain: str, seconds: int) -> tuple[float, list[dict[str, Any]]]:
    """Claim a job, waiting up to `seconds`; return the elapsed seconds and the jobs."""
    began = time.monotonic()
    body = {"worker_id": "w", "domains": [domain], "wait_seconds": seconds}
    answer = requests.post(f"{service.jobs}/next", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return time.monotonic() - began, answer.json()["data"]
