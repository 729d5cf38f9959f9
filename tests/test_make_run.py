"""`make run` as people use it, in a copy of the tree: it starts everything, says so, and leaves nothing behind."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import psycopg2
import pytest
import requests

from tests.service import ROOT, environment, free_port
from tests.terminal import Terminal

SECONDS = 60


def wait_for(what: Callable[[], bool], seconds: float = SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return False


def processes_in(folder: Path) -> list[str]:
    """Return what runs in `folder` or was started with it, as command lines."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            if str(folder) in " ".join(words) or process.cwd().startswith(str(folder)):
                found.append(f"{process.pid} {' '.join(words)}")
    return found


class Tree:
    """A copy of the project, uncommitted files included, with what is installed already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        (folder / ".venv").mkdir()
        for entry in (ROOT / ".venv").iterdir():
            if entry.name not in ("run", "dev"):
                (folder / ".venv" / entry.name).symlink_to(entry)
        for stamp in ("run", "dev"):  # newer than what they depend on, so that nothing is installed
            (folder / ".venv" / stamp).touch()

    def environment(self, **settings: str) -> dict[str, str]:
        ours = environment(**settings)
        return {name: value for name, value in ours.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}

    def finished(self, *words: str, **settings: str) -> tuple[int, list[str]]:
        """Run a command to its end and return its code and the lines that it said, make's own left out."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment(**settings), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, [line for line in done.stdout.splitlines() if not line.startswith("make:")]


class Run:
    """`make run` in a tree, in a process group of its own as a terminal would give it; a context manager."""

    def __init__(self, tree: Tree, **settings: str) -> None:
        self.tree = tree
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.jobs = f"{self.url}/api/scrape-jobs"
        self._output = tree.folder / f"output-{self.port}"
        with self._output.open("w") as output:
            self.make = subprocess.Popen(
                ["make", "run"], cwd=tree.folder, env=tree.environment(PORT=str(self.port), **settings),
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> "Run":
        assert wait_for(lambda: self.make.poll() is not None or self.is_ready()), self.output()
        assert self.make.poll() is None, self.output()
        return self

    def __exit__(self, *_: object) -> None:
        if self.make.poll() is None:
            self.interrupt()
            self.make.wait(SECONDS)

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def output(self) -> str:
        return self._output.read_text()

    def gunicorn(self) -> psutil.Process:
        """Return the process that make waits for."""
        (process,) = psutil.Process(self.make.pid).children()
        return process

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        os.killpg(self.make.pid, signal.SIGINT)

    def create(self) -> str:
        """Create a job and return its address."""
        answer = requests.post(self.jobs, json={"domain": "example.com"}, timeout=10)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]


@pytest.fixture
def tree(folder: Path) -> Iterator[Tree]:
    yield Tree(folder)
    for line in processes_in(folder):  # what a failed test has left
        with suppress(psutil.Error):
            psutil.Process(int(line.split()[0])).kill()


def test_make_alone_lists_the_targets(tree: Tree) -> None:
    code, lines = tree.finished("make")
    assert code == 0
    for target in ("run", "serve", "migrate", "test", "lint", "clean"):
        assert any(line.split()[:2] == ["make", target] and len(line.split()) > 2 for line in lines), lines


def test_make_run_tells_how_to_call_it_and_its_curl_works(tree: Tree) -> None:
    with Run(tree) as run:
        assert wait_for(lambda: "curl" in run.output(), 5)
        said = run.output()
        assert f"{run.port}" in said
        assert str(tree.folder / "var") in said
        assert "authentication: off" in said
        (curl,) = (line.partition("curl")[2] for line in said.splitlines() if "curl" in line)
        done = subprocess.run(["bash", "-c", f"curl -sS -i {curl}"], capture_output=True, text=True, check=True)
        assert " 201 " in done.stdout
        assert '"success":true' in done.stdout
        assert "Installing" not in said


def is_over(tree: Tree, what: str) -> bool:
    return not any(what in line for line in processes_in(tree.folder))


def reload_and_terminate(run: Run) -> None:
    before = set(run.gunicorn().children())
    run.gunicorn().send_signal(signal.SIGHUP)
    assert wait_for(lambda: bool(before) and not any(worker.is_running() for worker in before)), run.output()
    run.gunicorn().terminate()


STOPS: dict[str, Callable[[Run], None]] = {
    "ctrl-c": Run.interrupt,
    "kill": lambda run: run.gunicorn().kill(),
    "sigterm": lambda run: run.gunicorn().terminate(),
    "sigterm after a reload": reload_and_terminate,
    "sigterm to make": lambda run: run.make.terminate(),
}


