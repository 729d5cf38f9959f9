"""The commands `wait` and `watch`: in a pipe, in a pseudo-terminal, and after signals."""

import json
import re
import signal
from uuid import uuid4

import psutil
import pytest
from scrape_jobs import Job, ScrapeJobs

from support.command_line import CommandLine
from support.service import wait_until
from support.terminal import Terminal

SHOW_CURSOR = "\x1b[?25h"
HIDE_CURSOR = "\x1b[?25l"


def progress(api: ScrapeJobs, job: Job, done: int, total: int = 20) -> None:
    api.update(job.id, status="running", stats={"pagesProcessed": done, "totalPages": total})


def shown(terminal: Terminal) -> str:
    """Return the output without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.output())


def assert_sane(terminal: Terminal) -> None:
    """Check what `stty -a` printed at the end, and that the cursor is visible."""
    wait_until(lambda: "speed" in terminal.output() and " echoke" in terminal.output())
    output = terminal.output()
    assert HIDE_CURSOR in output
    assert output.rfind(SHOW_CURSOR) > output.rfind(HIDE_CURSOR)
    settings = set(output[output.rfind("speed") :].split())
    assert {"icanon", "echo", "isig", "opost"} <= settings


def test_wait_exits_by_the_outcome(cli: CommandLine, api: ScrapeJobs) -> None:
    jobs = {name: api.create("example.com") for name in ("completed", "failed", "cancelled")}
    for name in ("completed", "failed"):
        api.update(jobs[name].id, status="running")
    api.update(jobs["completed"].id, status="completed")
    api.update(jobs["failed"].id, status="failed", error_message="broken")
    api.cancel(jobs["cancelled"].id)
    results = {name: cli("wait", job.id) for name, job in jobs.items()}
    assert {name: result.exit_code for name, result in results.items()} == {
        "completed": 0, "failed": 1, "cancelled": 3,
    }  # fmt: skip
    assert results["completed"].stdout == "completed\n"
    assert results["failed"].stdout == "failed: broken\n"
    result = cli("wait", jobs["failed"].id, "--json")
    assert json.loads(result.stdout)["error_message"] == "broken"
    assert cli("wait", str(uuid4())).exit_code == 4
    pending = api.create("example.com")
    result = cli("wait", pending.id, "--timeout", "0.2")
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr == "Error: The job is not over after 0.2 s\n"


def test_wait_ends_with_the_job(cli: CommandLine, api: ScrapeJobs) -> None:
    job = api.create("example.com")
    with cli.running("wait", job.id) as waiting:
        wait_until(lambda: psutil.Process(waiting.process.pid).net_connections())
        api.cancel(job.id)
        assert waiting.process.wait(60) == 3
        assert (waiting.output(), waiting.errors()) == ("cancelled: Cancelled via API\n", "")


def test_watch_prints_each_change_in_a_pipe(cli: CommandLine, api: ScrapeJobs) -> None:
    first, second = api.create("a.example"), api.create("b.example")
    missing = str(uuid4())
    with (
        cli.running("watch", first.id, second.id) as text,
        cli.running("--json", "watch", second.id, missing) as documents,
    ):
        text.wait_for(f"{first.id}  a.example  pending\n")
        text.wait_for(f"{second.id}  b.example  pending\n")
        documents.wait_for('"pending"')
        progress(api, first, 5)
        text.wait_for(f"{first.id}  a.example  running  5/20 pages\n")
        api.update(first.id, status="completed")
        api.cancel(second.id, "enough")
        assert text.process.wait(60) == 3
        assert "b.example  cancelled  Cancelled via API: enough" in text.output()
        assert text.errors() == ""
        assert documents.process.wait(60) == 3
        jobs = [json.loads(line) for line in documents.output().splitlines()]
        assert [job["status"] for job in jobs] == ["pending", "cancelled"]
        assert documents.errors() == f"Error: {missing}: Job not found\n"


def test_watch_shows_bars_on_a_terminal(cli: CommandLine, api: ScrapeJobs) -> None:
    first, second = api.create("a.example"), api.create("b.example")
    script = f"$SJ watch {first.id} {second.id} >/dev/null; echo code=$?; stty -a"
    with cli.in_terminal(script, NO_COLOR="1") as terminal:
        wait_until(lambda: "a.example" in shown(terminal) and "b.example" in shown(terminal))
        progress(api, first, 5)
        wait_until(lambda: "5/20 pages" in shown(terminal))
        assert re.search(r"a.example +running +━.* 25% 5/20 pages", shown(terminal))
        progress(api, first, 10)
        wait_until(lambda: re.search(r"10/20 pages +\d+/min +\d:\d\d:\d\d", shown(terminal)))
        api.update(first.id, status="completed")
        progress(api, second, 3)
        api.update(second.id, status="failed", error_message="broken")
        wait_until(lambda: "code=1" in shown(terminal))
        assert_sane(terminal)
        assert re.search(r"a.example +completed +━+ +100%", shown(terminal))
        assert re.search(r"b.example +failed .*15% 3/20 pages", shown(terminal))
        assert f"{second.id}  b.example  failed  3/20 pages  broken" in shown(terminal)
        colours = re.findall(r"\x1b\[[0-9;]*m", terminal.output())
        assert [one for one in colours if re.search(r"3[0-9]|9[0-9]|38;", one)] == []


@pytest.mark.parametrize(("name", "code"), [("Ctrl-C", 130), ("SIGTERM", 143)])
def test_an_interrupted_watch_leaves_the_terminal_sane(
    cli: CommandLine, api: ScrapeJobs, name: str, code: int
) -> None:
    job = api.create("a.example")
    with cli.in_terminal(f"$SJ watch {job.id}; echo code=$?; stty -a") as terminal:
        wait_until(lambda: "a.example" in shown(terminal))
        if name == "Ctrl-C":
            terminal.type("\x03")
        else:
            terminal.processes()[-1].send_signal(signal.SIGTERM)
        wait_until(lambda: f"code={code}" in shown(terminal))
        assert_sane(terminal)
        assert "Traceback" not in terminal.output()
    assert api.get(job.id, required=True).status == "pending"


def test_a_dumb_terminal_shows_lines(cli: CommandLine, api: ScrapeJobs) -> None:
    job = api.create("a.example")
    with cli.in_terminal(f"$SJ watch {job.id}; echo code=$?", TERM="dumb") as terminal:
        wait_until(lambda: f"{job.id}  a.example  pending" in terminal.output())
        api.cancel(job.id)
        wait_until(lambda: "code=3" in terminal.output())
        assert "\x1b" not in terminal.output()
