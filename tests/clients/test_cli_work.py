"""The command `work`: programs that work on jobs."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from scrape_jobs import Job, ScrapeJobs

from support.command_line import CommandLine, RunningCommand
from support.service import wait_until

PROGRAM = """
import json, os, signal, subprocess, sys, time
job = json.load(sys.stdin)
assert "lease_token" not in job
names = ("ID", "DOMAIN", "TYPE", "ATTEMPT")
given = [os.environ["SCRAPE_JOB_" + name] for name in names]
assert given == [job["id"], job["domain"], job["job_type"], str(job["retry_count"] + 1)]
print("works on", job["domain"], flush=True)
match job["config"]["act"]:
    case "finish":
        print('{"pagesProcessed": 1, "totalPages": 2}', flush=True)
        print('[1] {"pagesProcessed": NaN}')
        print('{"pagesProcessed": NaN}')
        sys.stdout.buffer.write(b"\\\\xff\\\\n")
        print('{"pagesProcessed": 2}')
    case "fail":
        print("the page has no prices", file=sys.stderr)
        sys.exit(7)
    case "retry":
        sys.exit(75)
    case "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    case "leave":
        print(json.dumps({"child": subprocess.Popen(["sleep", "600"]).pid}))
    case "hang":
        stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
        child = subprocess.Popen(
            [sys.executable, "-c", stubborn + "; time.sleep(600)"], stdout=subprocess.PIPE
        )
        child.stdout.readline()
        print(json.dumps({"child": child.pid, "own": os.getpid()}), flush=True)
        time.sleep(600)
""".replace("\\\\", "\\")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The program that works on the jobs of these tests."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@contextmanager
def worker(cli: CommandLine, kind: str, program: Path, *options: str) -> Iterator[RunningCommand]:
    command = ("work", "--type", kind, "--lease", "5", *options, "--", sys.executable, str(program))
    with cli.running(*command) as running:
        yield running


def create(api: ScrapeJobs, kind: str, act: str) -> Job:
    return api.create(f"{act}.example", job_type=kind, max_retries=1, config={"act": act})


def stats(api: ScrapeJobs, job: Job) -> dict[str, int]:
    return dict(api.get(job.id, required=True).stats)


def test_the_exit_code_decides_the_outcome(
    cli: CommandLine, api: ScrapeJobs, kind: str, program: Path
) -> None:
    acts = ("finish", "fail", "retry", "crash", "leave")
    jobs = {act: create(api, kind, act) for act in acts}
    with worker(cli, kind, program, "-c", "4", "--json") as running:
        wait_until(lambda: running.output().count("\n") == 6)
        assert running.end() == 0
        runs = [json.loads(line) for line in running.output().splitlines()]
        errors = running.errors()
    ended = {act: api.get(job.id, required=True) for act, job in jobs.items()}
    assert {act: (job.status, job.error_message) for act, job in ended.items()} == {
        "finish": ("completed", None),
        "fail": ("failed", "the page has no prices"),
        "retry": ("failed", "The program asked for a retry"),
        "crash": ("failed", "The program was ended by SIGKILL"),
        "leave": ("completed", None),
    }
    assert ended["finish"].stats == {"pagesProcessed": 2, "totalPages": 2}
    assert not psutil.pid_exists(ended["leave"].stats["child"])
    found = {(run["domain"], run["attempt"], run["outcome"], run["exit_code"]) for run in runs}
    assert found == {
        ("finish.example", 1, "completed", 0),
        ("fail.example", 1, "failed", 7),
        ("retry.example", 1, "retry", 75),
        ("retry.example", 2, "retry", 75),
        ("crash.example", 1, "failed", -9),
        ("leave.example", 1, "completed", 0),
    }
    assert "works on finish.example\n" in errors
    assert '[1] {"pagesProcessed": NaN}\n' in errors
    assert "Traceback" not in errors


def test_a_cancel_kills_the_process_group(
    cli: CommandLine, api: ScrapeJobs, kind: str, program: Path
) -> None:
    job = create(api, kind, "hang")
    with worker(cli, kind, program) as running:
        wait_until(lambda: "child" in stats(api, job))
        pids = stats(api, job)
        assert all(psutil.pid_exists(pids[name]) for name in ("own", "child"))
        api.cancel(job.id)
        # The child ignores SIGTERM.
        wait_until(lambda: not any(psutil.pid_exists(pids[name]) for name in ("own", "child")))
        wait_until(lambda: "cancelled: Cancelled via API" in running.errors())
        assert running.process.poll() is None
        assert "cancel_heard" in [event.action for event in api.history(job.id)]
        assert running.end() == 0


def test_sigterm_releases_running_jobs(
    cli: CommandLine, api: ScrapeJobs, kind: str, program: Path
) -> None:
    job = create(api, kind, "hang")
    with worker(cli, kind, program, "--grace", "0.5") as running:
        wait_until(lambda: "child" in stats(api, job))
        pids = stats(api, job)
        assert running.end(signal.SIGTERM) == 0
        assert "1 jobs were interrupted" in running.errors()
        wait_until(lambda: not any(psutil.pid_exists(pids[name]) for name in ("own", "child")))
    released = api.get(job.id, required=True)
    assert (released.status, released.retry_count) == ("pending", 0)
    assert "released" in [event.action for event in api.history(job.id)]
