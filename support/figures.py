"""The service on a database of its own, and comparisons of its statistics."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg2
from flask import Flask

from app.config import Settings
from app.statistics import counting, service
from support.application import application
from support.factories import new_domain
from support.service import own_work

JOBS = "/api/scrape-jobs"

Figures = dict[str, Any]
Step = dict[str, Any]

# Insert jobs that completed just now, one for each duration, with their last event only.
COMPLETIONS = """
WITH job AS (
    INSERT INTO scrape_jobs (id, domain_id, domain, job_type, status, priority, max_retries,
        completed_at, created_at, updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), replace(%(domain)s, '#', n::text), 'scrape',
        'completed', 5, 3,
        now(), now(), now() + n * interval '1 microsecond'
    FROM generate_series(1, cardinality(%(durations)s::float8[])) AS n RETURNING *
), numbered AS (SELECT id, updated_at AS at, row_number() OVER (ORDER BY updated_at) AS n FROM job
), event AS (
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes,
        stats, retry_count, seconds)
    SELECT id, 1, at, 'updated', 'running', 'completed', 'system', '{}', '{}', 0,
        (%(durations)s::float8[])[n]
    FROM numbered
) INSERT INTO uncounted_events (job_id, seq) SELECT id, 1 FROM job
"""


@contextmanager
def statistics_api(url: str, threads: int = 4) -> Iterator["StatisticsApi"]:
    """Make an application on the database, and close it at the end."""
    settings = Settings(database_url=url, auth="off", rate_limit=False, threads=threads)
    with application(settings) as app:
        api = StatisticsApi(url, app)
        try:
            yield api
        finally:
            api.close()


class StatisticsApi:
    """The service on a database of its own, where only the tests count events."""

    def __init__(self, url: str, app: Flask) -> None:
        self.app = app
        self.client = app.test_client()
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

    def create(self, **fields: Any) -> str:
        answer = self.client.post(JOBS, json={"domain": new_domain(), **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["data"]["id"])

    def put(self, job_id: str, **fields: Any) -> None:
        answer = self.client.put(f"{JOBS}/{job_id}", json=fields)
        assert answer.status_code == 200, answer.text

    def make(self, *steps: Step | str, **fields: Any) -> str:
        """Create a job with `fields` and apply the changes in `steps`; a string is a new status."""
        job_id = self.create(**fields)
        for step in steps:
            self.put(job_id, **({"status": step} if isinstance(step, str) else step))
        return job_id

    def date(self, job_id: str, *moments: datetime) -> None:
        """Set the times of the job's events, from the first on."""
        for seq, at in enumerate(moments, 1):
            parameters = {"at": at, "id": job_id, "seq": seq}
            self.sql(
                "UPDATE job_events SET at = %(at)s WHERE job_id = %(id)s AND seq = %(seq)s",
                parameters,
            )

    def complete(self, domain: str, durations: Sequence[float]) -> None:
        """Create completed jobs, one for each duration; # in `domain` stands for their number."""
        self.sql(COMPLETIONS, {"domain": domain, "durations": list(durations)})

    def uncounted(self) -> int:
        return int(self.sql("SELECT count(*) FROM uncounted_events")[0][0])

    def count(self, limit: int | None = None) -> int:
        with own_work(self.app):
            return service.count() if limit is None else counting.count(limit)

    def ask(self, query: str | Mapping[str, Any]) -> Figures:
        answer = self.client.get(f"{JOBS}/stats", query_string=query)
        assert answer.status_code == 200, answer.text
        figures: Figures = answer.get_json()["data"]
        return figures

    def figures(self, *asked: Mapping[str, Any]) -> list[Figures]:
        """Return the answers; fail unless they are equal with no, half and all events counted."""
        waiting = self.uncounted()
        assert waiting > 0
        answers = [self.ask(query) for query in asked]
        assert self.count(waiting // 2) == waiting // 2
        assert_same([self.ask(query) for query in asked], answers)
        assert self.count() == waiting - waiting // 2
        assert self.uncounted() == 0
        assert_same([self.ask(query) for query in asked], answers)
        return answers

    def of(self, domain: str, **query: Any) -> Figures:
        """Return the figures of the domain, compared as in `figures`."""
        return self.figures({"domain": domain, **query})[0]


def assert_same(found: Any, expected: Any) -> None:
    """Fail if two answers differ, except by rounding and by the job that an error names."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected.keys() - {"job_id"}:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=2e-6)
    else:
        assert found == expected
