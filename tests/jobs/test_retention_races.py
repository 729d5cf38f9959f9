"""Changes and interruptions during retention."""

import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import UUID

import psycopg2

from app import database
from app.errors import JobNotFound
from app.events.provenance import ANONYMOUS, Provenance
from app.jobs import leases, retention, service
from app.jobs.change_request import Preconditions, Retry
from app.statistics import service as statistics
from support.factories import new_domain
from support.retention import JOBS, NINETY_DAYS, OldJobs
from support.service import own_work, wait_until

PROVENANCE = Provenance(ANONYMOUS, "retention")


def test_job_retried_during_removal_is_kept(old_jobs: OldJobs) -> None:
    ids = old_jobs.fill(30, "failed")
    saved = ids[11]

    with ThreadPoolExecutor(1) as pool:
        with own_work(old_jobs.app), database.transaction():
            leases.retry(UUID(saved), {}, Retry(), Preconditions(), PROVENANCE)
            pruned = pool.submit(old_jobs.prune)
            wait_until(old_jobs.somebody_waits_for_a_lock)
        assert pruned.result(30).startswith("Removed 29 jobs;")
    assert old_jobs.left() == {saved}
    client = old_jobs.app.test_client()
    assert client.get(f"{JOBS}/{saved}").get_json()["data"]["status"] == "pending"
    assert len(client.get(f"{JOBS}/{saved}/history").get_json()["data"]) == 3
    assert old_jobs.sql("SELECT job_id::text FROM webhook_deliveries") == [(saved,)]
    assert old_jobs.sql("SELECT job_id::text, seq FROM outbox") == [(saved, 3)]


