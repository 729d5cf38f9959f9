"""Requests for one job that wait until it is over or has changed."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from flask.testing import FlaskClient

from support.factories import make_job
from support.service import Service

JOBS = "/api/scrape-jobs"


def ask(
    service: Service, job_id: str, query: str, tag: str | None = None
) -> tuple[float, requests.Response]:
    """Ask for a job, and return the seconds that it took."""
    began = time.monotonic()
    headers = {} if tag is None else {"If-None-Match": tag}
    answer = requests.get(f"{service.jobs}/{job_id}?{query}", headers=headers, timeout=30)
    return time.monotonic() - began, answer


def test_wait_ends_when_the_job_is_over(service: Service) -> None:
    job = service.create()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, service, job["id"], "wait_seconds=15")
        time.sleep(0.6)
        service.change(job["id"], status="running")
        time.sleep(0.8)
        assert not waiting.done()
        service.change(job["id"], status="failed")
        seconds, answer = waiting.result()
    assert seconds < 4
    assert answer.json()["data"]["status"] == "failed"


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_job_that_is_over_is_answered_at_once(service: Service, status: str) -> None:
    job = service.create()
    for step in ("cancelled",) if status == "cancelled" else ("running", status):
        service.change(job["id"], status=step)
    seconds, answer = ask(service, job["id"], "wait_seconds=15&until=final")
    assert (seconds < 2, answer.status_code) == (True, 200)


def test_wait_ends_at_the_next_change(service: Service) -> None:
    job = service.create()
    tag = requests.get(f"{service.jobs}/{job['id']}", timeout=30).headers["ETag"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, service, job["id"], "wait_seconds=15&until=change", tag)
        time.sleep(0.6)
        service.change(job["id"], metadata={"a": 1})
        seconds, answer = waiting.result()
    assert seconds < 3
    assert (answer.status_code, answer.json()["data"]["metadata"]) == (200, {"a": 1})
    # The change was before this request.
    assert ask(service, job["id"], "wait_seconds=15&until=change", tag)[0] < 2


def test_unchanged_job_is_a_304_at_the_end(service: Service) -> None:
    job = service.create()
    tag = requests.get(f"{service.jobs}/{job['id']}", timeout=30).headers["ETag"]
    seconds, answer = ask(service, job["id"], "wait_seconds=1&until=change", tag)
    assert (1 <= seconds < 4, answer.status_code) == (True, 304)
    seconds, answer = ask(service, job["id"], "wait_seconds=1&until=change")
    assert (1 <= seconds < 4, answer.status_code) == (True, 200)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("wait_seconds=21", "Invalid wait_seconds: must be an integer from 0 to 20"),
        ("wait_seconds=-1", "Invalid wait_seconds: must be an integer from 0 to 20"),
        ("until=never", "Invalid until: must be one of final, change"),
        ("wait=5", "Unknown field: wait"),
    ],
)
def test_faulty_wait_is_refused(client: FlaskClient, query: str, error: str) -> None:
    job = make_job(client, "pending")
    answer = client.get(f"{JOBS}/{job['id']}?{query}")
    assert (answer.status_code, answer.get_json()["error"]) == (400, error)


def test_wait_for_missing_job_is_not_found(client: FlaskClient) -> None:
    answer = client.get(f"{JOBS}/0190f3a0-0000-7000-8000-00000000ffff?wait_seconds=9")
    assert answer.status_code == 404
