"""Retention: what is removed, what stays, and what becomes of it when something comes in
between."""

import os
import pty
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from click.testing import Result
from flask import Flask

from app import database
from app.config import Settings
from app.errors import JobNotFound
from app.events.provenance import ANONYMOUS, Provenance
from app.factory import create_app
from app.jobs import leases, retention, service
from app.jobs.change_request import Preconditions, Retry
from app.statistics import service as statistics
from support.database import migrate, new_database
from support.factories import new_domain
from support.service import ROOT, environment, own_work, wait_until

JOBS = "/api/scrape-jobs"
PROVENANCE = Provenance(ANONYMOUS, "retention")
NINETY_DAYS = 90 * 86400.0
HINT = "is no length of time such as 90d, 12h or 30m"

TABLES = (
    "scrape_jobs", "job_events", "outbox", "uncounted_events", "webhook_deliveries", "job_totals",
    "job_duration_totals", "job_error_totals",
)  # fmt: skip

# Jobs that came to their status `age` ago, a microsecond after each other: two events each, and a
# webhook delivered.
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

OWED = {
    "a webhook that is not told yet": "INSERT INTO outbox (job_id, seq, created_at) VALUES (%(id)s, 2, now())",
    "a delivery under way": "UPDATE webhook_deliveries SET status = 'pending' WHERE job_id = %(id)s",
    "an event that is not counted": "INSERT INTO uncounted_events (job_id, seq) VALUES (%(id)s, 2)",
}
SETTLED = """
UPDATE webhook_deliveries SET status = 'failed';
TRUNCATE outbox, uncounted_events
"""


class Attic:
    """A database of the tests' own with old jobs in it, and the application on it."""

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
        """Make jobs of that age and return their ids."""
        parameters = {
            "count": count,
            "status": status,
            "age": timedelta(days=days, minutes=minutes),
        }
        return [job_id for (job_id,) in self.sql(FILL, parameters)]

    def left(self) -> set[str]:
        """Return the ids of the jobs that there are; all that belongs to others has to be gone."""
        ids = {job_id for (job_id,) in self.sql("SELECT id FROM scrape_jobs")}
        for table in ("job_events", "webhook_deliveries", "outbox", "uncounted_events"):
            assert {job_id for (job_id,) in self.sql(f"SELECT job_id FROM {table}")} <= ids, table
        assert ids == {job_id for (job_id,) in self.sql("SELECT job_id FROM job_events")}
        return ids

    def flask(self, *arguments: str) -> Result:
        """Run a command of flask's in this process."""
        return self.app.test_cli_runner().invoke(args=arguments)

    def prune(self, *options: str, older_than: str = "90d") -> str:
        """Run the command in this process, which has to succeed, and return what it says."""
        result = self.flask("jobs", "prune", "--older-than", older_than, *options)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    def start(self, *options: str, stderr: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        """Start the command as a process of its own, which ends with SIGINT even where this one
        does not."""
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


@pytest.fixture(scope="module")
def own_attic(server_url: str) -> Iterator[Attic]:
    for url in new_database(server_url):
        migrate(url)
        app = create_app(Settings(database_url=url, auth="off", rate_limit=False, threads=4))
        attic = Attic(url, app)
        attic.sql(ENDPOINT)
        yield attic
        attic.close()
        with own_work(app):
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def attic(own_attic: Attic) -> Attic:
    own_attic.sql(f"TRUNCATE {', '.join(TABLES)}")
    return own_attic


# ----------------------------------------------------------------------------------------------------- what goes


def test_old_jobs_that_are_over_go_with_all_that_belongs_to_them(attic: Attic) -> None:
    for status in ("completed", "failed", "cancelled"):
        attic.fill(400, status)
    kept = attic.fill(2, "pending") + attic.fill(1, "running") + attic.fill(5, "completed", days=80)
    process = attic.start()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "Removed 1200 jobs; kept 3 jobs of that age.\n")
    assert err == "Removing\n"  # nobody looks, and so no bar
    assert attic.left() == set(kept)


