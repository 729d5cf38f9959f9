"""The embedded PostgreSQL if it dies, hangs or is slow, or if its owner is killed."""

import os
import shutil
import signal
import sys
import threading
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psutil
import psycopg2
import pytest
import requests

from app.database.embedded.address import url_of
from app.database.embedded.supervisor import restart_delay
from support.tree import SECONDS, Run, Tree, processes_in, wait_for

RESTART_SECONDS = 20
"""The documentation promises ten seconds; a slow machine may take longer."""

REAPS_NOTHING = """
import ctypes, subprocess, sys, time
# PR_SET_CHILD_SUBREAPER: orphans become children of this process
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.Popen(sys.argv[1:])
time.sleep(600)
"""

WITHOUT_PTRACE = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]


def data_of(tree: Tree) -> Path:
    return tree.folder / "var" / "postgres"


def gunicorn_in(tree: Tree) -> int:
    """Return the process id of gunicorn's master."""
    masters = [p for p in psutil.process_iter() if is_master(p, tree)]
    assert len(masters) == 1, masters
    return masters[0].pid


def is_master(process: psutil.Process, tree: Tree) -> bool:
    with suppress(psutil.Error):
        parent = process.parent()
        is_worker = parent is not None and ".venv/bin/gunicorn" in parent.cmdline()
        return (
            process.cwd() == str(tree.folder)
            and ".venv/bin/gunicorn" in process.cmdline()
            and not is_worker
        )
    return False


def kill_owner_and_server(run: Run) -> None:
    os.kill(gunicorn_in(run.tree), signal.SIGKILL)
    os.kill(run.postmaster(), signal.SIGKILL)


def assert_no_processes(tree: Tree) -> None:
    assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)


def was_restarted(run: Run, times: int) -> bool:
    return run.output().count("PostgreSQL runs again") == times


def test_dead_server_is_restarted_under_the_service(tree: Tree) -> None:
    with Run(tree) as run:
        job = run.create()
        os.kill(gunicorn_in(tree), signal.SIGHUP)  # gunicorn reads its settings again
        for restarts in (1, 2):
            os.kill(run.postmaster(), signal.SIGKILL)
            assert wait_for(partial(was_restarted, run, restarts), RESTART_SECONDS), run.output()
            assert wait_for(run.answers), run.output()
            assert requests.get(f"{run.url}{job}", timeout=30).status_code == 200
        assert run.output().count("PostgreSQL has died") == 2


def test_sigterm_during_a_restart_stops_all_processes(tree: Tree) -> None:
    with Run(tree, WEB_CONCURRENCY="1") as run:
        os.kill(run.postmaster(), signal.SIGKILL)
        run.gunicorn().terminate()
        run.make.wait(SECONDS)
    assert_no_processes(tree)


def test_crash_loop_backs_off_until_fixed(tree: Tree) -> None:
    with Run(tree, WEB_CONCURRENCY="1") as run:
        settings = data_of(tree) / "postgresql.conf"
        good = settings.read_text()
        settings.write_text(good + "no_such_setting = on\n")
        os.kill(run.postmaster(), signal.SIGKILL)
        time.sleep(8)
        assert 2 <= run.output().count("PostgreSQL has died") <= 6, run.output()
        assert "contains errors" in run.output()
        assert requests.get(f"{run.url}/healthz", timeout=30).status_code == 200
        settings.write_text(good)
        assert wait_for(run.answers, RESTART_SECONDS), run.output()


def test_restart_delays_grow_to_a_minute() -> None:
    assert [restart_delay(failures) for failures in (1, 2, 3, 4, 8, 50)] == [0, 1, 2, 4, 60, 60]


def test_start_after_kill_of_service_and_server(tree: Tree) -> None:
    with Run(tree) as run:
        job = run.create()
        kill_owner_and_server(run)
    with Run(tree) as again:
        assert requests.get(f"{again.url}{job}", timeout=30).status_code == 200
    assert_no_processes(tree)


