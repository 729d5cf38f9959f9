"""Operations on many jobs beside other requests, with locks, and between customers."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import requests

from support.factories import new_domain
from support.service import Service


def create(service: Service, number: int, domain: str) -> list[str]:
    answer = requests.post(service.jobs, json=[{"domain": domain}] * number, timeout=30)
    return [job["id"] for job in answer.json()["data"]]


def test_thousand_jobs_take_seconds_and_short_locks(service: Service) -> None:
    domain = new_domain()
    ids = create(service, 1000, domain)
    with ThreadPoolExecutor(1) as pool:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        cancelling = pool.submit(
            requests.post,
            f"{service.jobs}/cancel",
            json={"filter": {"domain": domain}},
            headers=key,
            timeout=30,
        )
        waits: list[float] = []
        while not cancelling.done():
            began = time.monotonic()
            url = f"{service.jobs}/{ids[len(waits) % 1000]}"
            requests.put(url, json={"stats": {"n": len(waits)}}, timeout=30)
            waits.append(time.monotonic() - began)
    body = cancelling.result().json()
    assert body["counts"] == {"cancelled": 1000, "refused": 0, "not_found": 0}
    assert body["has_more"] is False
    assert max(waits) < 1.5


def test_overlapping_requests_cancel_each_job_once(service: Service) -> None:
    ids = create(service, 200, new_domain())

    def cancel_all(order: list[str]) -> Any:
        return lambda session: session.post(
            f"{service.jobs}/cancel", json={"ids": order}, timeout=30
        ).json()

    def cancel_some(session: requests.Session) -> Any:
        answers = [session.delete(f"{service.jobs}/{job}", timeout=30) for job in ids[::20]]
        return {"counts": {"cancelled": sum(answer.status_code == 200 for answer in answers)}}

    bodies = service.at_once(cancel_all(ids), cancel_all(ids[::-1]), cancel_some)
    assert sum(body["counts"]["cancelled"] for body in bodies) == 200
    assert [outcome["id"] for outcome in bodies[1]["data"]] == ids[::-1]
    for job in ids[::50]:
        events = requests.get(f"{service.jobs}/{job}/history", timeout=30).json()["data"]
        assert [event["action"] for event in events] == ["created", "cancelled"]


def test_locked_job_alone_is_refused(service: Service, database_url: str) -> None:
    ids = create(service, 10, new_domain())
    connection = psycopg2.connect(database_url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM scrape_jobs WHERE id = %s FOR UPDATE", (ids[4],))
        body = requests.post(f"{service.jobs}/cancel", json={"ids": ids}, timeout=30).json()
    connection.close()
    assert body["counts"] == {"cancelled": 9, "refused": 1, "not_found": 0}
    assert body["data"][4] == {
        "id": ids[4],
        "outcome": "refused",
        "error": "Failed to cancel scrape jobs",
        "details": "Lock timeout",
    }


def test_second_request_with_key_waits_for_first(service: Service) -> None:
    ids, key = create(service, 300, new_domain()), {"Idempotency-Key": uuid.uuid4().hex}

    def cancel(session: requests.Session) -> Any:
        return session.post(
            f"{service.jobs}/cancel", json={"ids": ids}, headers=key, timeout=30
        ).json()

    first, second = sorted(service.at_once(cancel, cancel), key=lambda body: "data" not in body)
    assert first["counts"]["cancelled"] == 300
    assert second == first or second["error"] == "Idempotency-Key is in use"
