"""Requests that wait for jobs."""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from support.leases import Jobs, ask
from support.service import Service


@pytest.fixture(scope="module")
def unswept_service(lease_database: Jobs) -> Iterator[Service]:
    """A service without the sweeper."""
    with Service(
        lease_database.url, SCRAPE_JOBS_HOUSEKEEPING="off", WEB_CONCURRENCY="1"
    ) as service:
        yield service


@pytest.mark.timed
def test_waiting_request_gets_new_job(unswept_service: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, unswept_service, "awaited.example", 20)
        time.sleep(0.7)
        assert not waiting.done()
        made = unswept_service.create(domain="awaited.example")
        seconds, jobs = waiting.result()
    assert [job["id"] for job in jobs] == [made["id"]]
    assert seconds < 15


@pytest.mark.timed
def test_wait_ends_after_the_requested_time(unswept_service: Service) -> None:
    seconds, jobs = ask(unswept_service, "never.example", 1)
    assert jobs == []
    assert 1 <= seconds < 3


@pytest.mark.timed
def test_waiting_requests_leave_half_the_threads(unswept_service: Service) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, unswept_service, "never.example", 4) for _ in range(2)]
        time.sleep(0.5)
        seconds, jobs = ask(unswept_service, "never.example", 4)
        assert jobs == []
        assert seconds < 3
        assert requests.get(f"{unswept_service.url}/readyz", timeout=3).ok
        assert all(done.result()[0] >= 4 for done in waiting)


def test_disconnected_client_gets_no_job(unswept_service: Service, jobs: Jobs) -> None:
    body = b'{"worker_id": "w", "domains": ["hung-up.example"], "wait_seconds": 20}'
    with socket.create_connection(("127.0.0.1", unswept_service.port)) as caller:
        head = f"POST /api/scrape-jobs/next HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        caller.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        time.sleep(0.7)
    time.sleep(0.2)
    job = unswept_service.create(domain="hung-up.example")
    time.sleep(1.2)
    assert jobs.show(job["id"])["status"] == "pending"


@pytest.mark.timed
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_ends_waiting_requests(jobs: Jobs, number: int) -> None:
    with Service(jobs.url) as service, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, service, "never.example", 20)
        time.sleep(0.7)
        assert service.process is not None
        began = time.monotonic()
        # Ctrl-C in a terminal signals every process, and then the parent signals its children.
        for pid in service.pids() if number == signal.SIGINT else {service.process.pid}:
            os.kill(pid, number)
        assert waiting.result()[1] == []
        service.process.wait(60)
        assert time.monotonic() - began < 10


def test_waiting_request_with_key_is_replayed(
    unswept_service: Service,
) -> None:
    body = {"worker_id": "w", "domains": ["keyed.example"], "wait_seconds": 10}
    headers = {"Idempotency-Key": f"wait-{os.getpid()}-{threading.get_ident()}"}

    def post() -> requests.Response:
        return requests.post(f"{unswept_service.jobs}/next", json=body, headers=headers, timeout=30)

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(post) for _ in range(2)]
        time.sleep(0.7)
        unswept_service.create(domain="keyed.example")
        first, second = (answer.result().json()["data"] for answer in waiting)
    assert first == second == post().json()["data"]
    assert len(first) == 1
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", first[0]["lease_token"])
