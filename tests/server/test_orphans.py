"""Workers whose master was killed: they end soon, and a new server can start in their place."""

import socket
import time

import psutil
import pytest
import requests

from support.database import migrate
from support.receiver import Receiver
from support.servers import SERVERS
from support.service import Service, wait_until


def all_ended(processes: list[psutil.Process]) -> bool:
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


@pytest.mark.timed
@pytest.mark.parametrize("server", SERVERS)
def test_workers_end_after_master_is_killed(database_url: str, server: str) -> None:
    with Service(database_url, SERVER=server, THREADS="8") as service:
        job = service.create(domain="orphans.example")
        workers = service.workers()
        with (
            requests.Session() as idle,
            socket.create_connection(("127.0.0.1", service.port)) as waiting,
            socket.create_connection(("127.0.0.1", service.port)) as sending,
        ):
            assert idle.get(f"{service.jobs}/{job['id']}", timeout=30).status_code == 200
            body = b'{"worker_id": "w", "domains": ["no-work.example"], "wait_seconds": 20}'
            head = (
                "POST /api/scrape-jobs/next HTTP/1.1\r\nHost: x\r\n"
                "Content-Type: application/json\r\n"
            )
            waiting.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            sending.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
            time.sleep(0.5)
            service.master().kill()
            wait_until(lambda: all_ended(workers), 15)  # less than the request would wait
            waiting.settimeout(5)
            # The waiting request is answered within ORPHAN_SECONDS.
            assert waiting.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.timed
@pytest.mark.parametrize("server", SERVERS)
def test_webhook_under_way_does_not_hold_orphans_up(empty_database: str, server: str) -> None:
    migrate(empty_database)
    with (
        Receiver() as receiver,
        Service(empty_database, SERVER=server, SCRAPE_JOBS_WEBHOOK_ALLOW="127.0.0.0/8") as service,
    ):
        service.webhook(f"{receiver.url}/hang")
        service.change(service.create()["id"], status="running")
        receiver.wait_for("/hang", 1)
        workers = service.workers()
        service.master().kill()
        wait_until(lambda: all_ended(workers), 8)  # less than the attempt may take


@pytest.mark.parametrize("server", SERVERS)
def test_new_server_starts_at_once_on_same_port(database_url: str, server: str) -> None:
    with Service(database_url, SERVER=server) as killed, requests.Session() as session:
        assert session.get(f"{killed.url}/healthz", timeout=30).status_code == 200
        workers = killed.workers()
        killed.master().kill()
        with Service(database_url, SERVER=server, PORT=str(killed.port)) as started:
            # Until then, a worker of the killed server may have answered, or resets connections.
            wait_until(lambda: "Scrape Job API on" in started.logs() and all_ended(workers))
            assert session.get(f"{started.url}/healthz", timeout=30).status_code == 200
            assert "in use" not in started.logs().lower()
