"""`make run` in a copy of the project: it starts everything and leaves no processes behind."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial

import psycopg2
import pytest
import requests

from support.servers import SERVERS
from support.service import free_port
from support.terminal import Terminal
from support.tree import SECONDS, Run, Tree, processes_in, wait_for


def test_make_lists_its_targets(tree: Tree) -> None:
    code, lines = tree.finished("make")
    assert code == 0
    targets = ("run", "serve", "migrate", "psql", "quick", "check", "test", "fix", "lint", "clean")
    for target in targets:
        assert any(
            line.split()[:2] == ["make", target] and len(line.split()) > 2 for line in lines
        ), lines


@pytest.mark.parametrize("server", SERVERS)
def test_make_run_prints_a_working_curl(tree: Tree, server: str) -> None:
    with Run(tree, SERVER=server) as run:
        assert wait_for(lambda: "curl" in run.output(), 5)
        output = run.output()
        assert f"{run.port}" in output
        assert str(tree.folder / "var") in output
        assert "authentication: off" in output
        (curl,) = (line.partition("curl")[2] for line in output.splitlines() if "curl" in line)
        done = subprocess.run(
            ["bash", "-c", f"curl -sS -i {curl}"], capture_output=True, text=True, check=True
        )
        assert " 201 " in done.stdout
        assert '"success":true' in done.stdout
        assert "Installing" not in output


def has_ended(tree: Tree, command: str) -> bool:
    """Return whether no process runs in the tree with `command` in its command line."""
    return not any(command in line for line in processes_in(tree.folder))


def reload_and_terminate(run: Run) -> None:
    before = {child for child in run.gunicorn().children() if child.name() != "postgres"}
    run.gunicorn().send_signal(signal.SIGHUP)
    assert wait_for(lambda: bool(before) and not any(worker.is_running() for worker in before)), (
        run.output()
    )
    run.gunicorn().terminate()


STOPS: dict[str, Callable[[Run], None]] = {
    "ctrl-c": Run.interrupt,
    "kill": lambda run: run.gunicorn().kill(),
    "sigterm": lambda run: run.gunicorn().terminate(),
    "sigterm after a reload": reload_and_terminate,
    "sigterm to make": lambda run: run.make.terminate(),
}


def test_every_stop_ends_all_and_keeps_data(tree: Tree) -> None:
    jobs: list[str] = []
    for how, stop in STOPS.items():
        with Run(tree) as run:
            for job in jobs:
                assert requests.get(f"{run.url}{job}", timeout=30).status_code == 200, how
            jobs.append(run.create())
            assert any("postgres" in line for line in processes_in(tree.folder))
            stop(run)
            run.make.wait(SECONDS)
            # A killed service cannot stop PostgreSQL; the next run takes it over and stops it.
            command, seconds = ("gunicorn", SECONDS) if how == "kill" else ("", 10)
            ended = partial(has_ended, tree, command)
            assert wait_for(ended, seconds), (how, processes_in(tree.folder))
    with Run(tree) as again:
        for job in jobs:
            assert requests.get(f"{again.url}{job}", timeout=30).status_code == 200
        again.create()
    assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)


@pytest.mark.parametrize("server", SERVERS)
def test_closed_terminal_ends_all_processes(tree: Tree, server: str) -> None:
    port = free_port()
    with Terminal(
        ["make", "run"], tree.folder, tree.environment(PORT=str(port), SERVER=server)
    ) as terminal:
        assert wait_for(lambda: f"http://127.0.0.1:{port}" in terminal.output()), terminal.output()
        assert wait_for(lambda: any("postgres" in line for line in processes_in(tree.folder)))
        terminal.processes()
        terminal.close()
        assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)


def test_terminal_closed_at_start_leaves_nothing(tree: Tree) -> None:
    pid_file = tree.folder / "var" / "postgres" / "postmaster.pid"
    with Terminal(
        ["make", "run"], tree.folder, tree.environment(PORT=str(free_port()))
    ) as terminal:
        assert wait_for(lambda: pid_file.exists() and "ready" in pid_file.read_text()), (
            terminal.output()
        )
        terminal.close()
        assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)


@pytest.mark.timed
def test_ctrl_c_during_worker_start_ends_soon(tree: Tree) -> None:
    run = Run(tree)
    assert wait_for(lambda: "Booting worker" in run.output())
    run.interrupt()
    started = time.monotonic()
    run.make.wait(SECONDS)
    assert time.monotonic() - started < 20, run.output()
    assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)


def test_sigterm_during_start_ends_postgresql(tree: Tree) -> None:
    run = Run(tree)
    pid_file = tree.folder / "var" / "postgres" / "postmaster.pid"
    assert wait_for(lambda: pid_file.exists() and "ready" in pid_file.read_text()), run.output()
    run.gunicorn().terminate()
    run.make.wait(SECONDS)
    assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)


def test_second_run_is_rejected_but_migrations_work(tree: Tree) -> None:
    with Run(tree, WEB_CONCURRENCY="1") as run:
        job = run.create()
        code, lines = tree.finished("make", "run", PORT=str(free_port()))
        assert code != 0
        (reason,) = (
            line for line in lines if not line.startswith("{")
        )  # gunicorn's own lines are JSON
        assert "another service runs on the data" in reason
        assert str(tree.folder / "var") in reason

        code, lines = tree.finished(
            ".venv/bin/python", "-m", "flask", "--app", "wsgi", "db", "upgrade"
        )
        assert code == 0, lines
        code, lines = tree.finished(
            ".venv/bin/python", "-m", "flask", "--app", "wsgi", "db", "current"
        )
        assert any("(head)" in line for line in lines), lines
        assert requests.get(f"{run.url}{job}", timeout=30).status_code == 200
        run.create()


def test_migrations_without_run_leave_no_processes(tree: Tree) -> None:
    code, lines = tree.finished("make", "migrate")
    assert code == 0, lines
    assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)


@pytest.mark.parametrize("server", SERVERS)
def test_port_in_use_is_reported(tree: Tree, server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code, lines = tree.finished("make", "run", PORT=port, SERVER=server)
    assert code != 0
    assert any(port in line and "in use" in line.lower() for line in lines), lines
    assert not any("Traceback" in line for line in lines), lines
    assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)


def test_database_url_replaces_embedded_postgresql(tree: Tree, empty_database: str) -> None:
    with Run(tree, DATABASE_URL=empty_database, WEB_CONCURRENCY="1") as run:
        job = run.create()
        assert not any("postgres" in line for line in processes_in(tree.folder))
        assert not (tree.folder / "var").exists()
        connection = psycopg2.connect(empty_database)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT id::text FROM scrape_jobs")
            assert [row[0] for row in cursor.fetchall()] == [job.rpartition("/")[2]]
        connection.close()


def test_public_address_without_keys_is_rejected(tree: Tree) -> None:
    code, lines = tree.finished("make", "run", HOST="0.0.0.0", PORT=str(free_port()))
    assert code != 0
    assert len(lines) == 1, lines
    assert lines[0].startswith("HOST: 0.0.0.0 is not a loopback address")
    assert not processes_in(tree.folder)


@pytest.mark.parametrize("server", SERVERS)
def test_killed_postgresql_is_started_again(tree: Tree, server: str) -> None:
    with Run(tree, SERVER=server, WEB_CONCURRENCY="1") as run:
        job = run.create()
        (postgres,) = (child for child in run.gunicorn().children() if child.name() == "postgres")
        postgres.kill()

        def answers() -> bool:
            return requests.get(f"{run.url}{job}", timeout=30).status_code == 200

        assert wait_for(answers, 20), run.output()


def test_unknown_server_is_named(tree: Tree) -> None:
    code, lines = tree.finished("make", "serve", SERVER="apache")
    assert code != 0
    assert lines == ["SERVER: must be one of gunicorn, granian"]
