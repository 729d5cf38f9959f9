"""Options and output of the commands."""

import uuid

import pytest

from support.factories import new_domain
from support.retention import JOBS, OldJobs

HINT = "is no length of time such as 90d, 12h or 30m"


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
def test_invalid_age_is_rejected_with_an_example(old_jobs: OldJobs, age: str) -> None:
    kept = old_jobs.fill(1)
    result = old_jobs.flask("jobs", "prune", "--older-than", age)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: ")
    assert f"Error: Invalid value for '--older-than': {age!r} {HINT}\n" in result.stderr
    assert old_jobs.left() == set(kept)


def test_no_age_is_refused(old_jobs: OldJobs) -> None:
    kept = old_jobs.fill(1)
    result = old_jobs.flask("jobs", "prune")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Missing option '--older-than'" in result.stderr
    assert old_jobs.left() == set(kept)


@pytest.mark.parametrize("age", ["9999w", "999999h", "800000d", "999999d", "999999w"])
def test_age_of_thousands_of_years_is_accepted(old_jobs: OldJobs, age: str) -> None:
    kept = old_jobs.fill(1)
    result = old_jobs.flask("jobs", "prune", "--older-than", age)
    assert isinstance(result.exception, SystemExit | None)
    assert result.exit_code in (0, 2)
    assert old_jobs.left() == set(kept)


def test_queue_sweep_prints_number_of_jobs(old_jobs: OldJobs) -> None:
    client = old_jobs.app.test_client()
    assert old_jobs.flask("queue", "sweep").stdout == "Rescued 0 jobs.\n"
    for count, said in ((1, "Rescued 1 job.\n"), (3, "Rescued 3 jobs.\n")):
        client.post(JOBS, json=[{"domain": new_domain()}] * count)
        body = {"worker_id": "w", "limit": count, "lease_seconds": 5}
        assert len(client.post(f"{JOBS}/next", json=body).get_json()["data"]) == count
        old_jobs.sql(
            "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'"
        )
        result = old_jobs.flask("queue", "sweep")
        assert (result.exit_code, result.stdout, result.stderr) == (0, said, "")
    assert old_jobs.flask("queue", "sweep").stdout == "Rescued 0 jobs.\n"


def test_statistics_count_prints_number_of_changes(old_jobs: OldJobs) -> None:
    client = old_jobs.app.test_client()
    assert old_jobs.flask("statistics", "count").stdout == "Counted 0 status changes.\n"
    jobs = client.post(JOBS, json=[{"domain": new_domain()}] * 3).get_json()["data"]
    client.put(f"{JOBS}/{jobs[0]['id']}", json={"status": "running"})
    client.put(
        f"{JOBS}/{jobs[0]['id']}", json={"status": "running", "stats": {"pagesProcessed": 1}}
    )
    result = old_jobs.flask("statistics", "count")
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "Counted 4 status changes.\n",
        "",
    )
    assert old_jobs.flask("statistics", "count").stdout == "Counted 0 status changes.\n"


def test_invalid_option_changes_nothing(old_jobs: OldJobs) -> None:
    kept = old_jobs.fill(1)
    for options in (["--dry"], ["--dry-run=yes"], [str(uuid.uuid4())]):
        result = old_jobs.flask("jobs", "prune", "--older-than", "1d", *options)
        assert (result.exit_code, result.stdout) == (2, "")
    assert old_jobs.left() == set(kept)
