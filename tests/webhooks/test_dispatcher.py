"""The dispatcher in the workers and as a process of its own: start, end, and restarts."""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from standardwebhooks.webhooks import Webhook

from app.webhooks.signing import new_secret
from support.database import migrate
from support.postgres import Postgres
from support.receiver import Received, Receiver
from support.service import Dispatcher, Service, wait_until
from support.webhooks import (
    ALLOW_LOOPBACK,
    WITHOUT_DISPATCHER,
    delay_seconds,
)


def statuses(received: list[Received]) -> list[str]:
    return [json.loads(one.body)["new_status"] for one in received]


def test_the_endpoints_of_the_settings_receive_messages(
    fresh_database: str, receiver: Receiver
) -> None:
    secret = new_secret()
    urls = [f"{receiver.url}/ok/{name}" for name in "ab"]
    settings = {"SCRAPE_JOBS_WEBHOOK_URLS": ", ".join(urls), "SCRAPE_JOBS_WEBHOOK_SECRET": secret}
    with Service(fresh_database, **ALLOW_LOOPBACK, **settings) as service:
        job = service.create()
        service.change(job["id"], status="running")
        for name in "ab":
            (received,) = receiver.wait_for(f"/ok/{name}", 1)
            body: Any = Webhook(secret).verify(received.body, received.headers)
            assert (body["job_id"], body["new_status"]) == (job["id"], "running")
        answer = requests.get(f"{service.url}/api/webhooks", timeout=30)
        assert sorted(webhook["url"] for webhook in answer.json()["data"]) == urls
        assert secret.removeprefix("whsec_") not in answer.text
        assert secret.removeprefix("whsec_") not in service.logs()


@pytest.mark.timed
def test_a_separate_dispatcher_delivers_within_a_second(
    quiet_service: tuple[str, Service], receiver: Receiver
) -> None:
    url, service = quiet_service
    service.webhook(f"{receiver.url}/ok")
    job = service.create()["id"]
    service.change(job, status="running")
    service.change(job, status="failed", stats={"pagesProcessed": 7})
    assert service.change(job, status="pending")["stats"] == {}
    assert receiver.received == []
    with Dispatcher(url, **ALLOW_LOOPBACK) as dispatcher:
        received = receiver.wait_for("/ok", 3)
        assert [
            (json.loads(one.body)["new_status"], json.loads(one.body)["stats"]) for one in received
        ] == [
            ("running", {}),
            ("failed", {"pagesProcessed": 7}),
            ("pending", {}),
        ]
        for number in range(4):
            service.change(service.create()["id"], status="running")
            received = receiver.wait_for("/ok", 4 + number)
            assert delay_seconds(received[-1]) < 3
            time.sleep(0.13)
        assert dispatcher.end() == 0
    assert len(receiver.received) == 7


@pytest.mark.timed
def test_a_stopping_dispatcher_finishes_attempts_in_progress(
    quiet_service: tuple[str, Service], receiver: Receiver
) -> None:
    url, service = quiet_service

    def answer(_: int) -> tuple[int, dict[str, str], bytes]:
        time.sleep(2)
        return 200, {}, b"at last"

    receiver.answer = answer
    webhook = service.webhook(f"{receiver.url}/answer")
    jobs = [service.create()["id"] for _ in range(3)]
    with Dispatcher(url, **ALLOW_LOOPBACK) as dispatcher:
        for job in jobs:
            service.change(job, status="running")
        receiver.wait_for("/answer", 1)
        started = time.monotonic()
        assert dispatcher.end() == 0
        assert time.monotonic() - started < 10
    finished_ids = {one.id for one in receiver.at("/answer")}
    found = service.deliveries(webhook["id"])
    finished = {delivery["id"] for delivery in found if delivery["status"] == "delivered"}
    assert finished == finished_ids
    for delivery in found:
        if delivery["id"] in finished_ids:
            (attempt,) = delivery["tries"]
            assert (attempt["status_code"], attempt["answer"], attempt["error"]) == (
                200,
                "at last",
                None,
            )
    receiver.answer = lambda _: (204, {}, b"")
    with Dispatcher(url, **ALLOW_LOOPBACK):
        receiver.wait_for("/answer", 3)
    assert len({one.id for one in receiver.at("/answer")}) == len(receiver.received) == 3


def test_a_database_restart_loses_no_delivery(folder: Path) -> None:
    with ExitStack() as stack:
        postgres = Postgres(folder)
        url = postgres.start()
        stack.callback(postgres.stop)
        migrate(url)
        service = stack.enter_context(Service(url, **ALLOW_LOOPBACK, **WITHOUT_DISPATCHER))
        receiver = stack.enter_context(Receiver())
        dispatcher = stack.enter_context(Dispatcher(url, **ALLOW_LOOPBACK))

        def answer(_: int) -> tuple[int, dict[str, str], bytes]:
            time.sleep(0.1)
            return 204, {}, b""

        receiver.answer = answer
        webhook = service.webhook(f"{receiver.url}/answer")
        jobs = [service.create()["id"] for _ in range(20)]
        for job in jobs:
            service.change(job, status="running")
        receiver.wait_for("/answer", 3)
        postgres.stop()
        time.sleep(1.2)  # longer than the poll interval
        assert postgres.start() == url

        def is_back() -> bool:
            return requests.get(f"{service.url}/readyz", timeout=30).ok

        wait_until(is_back, 30)
        for job in jobs:
            service.change(job, status="completed")
        wait_until(lambda: len({one.id for one in receiver.at("/answer")}) == 40, 40)
        wait_until(
            lambda: all(d["status"] == "delivered" for d in service.deliveries(webhook["id"]))
        )
        for job in jobs:
            mine = [one for one in receiver.at("/answer") if json.loads(one.body)["job_id"] == job]
            assert list(dict.fromkeys(statuses(mine))) == ["running", "completed"]
        assert dispatcher.process is not None
        assert dispatcher.process.poll() is None
