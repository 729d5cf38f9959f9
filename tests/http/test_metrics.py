"""The metrics: any process of the service shows those of all."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from app.config import Settings
from app.factory import create_app
from support.application import application
from support.database import migrate, new_database
from support.receiver import Receiver
from support.service import Service, wait_until
from support.webhooks import new_webhook_database

ALLOW = {"SCRAPE_JOBS_WEBHOOK_ALLOW": "127.0.0.0/8"}
LIMIT = "scrape_jobs_database_connections_limit"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def measured(server_url: str) -> Iterator[Service]:
    """A service on a database of its own."""
    for url in new_database(server_url):
        migrate(url)
        with Service(url, **ALLOW) as service:
            # Until both workers have started.
            wait_until(lambda: value(metrics(service), LIMIT) == 2 * (4 + 3), 30)
            yield service


def parse(text: str) -> Samples:
    """Return the samples of Prometheus's text format by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics(service: Service) -> Samples:
    """Return the service's metrics."""
    answer = requests.get(f"{service.url}/metrics", timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return parse(answer.text)


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return a sample's value, or 0 without it."""
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


def requests_counted(samples: Samples, method: str, route: str, status: str) -> float:
    name = "scrape_jobs_http_request_seconds_count"
    return value(samples, name, method=method, route=route, status=status)


def test_requests_to_all_workers_are_counted_together(
    measured: Service,
) -> None:
    before = metrics(measured)
    job = measured.create()

    def get(number: int) -> int:
        job_id = job["id"] if number % 4 else "0190f3a0-0000-7000-8000-000000000000"
        return requests.get(f"{measured.jobs}/{job_id}", timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(get, range(80)))
    requests.request("BREW", f"{measured.url}/no/such/route", timeout=30)

    after = metrics(measured)
    route = "/api/scrape-jobs/<id>"
    for status in (200, 404):
        counted = [
            requests_counted(samples, "GET", route, str(status)) for samples in (before, after)
        ]
        assert counted[1] - counted[0] == statuses.count(status) > 0
    assert requests_counted(after, "other", "unmatched", "404") == 1


def test_jobs_transitions_and_queue_are_measured(measured: Service) -> None:
    before = metrics(measured)
    first = measured.create()
    measured.create()
    measured.create(scheduled_for="2099-01-01T00:00:00Z")
    measured.change(first["id"], status="running")
    after = metrics(measured)

    def increase(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert increase("scrape_jobs_transitions_total", old="none", new="pending") == 3
    assert increase("scrape_jobs_transitions_total", old="pending", new="running") == 1
    assert increase("scrape_jobs_jobs", status="pending") == 2
    assert increase("scrape_jobs_jobs", status="running") == 1
    assert increase("scrape_jobs_queue_due_jobs") == 1
    assert value(after, "scrape_jobs_queue_oldest_due_seconds") > 0
    assert value(after, "scrape_jobs_database_up") == 1
    assert value(after, LIMIT) == 2 * (4 + 3)


def test_expired_lease_is_counted(measured: Service) -> None:
    domain = "expiring.example"
    measured.create(domain=domain)
    ask = {"worker_id": "w", "domains": [domain], "lease_seconds": 5}
    (job,) = requests.post(f"{measured.jobs}/next", json=ask, timeout=30).json()["data"]
    wait_until(
        lambda: requests.get(f"{measured.jobs}/{job['id']}", timeout=30).json()["data"][
            "retry_count"
        ],
        15,
    )
    assert value(metrics(measured), "scrape_jobs_lease_expiries_total") == 1


def test_deliveries_are_counted_by_outcome(measured: Service) -> None:
    with Receiver() as receiver:
        measured.webhook(receiver.url)
        job = measured.create()
        measured.change(job["id"], status="running")
        wait_until(
            lambda: (
                value(metrics(measured), "scrape_jobs_webhook_tries_total", outcome="delivered")
                == 1
            )
        )
        samples = metrics(measured)
        assert value(samples, "scrape_jobs_webhook_delay_seconds_count") == 1
        assert 0 < value(samples, "scrape_jobs_webhook_delay_seconds_sum") < 10
        assert value(samples, "scrape_jobs_webhooks_owed") == 0
        assert value(samples, "scrape_jobs_webhooks_oldest_change_seconds") == 0


def test_age_of_oldest_change_is_measured(server_url: str) -> None:
    customer = uuid.uuid4()
    for database in new_webhook_database(server_url):
        database.changes(3, 3)
        database.changes(3, 3, customer)
        database.rows(
            "UPDATE outbox SET created_at = now() - interval '1 hour'"
            " WHERE customer = %(customer)s::uuid",
            customer=customer,
        )
        settings = Settings(auth="off", rate_limit=False, database_url=database.url)
        with application(settings) as app:
            samples = parse(app.test_client().get("/metrics").text)
        assert 3600 <= value(samples, "scrape_jobs_webhooks_oldest_change_seconds") < 3700
        assert value(samples, "scrape_jobs_webhooks_owed") == 6


def test_counts_of_a_killed_worker_stay(measured: Service) -> None:
    before = metrics(measured)
    assert measured.process is not None
    for worker in psutil.Process(measured.process.pid).children():
        os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.2)
    wait_until(lambda: _answers(measured), 30)
    after = metrics(measured)
    name, labels = "scrape_jobs_transitions_total", {"old": "none", "new": "pending"}
    assert value(after, name, **labels) == value(before, name, **labels)
    wait_until(lambda: value(metrics(measured), LIMIT) == value(before, LIMIT), 30)


def _answers(service: Service) -> bool:
    try:
        return requests.get(f"{service.url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False


def test_metrics_of_processes_need_no_database() -> None:
    url = "postgresql://user@127.0.0.1:1/nothing"
    app = create_app(Settings(auth="off", rate_limit=False, database_url=url))
    client: FlaskClient = app.test_client()
    answer = client.get("/metrics")
    assert answer.status_code == 200
    samples = parse(answer.text)
    assert value(samples, "scrape_jobs_database_up") == 0
    assert not [name for name, _ in samples if name == "scrape_jobs_jobs"]