def test_job_read_during_removal_is_removed(old_jobs: OldJobs) -> None:
    (gone,) = old_jobs.fill(1, "failed")
    with (
        ThreadPoolExecutor(1) as pool,
        closing(psycopg2.connect(old_jobs.url)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("SELECT FROM scrape_jobs WHERE id = %s FOR UPDATE", (gone,))
        pruned = pool.submit(old_jobs.prune)
        wait_until(old_jobs.somebody_waits_for_a_lock)
        other.rollback()
        assert pruned.result(30) == "Removed 1 job; kept 0 jobs of that age.\n"
    assert old_jobs.left() == set()


def test_job_changed_during_removal_is_kept(
    old_jobs: OldJobs,
) -> None:
    kept, _ = old_jobs.fill(2, "failed")
    with (
        ThreadPoolExecutor(1) as pool,
        closing(psycopg2.connect(old_jobs.url)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("UPDATE scrape_jobs SET version = 3 WHERE id = %s", (kept,))
        cursor.execute(
            "INSERT INTO job_events SELECT (jsonb_populate_record(e, '{\"seq\": 3}')).* FROM job_events e"
            " WHERE job_id = %s AND seq = 2",
            (kept,),
        )
        pruned = pool.submit(old_jobs.prune)
        wait_until(old_jobs.somebody_waits_for_a_lock)
        other.commit()
        assert pruned.result(30) == "Removed 1 job; kept 1 job of that age.\n"
    assert old_jobs.left() == {kept}
    assert old_jobs.sql("SELECT seq FROM job_events ORDER BY seq") == [(1,), (2,), (3,)]


def test_change_after_removal_finds_no_job(old_jobs: OldJobs) -> None:
    (gone,) = old_jobs.fill(1, "failed")
    client = old_jobs.app.test_client()
    with (
        ThreadPoolExecutor(1) as pool,
        closing(psycopg2.connect(old_jobs.url)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("DELETE FROM scrape_jobs WHERE id = %s", (gone,))
        cursor.execute("DELETE FROM job_events WHERE job_id = %s", (gone,))
        cursor.execute("DELETE FROM webhook_deliveries WHERE job_id = %s", (gone,))
        answer = pool.submit(client.put, f"{JOBS}/{gone}", json={"status": "pending"})
        wait_until(old_jobs.somebody_waits_for_a_lock)
        other.commit()
        assert answer.result(30).status_code == 404
    assert old_jobs.left() == set()


def test_concurrent_prunes_remove_each_job_once(old_jobs: OldJobs) -> None:
    old_jobs.fill(2500)
    start = threading.Barrier(2, timeout=30)

    def prune() -> int:
        with own_work(old_jobs.app):
            old = retention.prune_range(NINETY_DAYS)
            start.wait()
            return sum(step.removed for step in retention.prune(old, dry_run=False))

    with ThreadPoolExecutor(2) as pool:
        removed = [one.result(60) for one in [pool.submit(prune) for _ in range(2)]]
    assert sum(removed) == 2500
    assert old_jobs.left() == set()


def test_changing_jobs_are_never_removed_partially(old_jobs: OldJobs) -> None:
    ids = old_jobs.fill(1500, "failed")
    retried = [UUID(job_id) for job_id in ids[::10]]

    def retry() -> int:
        with own_work(old_jobs.app):
            return sum(answer(job_id) for job_id in retried)

    def answer(job_id: UUID) -> bool:
        try:
            service.update(job_id, {"status": "pending"}, Preconditions(), PROVENANCE)
        except JobNotFound:
            return False
        return True

    with ThreadPoolExecutor(1) as pool:
        saved = pool.submit(retry)
        wait_until(lambda: old_jobs.sql("SELECT EXISTS (SELECT FROM outbox)")[0][0])
        said = old_jobs.prune()
    left = old_jobs.left()
    assert len(left) == saved.result(30) > 0
    assert said.startswith(f"Removed {1500 - len(left)} jobs;")
    assert {status for (status,) in old_jobs.sql("SELECT status FROM scrape_jobs")} == {"pending"}


def test_interrupted_prune_can_be_repeated(old_jobs: OldJobs) -> None:
    ids = old_jobs.fill(2600)
    (running,) = old_jobs.fill(1, "running")
    in_the_way = old_jobs.sql("SELECT id FROM scrape_jobs ORDER BY updated_at OFFSET 1200 LIMIT 1")[
        0
    ][0]
    with closing(psycopg2.connect(old_jobs.url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT FROM scrape_jobs WHERE id = %s FOR UPDATE", (in_the_way,))
        process = old_jobs.start()
        wait_until(old_jobs.somebody_waits_for_a_lock, 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        other.rollback()
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1] == "Aborted!"
    assert "Traceback" not in err
    wait_until(lambda: not old_jobs.somebody_removes())
    left = old_jobs.left()
    assert len(left) in (1101, 1601)  # the current batch is completed or rolled back
    assert left < {running, *ids}
    assert old_jobs.prune() == f"Removed {len(left) - 1} jobs; kept 1 job of that age.\n"
    assert old_jobs.left() == {running}


def test_removed_job_and_history_are_not_found(old_jobs: OldJobs) -> None:
    (gone,) = old_jobs.fill(1, "failed")
    client = old_jobs.app.test_client()
    assert client.get(f"{JOBS}/{gone}/history").status_code == 200
    old_jobs.prune()
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


def test_statistics_keep_what_they_counted(old_jobs: OldJobs) -> None:
    client = old_jobs.app.test_client()
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
    old_jobs.sql("UPDATE job_events SET at = at - interval '100 days'")
    old_jobs.sql("UPDATE scrape_jobs SET updated_at = updated_at - interval '100 days'")
    old_jobs.sql("TRUNCATE outbox")
    ((start, end),) = old_jobs.sql(
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

    assert (
        old_jobs.prune() == "Removed 0 jobs; kept 2 jobs of that age.\n"
    )  # their changes are not counted yet
    with own_work(old_jobs.app):
        assert statistics.count() == 9
    before = figures()
    assert [each["total"] for each in before] == [2] * 6
    assert before[1]["by_status"]["completed"] == before[1]["by_status"]["failed"] == 1
    assert before[1]["errors"][0]["count"] == 2
    assert old_jobs.prune() == "Removed 2 jobs; kept 0 jobs of that age.\n"
    assert old_jobs.left() == set()
    assert figures() == before
    client.post(JOBS, json={"domain": domain})
    assert figures()[0]["total"] == 3