@pytest.mark.timed
def test_zombies_of_killed_service_do_not_prevent_start(tree: Tree) -> None:
    container = [sys.executable, "-c", REAPS_NOTHING]
    first = Run(tree, container, WEB_CONCURRENCY="1")
    assert wait_for(first.is_ready), first.output()
    kill_owner_and_server(first)
    assert wait_for(lambda: psutil.Process(first.postmaster()).status() == psutil.STATUS_ZOMBIE, 30)
    second = Run(tree, container, WEB_CONCURRENCY="1")
    assert wait_for(second.is_ready), second.output()
    os.kill(gunicorn_in(tree), signal.SIGKILL)
    with Run(tree, WEB_CONCURRENCY="1") as third:  # takes over the server, which ends as a zombie
        third.create()
        started = time.monotonic()
        third.interrupt()
        third.make.wait(SECONDS)
        assert time.monotonic() - started < 20, third.output()
    for run in (first, second):
        run.make.kill()
        run.make.wait()


def test_busy_processes_of_killed_server_are_ended(tree: Tree) -> None:
    with (
        Run(tree, WEB_CONCURRENCY="1") as run,
        closing(psycopg2.connect(url_of(data_of(tree)))) as connection,
    ):
        cursor = connection.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        ((busy,),) = cursor.fetchall()
        endless = threading.Thread(target=partial(count_for_ever, cursor))
        endless.start()
        kill_owner_and_server(run)
        assert psutil.Process(busy).name() == "postgres"
        with Run(tree, WEB_CONCURRENCY="1") as again:
            again.create()
        endless.join()
    assert_no_processes(tree)


def count_for_ever(cursor: psycopg2.extensions.cursor) -> None:
    with suppress(psycopg2.Error):
        cursor.execute("SELECT count(*) FROM generate_series(1, 1000000000000)")


def test_slow_recovery_is_logged_and_awaited(tree: Tree) -> None:
    with Run(tree, WEB_CONCURRENCY="1") as run:
        job = run.create()
        killed = run.postmaster()
        kill_owner_and_server(run)
    again = Run(tree, WEB_CONCURRENCY="1")
    postmaster = launched_after(killed, data_of(tree))
    postmaster.suspend()
    time.sleep(12)
    assert "ready" not in (data_of(tree) / "postmaster.pid").read_text(), (
        "it was suspended too late"
    )
    assert again.make.poll() is None, again.output()
    assert "PostgreSQL is recovering" in again.output()
    postmaster.resume()
    with again:
        assert requests.get(f"{again.url}{job}", timeout=30).status_code == 200


def launched_after(killed: int, data: Path) -> psutil.Process:
    """Return the next server on `data`, as soon as there is one."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError, IndexError, psutil.Error):
            pid = int((data / "postmaster.pid").read_text().splitlines()[0])
            if pid != killed:
                return psutil.Process(pid)
        time.sleep(0.001)
    raise AssertionError("no server was started")


def test_orphaned_worker_does_not_hold_the_lock(tree: Tree) -> None:
    with Run(tree, WEB_CONCURRENCY="1") as run:
        (worker,) = (
            p for p in psutil.Process(gunicorn_in(tree)).children() if p.name() != "postgres"
        )
        worker.suspend()
        os.kill(gunicorn_in(tree), signal.SIGKILL)
        with Run(tree, WEB_CONCURRENCY="1") as again:
            again.create()
        worker.kill()
        run.make.wait(SECONDS)
    assert_no_processes(tree)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, and setpriv"
)
def test_root_without_ptrace_as_in_a_container(tree: Tree) -> None:
    with Run(tree, WITHOUT_PTRACE, WEB_CONCURRENCY="1") as run:
        os.kill(run.postmaster(), signal.SIGKILL)
        assert wait_for(run.answers, RESTART_SECONDS), run.output()
        os.kill(gunicorn_in(tree), signal.SIGKILL)
    with Run(tree, WITHOUT_PTRACE, WEB_CONCURRENCY="1") as again:
        again.create()
    assert_no_processes(tree)
