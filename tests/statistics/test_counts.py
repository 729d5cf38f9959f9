"""Jobs by status, rates and retries."""

from collections.abc import Sequence

import pytest

from app.queue import sweeper
from support.factories import new_domain
from support.figures import JOBS, StatisticsApi, Step
from support.service import own_work
from support.statistics import STATES, began, by_status, ended


def test_job_counts_once_in_its_current_status(api: StatisticsApi) -> None:
    domain = new_domain()
    paths: Sequence[Sequence[str]] = (
        (), (), (), ("running",), ("running",), ("running", "completed"), ("running", "failed"),
        ("running", "failed", "pending"), ("cancelled",), ("running", "cancelled"), ("running", "failed", "cancelled"),
    )  # fmt: skip
    for path in paths:
        api.make(*path, domain=domain)
    found = api.of(domain)
    assert found["by_status"] == by_status(pending=4, running=2, completed=1, failed=1, cancelled=3)
    assert list(found["by_status"]) == list(STATES)
    assert found["total"] == len(paths)


def test_rates_cover_completed_and_failed_jobs_only(api: StatisticsApi) -> None:
    domain = new_domain()
    for path in (["completed"], ["completed"], ["failed"], ["cancelled"], []):
        api.make("running", *path, domain=domain)
    found = api.of(domain)
    assert found["success_rate"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["failure_rate"] == pytest.approx(1 / 3, abs=1e-6)


def test_rates_without_ended_jobs_are_null(api: StatisticsApi) -> None:
    domain = new_domain()
    for path in ([], ["running"], ["cancelled"]):
        api.make(*path, domain=domain)
    found = api.of(domain)
    assert (found["success_rate"], found["failure_rate"], found["retry_rate"]) == (None, None, 0)


def test_retry_rate_covers_all_jobs(api: StatisticsApi) -> None:
    domain = new_domain()
    again = ("running", "failed", "pending")
    for path in (
        again,
        (*again, "running", "completed"),
        (*again, "running", "failed", "pending"),
        ("running",),
        (),
    ):
        api.make(*path, domain=domain)
    assert api.of(domain)["retry_rate"] == 0.6


def test_retry_count_of_client_is_a_retry(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make({"status": "running", "retry_count": 2}, domain=domain)
    assert api.of(domain)["retry_rate"] == 1


def test_retried_job_moves_from_failed_to_pending(api: StatisticsApi) -> None:
    domain = new_domain()
    job_id = api.make("running", {"status": "failed", "error_message": "Gone"}, domain=domain)
    api.make("running", "completed", domain=domain)
    before = api.of(domain)
    assert before["by_status"] == by_status(failed=1, completed=1)
    assert (before["failure_rate"], before["retry_rate"]) == (0.5, 0)
    api.put(job_id, status="pending")
    after = api.of(domain)
    assert after["by_status"] == by_status(pending=1, completed=1)
    assert (after["failure_rate"], after["retry_rate"], after["total"]) == (0, 0.5, 2)
    assert (
        after["errors"] == before["errors"] == [{"pattern": "Gone", "count": 1, "job_id": job_id}]
    )


@pytest.mark.parametrize(
    "later",
    [
        {"stats": {"pagesProcessed": 7000, "performance": {"memoryUsage": "9GB"}}},
        {"status": "failed", "error_message": "Another text"},
        {"started_at": "2020-01-01T00:00:00Z", "completed_at": "2023-01-01T00:00:00Z"},
        {"retry_count": 3},
        {"metadata": {"a": 1}},
    ],
)
def test_update_without_new_status_changes_no_figure(api: StatisticsApi, later: Step) -> None:
    domain = new_domain()
    report = {"stats": {"pagesProcessed": 10}, "error_message": "One text"}
    job_id = api.make(began(), ended("failed", 10, **report), domain=domain)
    before = api.of(domain)
    api.put(job_id, **later)
    answer = api.client.patch(
        f"{JOBS}/{job_id}",
        json={"stats": {"x": 1}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200
    assert api.uncounted() == 0
    assert api.ask({"domain": domain}) == before


def test_claimed_released_and_retried_jobs_count(api: StatisticsApi) -> None:
    domain = new_domain()
    for number in range(3):
        api.create(domain=domain, priority=10 - number)
    body = {"worker_id": "w1", "domains": [domain], "limit": 3}
    taken = api.client.post(f"{JOBS}/next", json=body).get_json()["data"]
    assert api.of(domain)["by_status"] == by_status(running=3)
    for job, operation in zip(taken, ("release", "retry"), strict=False):
        headers = {"X-Lease-Token": job["lease_token"]}
        body = {"error_message": "Given up at page 3"} if operation == "retry" else {}
        answer = api.client.post(f"{JOBS}/{job['id']}/{operation}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
    found = api.of(domain)
    assert found["by_status"] == by_status(running=1, pending=2)
    assert found["retry_rate"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["errors"] == [
        {"pattern": "Given up at page <n>", "count": 1, "job_id": taken[1]["id"]}
    ]


def test_rescued_job_counts_one_failure(api: StatisticsApi) -> None:
    domain = new_domain()
    job_id = api.create(domain=domain)
    body = {"worker_id": "worker", "domains": [domain], "lease_seconds": 5}
    assert api.client.post(f"{JOBS}/next", json=body).status_code == 200
    api.sql(
        "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE id = %(id)s",
        {"id": job_id},
    )
    with own_work(api.app):
        assert sweeper.sweep() == 1
    found = api.of(domain)
    assert (found["by_status"], found["retry_rate"]) == (by_status(pending=1), 1)
    text = "Lease expired: no sign of life from worker worker"
    assert found["errors"] == [{"pattern": text, "count": 1, "job_id": job_id}]
