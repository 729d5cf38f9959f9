"""The service under Granian, where it differs from gunicorn: bodies, connections, listeners."""

import errno
import importlib.util
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse

import pytest
import requests

from app.config import Settings
from app.server import gunicorn_config, listeners
from support.factories import new_domain
from support.metrics import metrics, value
from support.servers import SERVERS
from support.service import ROOT, Service, environment, wait_until
from support.streams import EventSource

MIB = 1024 * 1024
POST = b"POST /api/scrape-jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module", params=[server for server in SERVERS if server != "gunicorn"])
def granian(request: pytest.FixtureRequest, database_url: str) -> Iterator[Service]:
    with Service(database_url, SERVER=request.param, THREADS="2") as service:
        yield service


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=30)


def respond(connection: socket.socket) -> tuple[int, bytes]:
    """Return the status and the body of the next response on `connection`."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def test_job_lives_from_creation_to_end(granian: Service) -> None:
    job = granian.create(domain="granian.example")
    for status in ("running", "completed"):
        granian.change(job["id"], status=status)
    answer = requests.get(f"{granian.jobs}/{job['id']}", timeout=30)
    assert answer.json()["data"]["status"] == "completed"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Connection" not in answer.headers


def test_connection_serves_pipelined_requests(granian: Service) -> None:
    with connect(granian) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        received = b""
        while received.count(b'"status":"ok"') < 3:
            received += connection.recv(65536)
    assert received.count(b"HTTP/1.1 200 OK") == 3


def test_large_body_is_refused_and_connection_kept(granian: Service) -> None:
    with requests.Session() as session:
        for size in (MIB + 5000, 5 * MIB):
            refused = session.post(
                granian.jobs,
                data=b"x" * size,
                headers={"Content-Type": "application/json"},
                timeout=10,
            )
            assert (refused.status_code, refused.json()["error"]) == (413, "Request body too large")
            assert session.get(f"{granian.url}/healthz", timeout=30).status_code == 200


def test_chunks_have_the_limit_of_bodies(granian: Service) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        yield b'{"domain": "chunked.example", "metadata": {"a": "'
        yield from (b"x" * 1000 for _ in range(size // 1000))
        yield b'"}}'

    statuses = [
        requests.post(
            granian.jobs,
            data=chunks(size),
            headers={"Content-Type": "application/json"},
            timeout=10,
        ).status_code
        for size in (MIB + 2000, 5000)
    ]
    assert statuses == [413, 201]


def test_body_that_breaks_off_changes_nothing(granian: Service) -> None:
    with connect(granian) as connection:
        connection.sendall(POST + b'Content-Length: 100\r\n\r\n{"domain": "broken-off.example"}')
        connection.shutdown(socket.SHUT_WR)
    found = requests.get(f"{granian.jobs}?domain=broken-off.example", timeout=30).json()["data"]
    assert found == []


def test_slow_bodies_and_heads_delay_no_request(granian: Service) -> None:
    with ExitStack() as stack:
        for number in range(40):
            slow = stack.enter_context(connect(granian))
            slow.sendall(POST if number % 2 else POST + b"Content-Length: 1000\r\n\r\n{")
        for _ in range(20):
            assert requests.get(f"{granian.url}/healthz", timeout=30).status_code == 200


def test_waiting_claims_leave_threads_free(granian: Service) -> None:
    body = b'{"worker_id": "w", "domains": ["no-work.example"], "wait_seconds": 3}'
    head = POST.replace(b"scrape-jobs", b"scrape-jobs/next")
    with ExitStack() as stack:
        waiting = [stack.enter_context(connect(granian)) for _ in range(8)]
        for claim in waiting:
            claim.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(10):
            assert requests.get(f"{granian.url}/healthz", timeout=2).status_code == 200
        assert {respond(claim)[0] for claim in waiting} == {200}


@pytest.mark.parametrize(
    "head", [b"GARBAGE\r\n\r\n", POST + b"Content-Length: many\r\n\r\n"], ids=["garbage", "length"]
)
def test_malformed_head_is_refused(granian: Service, head: bytes) -> None:
    with connect(granian) as connection:
        connection.sendall(head)
        assert respond(connection) == (400, b"")


def test_requests_are_logged_as_elsewhere(granian: Service) -> None:
    requests.get(f"{granian.url}/nowhere", headers={"X-Request-ID": "granian-log"}, timeout=30)
    (line,) = (
        json.loads(line)
        for line in granian.logs().splitlines()
        if '"request_id": "granian-log"' in line
    )
    assert (line["message"], line["status"], line["address"]) == ("request", 404, "127.0.0.1")


@pytest.mark.parametrize("server", SERVERS)
def test_killed_worker_is_replaced_without_refusals(database_url: str, server: str) -> None:
    with Service(database_url, SERVER=server, WEB_CONCURRENCY="1") as service:
        (worker,) = service.workers()
        worker.kill()
        # The connection waits in the listener, which the master keeps, for the next worker.
        assert requests.get(f"{service.url}/healthz", timeout=20).status_code == 200
        assert service.create()
        assert (
            value(metrics(service), "scrape_jobs_transitions_total", old="none", new="pending") == 1
        )


@pytest.mark.parametrize("server", SERVERS)
def test_stream_begins_works_and_ends(database_url: str, server: str) -> None:
    settings = {"SERVER": server, "WEB_CONCURRENCY": "1", "THREADS": "1"}
    limits = {"SCRAPE_JOBS_STREAMS": "2", "SCRAPE_JOBS_DRAIN_SECONDS": "2"}
    with Service(database_url, **settings, **limits) as service:
        domain = new_domain()
        url = f"{service.jobs}/events?domain={domain}"

        def open_streams() -> float:
            return value(metrics(service), "scrape_jobs_streams_open")

        with EventSource(url).ready() as left, EventSource(url).ready() as source:
            job = service.create(domain=domain)
            for stream in (left, source):
                stream.wait_for_version(job["id"], 1, seconds=2)
            assert requests.get(url, timeout=30).status_code == 503
            assert open_streams() == 2
            left.close()
            wait_until(lambda: open_streams() == 1, 3)  # without any further frame
            assert requests.head(url, timeout=30).status_code == 200
            wait_until(lambda: open_streams() == 1, 3)
            service.master().terminate()
            assert source.has_ended.wait(1.5)
            refused = requests.get(url, timeout=30)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json()["error"] == "Service is stopping"


def test_second_server_cannot_take_the_port(granian: Service, database_url: str) -> None:
    settings = {"DATABASE_URL": database_url, "SERVER": "granian", "PORT": str(granian.port)}
    second = subprocess.run(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=ROOT, env=environment(**settings), capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert second.returncode != 0
    assert "Connection in use" in second.stderr


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit, match="granian is not installed"):
        gunicorn_config.configuration(Settings(server="granian"))


def test_listener_with_fewest_workers_comes_first() -> None:
    assert listeners.least_served(2, []) == 0
    assert listeners.least_served(2, [0]) == 1
    assert listeners.least_served(2, [0, 1]) == 0
    assert listeners.least_served(3, [0, 2, 0]) == 1


def test_client_that_reads_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "STALLED_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listeners.notice_lost_clients([listener])
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            connection.settimeout(10)
            with pytest.raises(TimeoutError) as failure:
                connection.sendall(b"x" * 32 * MIB)
            assert failure.value.errno == errno.ETIMEDOUT  # the kernel's, not that of Python


@pytest.mark.timed
def test_listener_accepts_its_queue_before_it_stops() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepting = threading.Timer(0.2, lambda: listener.accept()[0].close())
        accepting.start()
        started = time.monotonic()
        listeners.stop_accepting(listener.fileno())
        assert 0.1 < time.monotonic() - started < listeners.ACCEPT_SECONDS
        accepting.join()


def test_listener_that_stops_keeps_its_queue() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, listener.dup() as stopped:
        listeners.stop_accepting(stopped.fileno())
        stopped.setblocking(False)
        with socket.create_connection(listener.getsockname()):
            with pytest.raises(BlockingIOError):
                stopped.accept()
            listener.accept()[0].close()