def test_on_a_terminal_a_bar_shows_how_far_it_is_and_the_result_goes_elsewhere(
    attic: Attic,
) -> None:
    attic.fill(1, days=101)
    attic.fill(700)
    terminal, end = pty.openpty()
    process = attic.start(stderr=end)
    os.close(end)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.read() == "Removed 701 jobs; kept 0 jobs of that age.\n"
    assert process.wait(10) == 0
    assert b"Removing" in shown
    assert b"\r" in shown
    assert b"100%" in shown
    assert b"Removed" not in shown


def test_it_goes_in_small_steps_each_of_which_is_done_when_it_is_told(attic: Attic) -> None:
    attic.fill(1100)
    attic.fill(1, "pending", days=99)
    with own_work(attic.app):
        old = retention.prune_range(NINETY_DAYS)
        steps = []
        for step in retention.prune(old, dry_run=False):
            steps.append(step)
            assert len(attic.left()) == 1101 - sum(step.removed for step in steps)
    assert [(step.removed, step.kept) for step in steps] == [(500, 0), (500, 0), (100, 1)]
    assert old.oldest is not None
    assert old.oldest < steps[0].reached < steps[1].reached < steps[2].reached < old.cutoff


def test_jobs_of_one_moment_are_all_found(attic: Attic) -> None:
    attic.fill(1201)
    attic.sql("UPDATE scrape_jobs SET updated_at = now() - interval '95 days'")
    assert attic.prune() == "Removed 1201 jobs; kept 0 jobs of that age.\n"
    assert attic.left() == set()


def test_the_age_is_that_of_the_last_change(attic: Attic) -> None:
    young = attic.fill(1, days=90, minutes=-1)
    attic.fill(1, days=90, minutes=1)
    attic.sql("UPDATE scrape_jobs SET created_at = '2020-01-01Z'")
    assert attic.prune() == "Removed 1 job; kept 0 jobs of that age.\n"
    assert attic.left() == set(young)


@pytest.mark.parametrize(
    ("older_than", "removed"),
    [("5400s", 3), ("90m", 3), ("5h", 2), ("2d", 1), ("1w", 0), ("0s", 4)],
)
def test_the_age_may_be_told_in_seconds_minutes_hours_days_or_weeks(
    attic: Attic, older_than: str, removed: int
) -> None:
    for minutes in (1, 120, 360, 4320):
        attic.fill(1, days=0, minutes=minutes)
    assert attic.prune(older_than=older_than).startswith(f"Removed {removed} job")
    assert len(attic.left()) == 4 - removed


def test_where_nothing_is_old_nothing_is_done(attic: Attic) -> None:
    kept = attic.fill(3, days=1)
    assert attic.prune() == "Removed 0 jobs; kept 0 jobs of that age.\n"
    assert attic.left() == set(kept)


# ----------------------------------------------------------------------------------------------------- what stays


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_job_that_waits_or_runs_stays_however_old_it_is(attic: Attic, status: str) -> None:
    kept = attic.fill(2, status, days=4000)
    attic.fill(1)
    assert attic.prune() == "Removed 1 job; kept 2 jobs of that age.\n"
    assert attic.left() == set(kept)


@pytest.mark.parametrize("owed", OWED)
@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_job_stays_for_as_long_as_something_is_owed(attic: Attic, status: str, owed: str) -> None:
    (kept,) = attic.fill(1, status)
    attic.sql(OWED[owed], {"id": kept})
    attic.fill(3, status)
    assert attic.prune("--dry-run") == "Would remove 3 jobs; kept 1 job of that age.\n"
    assert attic.prune() == "Removed 3 jobs; kept 1 job of that age.\n"
    assert attic.left() == {kept}
    attic.sql(SETTLED)
    assert attic.prune() == "Removed 1 job; kept 0 jobs of that age.\n"
    assert attic.left() == set()