def test_however_it_is_stopped_it_stops_all_that_it_started_and_the_next_run_has_the_data(tree: Tree) -> None:
    jobs: list[str] = []
    for how, stop in STOPS.items():
        with Run(tree) as run:
            for job in jobs:
                assert requests.get(f"{run.url}{job}", timeout=10).status_code == 200, how
            jobs.append(run.create())
            assert any("postgres" in line for line in processes_in(tree.folder))
            stop(run)
            run.make.wait(SECONDS)
            # Killed, it cannot stop PostgreSQL: the next run takes that over, and stops it.
            what, seconds = ("gunicorn", SECONDS) if how == "kill" else ("", 10)
            assert wait_for(partial(is_over, tree, what), seconds), (how, processes_in(tree.folder))
    with Run(tree) as again:
        for job in jobs:
            assert requests.get(f"{again.url}{job}", timeout=10).status_code == 200
        again.create()
    assert wait_for(lambda: not processes_in(tree.folder), 10), processes_in(tree.folder)


def test_closed_terminal_stops_all_that_it_started(tree: Tree) -> None:
    port = free_port()
    with Terminal(["make", "run"], tree.folder, tree.environment(PORT=str(port))) as terminal:
        assert wait_for(lambda: f"http://127.0.0.1:{port}" in terminal.output()), terminal.output()
        assert wait_for(lambda: any("postgres" in line for line in processes_in(tree.folder)))
        terminal.processes()
        terminal.close()
        assert wait_for(lambda: not processes_in(tree.folder), 20), processes_in(tree.folder)


def test_terminal_closed_at_start_leaves_nothing(tree: Tree) -> None:
    pid_file = tree.folder / "var" / "postgres" / "postmaster.pid"
    with Terminal(["make", "run"], tree.folder, tree.environment(PORT=str(free_port()))) as terminal:
        assert wait_for(lambda: pid_file.exists() and "ready" in pid_file.read_text()), terminal.output()
        terminal.close()
        assert wait_for(lambda: not processes_in(tree.folder), 20), processes_in(tree.folder)


def test_ctrl_c_stops_it_soon_even_while_its_workers_start(tree: Tree) -> None:
    run = Run(tree)
    assert wait_for(lambda: "Booting worker" in run.output())
    run.interrupt()
    started = time.monotonic()
    run.make.wait(SECONDS)
    assert time.monotonic() - started < 10, run.output()
    assert wait_for(lambda: not processes_in(tree.folder), 10), processes_in(tree.folder)


def test_sigterm_while_it_starts_leaves_no_postgresql_behind(tree: Tree) -> None:
    run = Run(tree)
    pid_file = tree.folder / "var" / "postgres" / "postmaster.pid"
    assert wait_for(lambda: pid_file.exists() and "ready" in pid_file.read_text()), run.output()
    run.gunicorn().terminate()
    run.make.wait(SECONDS)
    assert wait_for(lambda: not processes_in(tree.folder), 10), processes_in(tree.folder)


def test_beside_a_run_a_second_one_says_why_it_does_not_start_and_the_migrations_work(tree: Tree) -> None:
    with Run(tree, WEB_CONCURRENCY="1") as run:
        job = run.create()
        code, lines = tree.finished("make", "run", PORT=str(free_port()))
        assert code != 0
        (reason,) = (line for line in lines if not line.startswith("{"))  # gunicorn logs that it starts
        assert "another service runs on the data" in reason
        assert str(tree.folder / "var") in reason

        code, lines = tree.finished(".venv/bin/flask", "--app", "wsgi", "db", "upgrade")
        assert code == 0, lines
        code, lines = tree.finished(".venv/bin/flask", "--app", "wsgi", "db", "current")
        assert any("(head)" in line for line in lines), lines
        assert requests.get(f"{run.url}{job}", timeout=10).status_code == 200
        run.create()


def test_the_migrations_work_without_a_run_and_leave_nothing_behind(tree: Tree) -> None:
    code, lines = tree.finished("make", "migrate")
    assert code == 0, lines
    assert wait_for(lambda: not processes_in(tree.folder), 10), processes_in(tree.folder)


def test_a_port_in_use_is_told_and_no_postgresql_is_left_behind(tree: Tree) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code, lines = tree.finished("make", "run", PORT=port)
    assert code != 0
    assert any(port in line and "in use" in line.lower() for line in lines), lines
    assert not any("Traceback" in line for line in lines), lines
    assert wait_for(lambda: not processes_in(tree.folder), 10), processes_in(tree.folder)


def test_with_a_database_url_it_uses_that_and_starts_no_postgresql(tree: Tree, empty_database: str) -> None:
    with Run(tree, DATABASE_URL=empty_database, WEB_CONCURRENCY="1") as run:
        job = run.create()
        assert not any("postgres" in line for line in processes_in(tree.folder))
        assert not (tree.folder / "var").exists()
        connection = psycopg2.connect(empty_database)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT id::text FROM scrape_jobs")
            assert [row[0] for row in cursor.fetchall()] == [job.rpartition("/")[2]]
        connection.close()


def test_an_address_that_others_reach_is_refused_in_one_line(tree: Tree) -> None:
    code, lines = tree.finished("make", "run", HOST="0.0.0.0", PORT=str(free_port()))
    assert code != 0
    assert len(lines) == 1, lines
    assert lines[0].startswith("HOST: 0.0.0.0 is not a loopback address")
    assert not processes_in(tree.folder)
