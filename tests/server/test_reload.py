"""Signals to a running server: reload, closed terminal, and signals that must have no effect."""

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests

from support.servers import SERVERS
from support.service import ROOT, Service, environment, free_port, wait_until
from support.terminal import Terminal


def replaced(service: Service, before: list[psutil.Process]) -> bool:
    now = {worker.pid for worker in service.workers()}
    return len(now) == len(before) and not now & {worker.pid for worker in before}


def is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def reload(service: Service) -> None:
    before = service.workers()
    service.master().send_signal(signal.SIGHUP)
    wait_until(lambda: replaced(service, before), 30)


@pytest.mark.parametrize("server", SERVERS)
def test_server_stops_after_reload(database_url: str, server: str) -> None:
    with Service(database_url, SERVER=server) as service:
        for _ in range(2):
            reload(service)
        workers = service.workers()
        service.master().terminate()
        assert service.process is not None
        assert service.process.wait(60) == 0
        assert not any(worker.is_running() for worker in workers)
        assert is_free(service.port)


@pytest.mark.parametrize("server", SERVERS)
def test_reload_fails_no_request(database_url: str, server: str) -> None:
    with Service(database_url, SERVER=server) as service:
        job, ends = service.create(domain="reload.example"), threading.Event()
        statuses: list[int] = []

        def call() -> None:
            with requests.Session() as session:
                while not ends.is_set():
                    statuses.append(
                        session.get(f"{service.jobs}/{job['id']}", timeout=30).status_code
                    )

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        reload(service)
        wait_until(lambda: len(statuses) > 20)
        ends.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200}


@pytest.mark.parametrize("server", SERVERS)
def test_sighup_to_all_processes_fails_no_request(database_url: str, server: str) -> None:
    with Service(database_url, SERVER=server, THREADS="8") as service, ExitStack() as stack:
        body = b'{"worker_id": "w", "domains": ["no-work.example"], "wait_seconds": 3}'
        head = (
            "POST /api/scrape-jobs/next HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        )
        callers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=15))
            for _ in range(4)
        ]
        for caller in callers:
            caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.5)
        before = service.workers()
        for process in [service.master(), *before]:  # as pkill -HUP gunicorn does
            process.send_signal(signal.SIGHUP)
        assert [caller.recv(15) for caller in callers] == [b"HTTP/1.1 200 OK"] * 4
        wait_until(lambda: replaced(service, before), 30)


@pytest.mark.parametrize(
    "number", [signal.SIGWINCH, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU]
)
def test_other_signals_do_no_harm(database_url: str, number: signal.Signals) -> None:
    with Service(database_url) as service:
        for process in (
            [service.master(), *service.workers()]
            if number == signal.SIGWINCH
            else [service.master()]
        ):
            process.send_signal(number)
        expected = {signal.SIGTTIN: 3, signal.SIGTTOU: 1}.get(number, 2)
        wait_until(lambda: len(service.workers()) == expected, 30)
        for _ in range(10):
            assert requests.get(f"{service.url}/healthz", timeout=30).status_code == 200
        assert requests.get(f"{service.url}/metrics", timeout=30).status_code == 200


@pytest.mark.parametrize("server", SERVERS)
def test_sigusr2_starts_a_second_master(database_url: str, server: str) -> None:
    with Service(database_url, SERVER=server) as service:
        first = service.workers()
        service.master().send_signal(signal.SIGUSR2)
        wait_until(
            lambda: (
                len(service.workers()) == 3 and len(service.master().children(recursive=True)) == 5
            ),
            30,
        )
        (second,) = (child for child in service.workers() if child not in first)
        service.master().terminate()
        assert service.process is not None
        service.process.wait(60)
        try:
            for _ in range(10):
                assert requests.get(f"{service.url}/healthz", timeout=30).status_code == 200
        finally:
            second.terminate()
            second.wait(60)
        wait_until(lambda: is_free(service.port))


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_quick_stop_does_not_drain(database_url: str, server: str, number: signal.Signals) -> None:
    with Service(database_url, SERVER=server, SCRAPE_JOBS_DRAIN_SECONDS="60") as service:
        workers = service.workers()
        service.master().send_signal(number)
        assert service.process is not None
        service.process.wait(30)  # a worker has 12 s for what its threads do at the moment
        assert not any(worker.is_running() for worker in workers)


def answers(port: int) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code == 200
    return False


@contextmanager
def in_terminal(database_url: str, *prefix: str) -> Iterator[tuple[Terminal, int]]:
    """Run the server in a terminal; yield the terminal and the port."""
    port = free_port()
    command = [*prefix, str(Path(sys.executable).with_name("gunicorn")), "wsgi:app"]
    settings = environment(DATABASE_URL=database_url, PORT=str(port))
    with Terminal(command, cwd=ROOT, env=settings) as terminal:
        wait_until(lambda: answers(port), 30)
        wait_until(
            lambda: len(terminal.processes()) >= 4, 30
        )  # the shell, the master and its workers
        yield terminal, port


def test_closed_terminal_stops_server(database_url: str) -> None:
    with in_terminal(database_url) as (terminal, port):
        processes = terminal.processes()
        terminal.close()
        wait_until(lambda: not any(process.is_running() for process in processes), 30)
        assert is_free(port)


def test_sighup_in_open_terminal_reloads(database_url: str) -> None:
    with in_terminal(database_url) as (terminal, port):
        shell, master, *workers = terminal.processes()
        master.send_signal(signal.SIGHUP)
        wait_until(lambda: not any(worker.is_running() for worker in workers), 30)
        assert answers(port)
        assert shell.is_running()


def test_server_under_nohup_survives_its_terminal(database_url: str) -> None:
    with in_terminal(database_url, "nohup") as (terminal, port):
        _, master, *workers = terminal.processes()
        terminal.close()
        time.sleep(1)
        wait_until(lambda: answers(port), 30)
        master.send_signal(signal.SIGHUP)
        wait_until(lambda: not any(worker.is_running() for worker in workers), 30)
        assert answers(port)


def test_systemd_learns_that_it_is_ready(database_url: str, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(folder / "notify"))
        notified.settimeout(30)
        with Service(database_url, NOTIFY_SOCKET=str(folder / "notify")) as service:
            assert b"READY=1" in notified.recv(1000)
            assert service.create()