@pytest.mark.parametrize("seq", [1, 2])
def test_a_job_stays_for_as_long_as_one_of_its_events_is_young_whatever_it_says_itself(
    attic: Attic, seq: int
) -> None:
    kept, _ = attic.fill(2)
    young = "UPDATE job_events SET at = now() - interval '89 days' WHERE job_id = %(id)s AND seq = %(seq)s"
    attic.sql(young, {"id": kept, "seq": seq})
    assert attic.prune("--dry-run") == "Would remove 1 job; kept 1 job of that age.\n"
    assert attic.prune() == "Removed 1 job; kept 1 job of that age.\n"
    assert attic.left() == {kept}
    assert attic.prune(older_than="88d") == "Removed 1 job; kept 0 jobs of that age.\n"


def test_what_has_to_stay_does_not_stand_in_the_way_of_what_comes_after(attic: Attic) -> None:
    kept = attic.fill(1100, "running", days=200) + attic.fill(600, "pending", days=110)
    attic.fill(10, days=150)
    attic.fill(10, days=100)
    assert attic.prune() == "Removed 20 jobs; kept 1700 jobs of that age.\n"
    assert attic.left() == set(kept)


def test_a_dry_run_tells_the_same_number_and_removes_nothing(attic: Attic) -> None:
    attic.fill(1020, "failed")
    attic.fill(7, "running")
    (owing,) = attic.fill(1)
    attic.sql(OWED["a delivery under way"], {"id": owing})
    before = [attic.sql(f"SELECT t::text FROM {table} t ORDER BY 1") for table in TABLES]
    process = attic.start("--dry-run")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (
        0,
        "Would remove 1020 jobs; kept 8 jobs of that age.\n",
        "Looking\n",
    )
    assert [attic.sql(f"SELECT t::text FROM {table} t ORDER BY 1") for table in TABLES] == before
    assert attic.prune() == "Removed 1020 jobs; kept 8 jobs of that age.\n"


def test_nothing_else_is_touched(attic: Attic) -> None:
    attic.fill(5)
    attic.fill(5, days=1)
    (keep,) = attic.fill(1, days=2)
    attic.sql(
        "INSERT INTO outbox (job_id, seq, created_at) VALUES (%(id)s, 2, now())", {"id": keep}
    )
    rest = "WHERE t.job_id IN (SELECT id FROM scrape_jobs WHERE updated_at > now() - interval '9 days')"
    tables = [f"SELECT t::text FROM {table} t {rest} ORDER BY 1" for table in TABLES[1:5]]
    before = [attic.sql(query) for query in tables]
    attic.prune()
    assert [attic.sql(query) for query in tables] == before
    assert len(attic.left()) == 6


# ----------------------------------------------------------------------------------------------------- in between


def test_a_job_that_is_retried_while_it_is_about_to_go_stays(attic: Attic) -> None:
    ids = attic.fill(30, "failed")
    saved = ids[11]

    with ThreadPoolExecutor(1) as pool:
        with own_work(attic.app), database.transaction():
            leases.retry(UUID(saved), {}, Retry(), Preconditions(), PROVENANCE)
            pruned = pool.submit(attic.prune)
            wait_until(attic.somebody_waits_for_a_lock)
        assert pruned.result(30).startswith("Removed 29 jobs;")
    assert attic.left() == {saved}
    client = attic.app.test_client()
    assert client.get(f"{JOBS}/{saved}").get_json()["data"]["status"] == "pending"
    assert len(client.get(f"{JOBS}/{saved}/history").get_json()["data"]) == 3
    assert attic.sql("SELECT job_id::text FROM webhook_deliveries") == [(saved,)]
    assert attic.sql("SELECT job_id::text, seq FROM outbox") == [(saved, 3)]


