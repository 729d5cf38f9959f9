"""Commands that cancel and retry jobs, and the client's operations on many jobs."""

import json
from uuid import uuid4

import pytest
from click.testing import Result
from scrape_jobs import InvalidRequest, ScrapeJobs

from support.command_line import CommandLine
from support.service import wait_until


def create(api: ScrapeJobs, kind: str, count: int, domain: str = "example.com") -> list[str]:
    return [job.id for job in api.create_many([{"domain": domain, "job_type": kind}] * count)]


def fail(api: ScrapeJobs, job_id: str) -> None:
    api.update(job_id, status="running")
    api.update(job_id, status="failed", error_message="broken")


def statuses(api: ScrapeJobs, kind: str) -> list[str]:
    return [job.status for job in api.list(job_type=kind, sort="created_at")]


def documents(result: Result) -> list[dict[str, str]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_client_changes_many_by_ids(api: ScrapeJobs, kind: str) -> None:
    first, second = create(api, kind, 2)
    missing = str(uuid4())
    api.cancel(second)
    outcomes = api.cancel_many([first, second, missing, first], reason="enough")
    assert [(one.id, one.outcome, one.status) for one in outcomes] == [
        (first, "cancelled", "cancelled"),
        (second, "refused", "cancelled"),
        (missing, "not_found", None),
    ]
    assert [one.is_changed for one in outcomes] == [True, False, False]
    assert outcomes[1].details == "Job is already cancelled"
    assert api.get(first, required=True).error_message == "Cancelled via API: enough"
    assert api.cancel_many([]) == []
    with pytest.raises(InvalidRequest, match="UUIDs"):
        api.cancel_many(["abc"])
    with pytest.raises(InvalidRequest, match="at least one filter"):
        api.cancel_many()
    with pytest.raises(ValueError, match="either ids or filters"):
        api.cancel_many([first], domain="example.com")


def test_the_client_changes_all_that_match(api: ScrapeJobs, kind: str) -> None:
    create(api, kind, 600)
    create(api, kind, 600)
    assert len(api.cancel_many(job_type=kind, status="pending", limit=3)) == 3
    outcomes = api.cancel_many(job_type=kind)  # more than one request may change
    assert len({one.id for one in outcomes}) == len(outcomes) == 1197
    assert {one.outcome for one in outcomes} == {"cancelled"}
    assert api.cancel_many(job_type=kind) == []
    failed = create(api, kind, 2)
    for job_id in failed:
        fail(api, job_id)
    retried = api.retry_many(job_type=kind, delay_seconds=60)
    assert {one.id: one.status for one in retried} == dict.fromkeys(failed, "pending")


def test_ids_are_cancelled_with_their_outcomes(
    cli: CommandLine, api: ScrapeJobs, kind: str
) -> None:
    first, second, third = create(api, kind, 3)
    result = cli("cancel", first, "--reason", "enough")
    assert (result.exit_code, result.stdout) == (0, f"{first}  cancelled\n")
    result = cli("cancel", first)
    assert result.exit_code == 1
    assert result.stdout == f"{first}  not changed: Job is already cancelled\n"
    assert cli("cancel", str(uuid4())).exit_code == 4
    result = cli("cancel", second, first, "--yes", "--json")
    assert result.exit_code == 1
    assert [one["outcome"] for one in documents(result)] == ["cancelled", "refused"]
    assert result.stderr == "Error: 1 of 2 jobs were not changed\n"
    assert cli("cancel", third, "--domain", "example.com").exit_code == 2
    assert statuses(api, kind) == ["cancelled", "cancelled", "pending"]


def test_filters_select_jobs_that_can_change(cli: CommandLine, api: ScrapeJobs, kind: str) -> None:
    ids = create(api, kind, 3) + create(api, kind, 1, "other.example")
    fail(api, ids[0])
    api.update(ids[1], status="running")
    api.update(ids[1], status="completed")
    select = ("--type", kind, "--domain", "example.com")
    result = cli("cancel", *select, "--all", "--yes", "--json")
    assert result.exit_code == 0
    assert {one["id"] for one in documents(result)} == {ids[0], ids[2]}
    assert statuses(api, kind) == ["cancelled", "completed", "cancelled", "pending"]
    result = cli("cancel", *select)
    assert (result.exit_code, result.stderr) == (0, "No jobs match.\n")
    result = cli("cancel", *select, "--status", "completed")
    assert result.exit_code == 2
    assert "Only jobs that are pending or running or failed can be changed" in result.stderr


def test_without_terminal_many_jobs_need_yes(cli: CommandLine, api: ScrapeJobs, kind: str) -> None:
    create(api, kind, 2)
    result = cli("cancel", "--type", kind)
    assert result.exit_code == 2
    assert "Cancel 2 jobs? Without a terminal to ask, this needs --yes" in result.stderr
    assert statuses(api, kind) == ["pending", "pending"]
    assert cli("cancel", "--type", kind, "--limit", "1").exit_code == 0
    assert statuses(api, kind) == ["pending", "cancelled"]


def test_failed_jobs_are_retried(cli: CommandLine, api: ScrapeJobs, kind: str) -> None:
    first, second, pending = create(api, kind, 3)
    fail(api, first)
    fail(api, second)
    result = cli("retry", "--type", kind, "--yes", "--delay", "600")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)
    job = api.get(first, required=True)
    assert (job.status, job.retry_count) == ("pending", 1)
    assert job.scheduled_for is not None
    fail(api, first)
    result = cli("retry", "--reset", first, pending, str(uuid4()), "-y", "--json")
    assert result.exit_code == 1
    assert [one["outcome"] for one in documents(result)] == ["retried", "refused", "not_found"]
    assert api.get(first, required=True).retry_count == 0
    assert cli("retry", "--reset", "--type", kind).exit_code == 2


def test_on_a_terminal_many_jobs_ask(cli: CommandLine, api: ScrapeJobs, kind: str) -> None:
    create(api, kind, 2)
    script = f"for n in 1 2; do $SJ cancel --type {kind}; echo code=$?; done"
    with cli.in_terminal(script) as terminal:
        wait_until(lambda: terminal.output().count("Cancel 2 jobs? [y/N]") == 1)
        terminal.type("n\n")
        wait_until(lambda: terminal.output().count("Cancel 2 jobs? [y/N]") == 2)
        assert "code=1" in terminal.output()
        assert statuses(api, kind) == ["pending", "pending"]
        terminal.type("y\n")
        wait_until(lambda: "code=0" in terminal.output())
    assert statuses(api, kind) == ["cancelled", "cancelled"]
