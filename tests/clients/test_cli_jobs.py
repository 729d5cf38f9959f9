"""Commands that create and show jobs, and the errors of all commands."""

import json
import subprocess
from uuid import uuid4

import pytest
from click.testing import Result
from scrape_jobs import ScrapeJobs

from support.command_line import CommandLine
from support.crawled_site import CrawledSite
from support.service import Service, free_port


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_created_jobs_are_shown_by_each_command(
    cli: CommandLine, api: ScrapeJobs, kind: str
) -> None:
    first, second = lines(
        cli("create", "a.example", "b.example", "--type", kind, "-q", "--config", '{"depth": 3}')
    )
    job = api.update(first, status="running", stats={"pagesProcessed": 45, "totalPages": 150})
    assert job.config == {"depth": 3}
    shown = dict(line.split(maxsplit=1) for line in lines(cli("get", first)))
    assert (shown["id"], shown["progress"], shown["retries"]) == (first, "45/150 pages", "0 of 3")
    assert json.loads(cli("get", first, "--json").stdout) == api.get(first, required=True).document
    assert lines(cli("list", "--type", kind, "--sort", "created_at", "-q")) == [first, second]
    rows = lines(cli("list", "--type", kind, "--status", "running"))
    assert [row.split()[:3] for row in rows] == [
        ["ID", "STATUS", "DOMAIN"], [first, "running", "a.example"],
    ]  # fmt: skip
    listed = [json.loads(line) for line in lines(cli("--json", "list", "--type", kind, "--all"))]
    assert [one["id"] for one in listed] == [second, first]
    assert len(lines(cli("list", "--type", kind, "--limit", "1", "-q"))) == 1
    created, updated = lines(cli("history", first))
    assert created.split()[3:] == ["created", "pending", "anonymous"]
    assert "stats.pagesProcessed" in updated
    place = dict(line.split(maxsplit=1) for line in lines(cli("queue", second)))
    assert (place["status"], set(place)) == ("pending", {"status", "position", "reason"})
    counts, *_, group = lines(cli("stats", "--type", kind, "--group-by", "domain"))
    assert counts.startswith("jobs              2 (1 pending, 1 running")
    assert group.split()[:3] == ["b.example", "1", "1"]
    assert json.loads(cli("stats", "--type", kind, "--json").stdout)["total"] == 2
    assert lines(cli("list", "--type", kind, "--tag", "none")) == ["No jobs match."]


def test_a_repeated_creation_makes_one_job(cli: CommandLine) -> None:
    create = ("create", "a.example", "-q", "--idempotency-key", uuid4().hex)
    assert lines(cli(*create)) == lines(cli(*create))


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["get", "abc"], 2, "'abc' is not the id of a job (a UUID)"),
        (["get", str(uuid4())], 4, "Error: Job not found\n"),
        (["history", str(uuid4())], 4, "Error: Job not found\n"),
        (["list", "--domain", "a b"], 5, "Error: 400 Invalid domain: must be a host name"),
        (["create", "x.example", "--config", "[]"], 2, "must be a JSON object"),
        (["create", "x.example", "--config", "@/no/such"], 2, "No such file or directory: '/no"),
        (["--url", "localhost:3000", "list"], 2, "such as http://localhost:3000 (found"),
        (["--key", "a\nb", "list"], 2, "SCRAPE_JOBS_KEY has invalid characters"),
        (["--url", "http://no-such-host.invalid", "list"], 5, "http://no-such-host.invalid/api"),
        (["work", "/no/such"], 2, "'/no/such' is not a program"),
        (["webhooks", "listen", "--forward-to", "ftp://x"], 2, "'ftp://x' is not an http(s) URL"),
        (["cancel"], 2, "Name the jobs by JOB_IDS, select them by options, or give --all"),
    ],
)
def test_a_failure_is_one_clear_line(
    cli: CommandLine, arguments: list[str], code: int, error: str
) -> None:
    result = cli(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    (line,) = [line for line in result.stderr.splitlines(keepends=True) if "Error" in line]
    assert error in line


def test_a_wrong_address_is_named(cli: CommandLine) -> None:
    absent = f"http://127.0.0.1:{free_port()}"
    result = cli("--url", absent, "wait", str(uuid4()))
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.startswith(f"Error: GET {absent}/api/scrape-jobs/")
    assert result.stderr.endswith(": Connection refused\n")
    for url in (f"{cli.url}/no-such-path", f"{cli.url}/docs"):
        result = cli("--url", url, "get", str(uuid4()))
        assert result.exit_code == 5
        assert "Is the address that of the service?" in result.stderr
    with CrawledSite(1) as site:  # pages, but not those of the service
        result = cli("--url", site.url, "list")
    assert result.exit_code == 5
    assert "Is the address that of the service?" in result.stderr


def test_a_wrong_key_is_refused(database_url: str) -> None:
    with Service(database_url, SCRAPE_JOBS_AUTH="keys", WEB_CONCURRENCY="1") as service:
        cli = CommandLine(service.url)
        for command in (["list"], ["work", "true"], ["watch", str(uuid4())]):
            with cli.running("--key", "sjk_wrong", *command) as process:
                assert process.process.wait(60) == 5
                assert "401 Not authenticated" in process.errors()
                assert "Traceback" not in process.errors()


def test_any_text_is_printed_in_any_encoding(cli: CommandLine, api: ScrapeJobs) -> None:
    job = api.create("example.com")
    api.update(job.id, status="running")
    api.update(job.id, status="failed", error_message="Ошибка 404")
    for option, expected in (("--json", "\\u041e"), ("--", "error      ?????? 404\n")):
        result = subprocess.run(
            [*cli.program, "get", option, job.id],
            env=cli.environment(PYTHONIOENCODING="latin-1"),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert expected in result.stdout


def test_a_closed_pipe_ends_quietly(cli: CommandLine, kind: str) -> None:
    cli("create", *(f"{n}.example" for n in range(300)), "--type", kind, "-q")
    shell = f"{' '.join(cli.program)} list --type {kind} --all --json | head -1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", shell], env=cli.environment(), capture_output=True, text=True, timeout=60
    )
    job, code = result.stdout.splitlines()
    assert json.loads(job)["job_type"] == kind
    assert (code, result.stderr) == ("141", "")