def test_a_job_that_is_only_looked_at_meanwhile_goes(attic: Attic) -> None:
    (gone,) = attic.fill(1, "failed")
    with (
        ThreadPoolExecutor(1) as pool,
        closing(psycopg2.connect(attic.url)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("SELECT FROM scrape_jobs WHERE id = %s FOR UPDATE", (gone,))
        pruned = pool.submit(attic.prune)
        wait_until(attic.somebody_waits_for_a_lock)
        other.rollback()
        assert pruned.result(30) == "Removed 1 job; kept 0 jobs of that age.\n"
    assert attic.left() == set()


def test_a_job_that_changes_meanwhile_without_becoming_younger_stays_with_all_its_events(
    attic: Attic,
) -> None:
    kept, _ = attic.fill(2, "failed")
    with (
        ThreadPoolExecutor(1) as pool,
        closing(psycopg2.connect(attic.url)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("UPDATE scrape_jobs SET version = 3 WHERE id = %s", (kept,))
        cursor.execute(
            "INSERT INTO job_events SELECT (jsonb_populate_record(e, '{\"seq\": 3}')).* FROM job_events e"
            " WHERE job_id = %s AND seq = 2",
            (kept,),
        )
        pruned = pool.submit(attic.prune)
        wait_until(attic.somebody_waits_for_a_lock)
        other.commit()
        assert pruned.result(30) == "Removed 1 job; kept 1 job of that age.\n"
    assert attic.left() == {kept}
    assert attic.sql("SELECT seq FROM job_events ORDER BY seq") == [(1,), (2,), (3,)]


def test_a_change_that_comes_too_late_finds_no_job(attic: Attic) -> None:
    (gone,) = attic.fill(1, "failed")
    client = attic.app.test_client()
    with (
        ThreadPoolExecutor(1) as pool,
        closing(psycopg2.connect(attic.url)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("DELETE FROM scrape_jobs WHERE id = %s", (gone,))
        cursor.execute("DELETE FROM job_events WHERE job_id = %s", (gone,))
        cursor.execute("DELETE FROM webhook_deliveries WHERE job_id = %s", (gone,))
        answer = pool.submit(client.put, f"{JOBS}/{gone}", json={"status": "pending"})
        wait_until(attic.somebody_waits_for_a_lock)
        other.commit()
        assert answer.result(30).status_code == 404
    assert attic.left() == set()


def test_two_that_prune_at_once_remove_each_job_once(attic: Attic) -> None:
    attic.fill(2500)
    start = threading.Barrier(2, timeout=30)

    def prune() -> int:
        with own_work(attic.app):
            old = retention.prune_range(NINETY_DAYS)
            start.wait()
            return sum(step.removed for step in retention.prune(old, dry_run=False))

    with ThreadPoolExecutor(2) as pool:
        removed = [one.result(60) for one in [pool.submit(prune) for _ in range(2)]]
    assert sum(removed) == 2500
    assert attic.left() == set()


def test_jobs_that_change_all_the_time_are_never_removed_in_part(attic: Attic) -> None:
    ids = attic.fill(1500, "failed")
    retried = [UUID(job_id) for job_id in ids[::10]]

    def retry() -> int:
        with own_work(attic.app):
            return sum(answer(job_id) for job_id in retried)

    def answer(job_id: UUID) -> bool:
        try:
            service.update(job_id, {"status": "pending"}, Preconditions(), PROVENANCE)
        except JobNotFound:
            return False
        return True

    with ThreadPoolExecutor(1) as pool:
        saved = pool.submit(retry)
        wait_until(lambda: attic.sql("SELECT EXISTS (SELECT FROM outbox)")[0][0])
        said = attic.prune()
    left = attic.left()
    assert len(left) == saved.result(30) > 0
    assert said.startswith(f"Removed {1500 - len(left)} jobs;")
    assert {status for (status,) in attic.sql("SELECT status FROM scrape_jobs")} == {"pending"}


def test_an_interrupt_in_the_middle_loses_nothing_and_a_second_run_finishes(attic: Attic) -> None:
    ids = attic.fill(2600)
    (running,) = attic.fill(1, "running")
    in_the_way = attic.sql("SELECT id FROM scrape_jobs ORDER BY updated_at OFFSET 1200 LIMIT 1")[0][
        0
    ]
    with closing(psycopg2.connect(attic.url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT FROM scrape_jobs WHERE id = %s FOR UPDATE", (in_the_way,))
        process = attic.start()
        wait_until(attic.somebody_waits_for_a_lock, 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        other.rollback()
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1] == "Aborted!"
    assert "Traceback" not in err
    wait_until(lambda: not attic.somebody_removes())
    left = attic.left()
    assert len(left) in (1101, 1601)  # the step under way is done as a whole, or not at all
    assert left < {running, *ids}
    assert attic.prune() == f"Removed {len(left) - 1} jobs; kept 1 job of that age.\n"
    assert attic.left() == {running}


# ----------------------------------------------------------------------------------------------------- afterwards


def test_a_job_that_was_removed_is_not_there_and_nor_is_its_history(attic: Attic) -> None:
    (gone,) = attic.fill(1, "failed")
    client = attic.app.test_client()
    assert client.get(f"{JOBS}/{gone}/history").status_code == 200
    attic.prune()
    answers = [
        client.get(f"{JOBS}/{gone}"),
        client.get(f"{JOBS}/{gone}/history"),
        client.delete(f"{JOBS}/{gone}"),
    ]
    answers += [
        client.put(f"{JOBS}/{gone}", json={"status": "pending"}),
        client.post(f"{JOBS}/{gone}/retry", json={}),
    ]
    for answer in answers:
        assert answer.status_code == 404
        assert answer.get_json() == {"success": False, "error": "Job not found"}
    assert client.get(JOBS).get_json()["data"] == []


def test_statistics_keep_what_they_counted(attic: Attic) -> None:
    client = attic.app.test_client()
    domain = new_domain()
    steps: Sequence[Mapping[str, Any]] = (
        {"status": "running", "started_at": "2020-01-01T00:00:00Z"},
        {
            "status": "failed",
            "completed_at": "2020-01-01T00:01:00Z",
            "error_message": "Blocked by 7 rules",
        },
        {"status": "pending"},
        {"status": "running", "started_at": "2020-01-01T00:00:00Z"},
        {
            "status": "completed",
            "completed_at": "2020-01-01T00:02:00Z",
            "stats": {"pagesProcessed": 8},
        },
    )
    for last in (3, 5):
        job_id = client.post(JOBS, json={"domain": domain}).get_json()["data"]["id"]
        for step in steps[: last - 1] if last == 3 else steps:
            assert client.put(f"{JOBS}/{job_id}", json=step).status_code == 200
    attic.sql("UPDATE job_events SET at = at - interval '100 days'")
    attic.sql("UPDATE scrape_jobs SET updated_at = updated_at - interval '100 days'")
    attic.sql("TRUNCATE outbox")
    ((start, end),) = attic.sql(
        "SELECT date_trunc('day', now()) - interval '101 days', date_trunc('day', now()) - interval '98 days'"
    )
    window = {"from": start.isoformat(), "to": end.isoformat()}
    queries: Sequence[dict[str, str]] = (
        {}, window, {"domain": domain}, {"domain": domain, **window}, {"group_by": "hour"}, {"group_by": "domain"},
    )  # fmt: skip

    def figures() -> list[Any]:
        answers = [
            client.get(f"{JOBS}/stats", query_string=query).get_json()["data"] for query in queries
        ]
        return [{**answer, "groups": sorted(answer["groups"], key=str)} for answer in answers]

    assert attic.prune() == "Removed 0 jobs; kept 2 jobs of that age.\n"  # they are not counted yet
    with own_work(attic.app):
        assert statistics.count() == 9
    before = figures()
    assert [each["total"] for each in before] == [2] * 6
    assert before[1]["by_status"]["completed"] == before[1]["by_status"]["failed"] == 1
    assert before[1]["errors"][0]["count"] == 2
    assert attic.prune() == "Removed 2 jobs; kept 0 jobs of that age.\n"
    assert attic.left() == set()
    assert figures() == before
    client.post(JOBS, json={"domain": domain})
    assert figures()[0]["total"] == 3


# ----------------------------------------------------------------------------------------------------- the commands


@pytest.mark.parametrize(
    "age",
    [
        "90",
        "",
        " ",
        "d",
        "-1d",
        "+1d",
        "1.5d",
        "90 d",
        "1y",
        "90D",
        "90days",
        "٩d",
        "9" * 7 + "d",
        "1d\n",
    ],
)
def test_an_age_that_is_none_is_refused_with_an_example(attic: Attic, age: str) -> None:
    kept = attic.fill(1)
    result = attic.flask("jobs", "prune", "--older-than", age)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: ")
    assert f"Error: Invalid value for '--older-than': {age!r} {HINT}\n" in result.stderr
    assert attic.left() == set(kept)


def test_no_age_is_refused(attic: Attic) -> None:
    kept = attic.fill(1)
    result = attic.flask("jobs", "prune")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Missing option '--older-than'" in result.stderr
    assert attic.left() == set(kept)


@pytest.mark.parametrize("age", ["9999w", "999999h", "800000d", "999999d", "999999w"])
def test_an_age_of_thousands_of_years_removes_nothing_and_breaks_nothing(
    attic: Attic, age: str
) -> None:
    kept = attic.fill(1)
    result = attic.flask("jobs", "prune", "--older-than", age)
    assert isinstance(result.exception, SystemExit | None)
    assert result.exit_code in (0, 2)
    assert attic.left() == set(kept)


def test_queue_sweep_tells_how_many_jobs_it_rescued(attic: Attic) -> None:
    client = attic.app.test_client()
    assert attic.flask("queue", "sweep").stdout == "Rescued 0 jobs.\n"
    for count, said in ((1, "Rescued 1 job.\n"), (3, "Rescued 3 jobs.\n")):
        client.post(JOBS, json=[{"domain": new_domain()}] * count)
        body = {"worker_id": "w", "limit": count, "lease_seconds": 5}
        assert len(client.post(f"{JOBS}/next", json=body).get_json()["data"]) == count
        attic.sql(
            "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'"
        )
        result = attic.flask("queue", "sweep")
        assert (result.exit_code, result.stdout, result.stderr) == (0, said, "")
    assert attic.flask("queue", "sweep").stdout == "Rescued 0 jobs.\n"


def test_statistics_count_tells_how_many_status_changes_it_counted(attic: Attic) -> None:
    client = attic.app.test_client()
    assert attic.flask("statistics", "count").stdout == "Counted 0 status changes.\n"
    jobs = client.post(JOBS, json=[{"domain": new_domain()}] * 3).get_json()["data"]
    client.put(f"{JOBS}/{jobs[0]['id']}", json={"status": "running"})
    client.put(
        f"{JOBS}/{jobs[0]['id']}", json={"status": "running", "stats": {"pagesProcessed": 1}}
    )
    result = attic.flask("statistics", "count")
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "Counted 4 status changes.\n",
        "",
    )
    assert attic.flask("statistics", "count").stdout == "Counted 0 status changes.\n"


def test_a_wrong_option_is_refused_before_anything_is_done(attic: Attic) -> None:
    kept = attic.fill(1)
    for options in (["--dry"], ["--dry-run=yes"], [str(uuid.uuid4())]):
        result = attic.flask("jobs", "prune", "--older-than", "1d", *options)
        assert (result.exit_code, result.stdout) == (2, "")
    assert attic.left() == set(kept)
