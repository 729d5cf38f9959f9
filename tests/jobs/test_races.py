"""Concurrent clients of two processes: no update is lost, and every response is true."""

import threading
import uuid
from functools import partial
from typing import Any

import requests
from requests import Response, Session

from support.factories import new_domain
from support.service import Service

RACES = 200
CLIENTS = 50
FINAL = {"completed", "failed", "cancelled"}


def history(service: Service, job_id: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = requests.get(
        f"{service.jobs}/{job_id}/history?limit=200", timeout=10
    ).json()["data"]
    return events


def test_either_completion_or_cancellation_wins(
    service: Service,
) -> None:
    with Session() as session:
        batch = [{"domain": "race.example"}] * RACES
        ids = [
            job["id"] for job in session.post(service.jobs, json=batch, timeout=30).json()["data"]
        ]
        for job_id in ids:
            assert session.put(
                f"{service.jobs}/{job_id}", json={"status": "running"}, timeout=10
            ).ok

    start = threading.Barrier(2, timeout=30)

    def complete(session: Session) -> list[Response]:
        answers = []
        for job_id in ids:
            start.wait()
            answers.append(
                session.put(f"{service.jobs}/{job_id}", json={"status": "completed"}, timeout=30)
            )
        return answers

    def cancel(session: Session) -> list[Response]:
        answers = []
        for job_id in ids:
            start.wait()
            answers.append(session.delete(f"{service.jobs}/{job_id}", timeout=30))
        return answers

    completions, cancellations = service.at_once(complete, cancel)
    for job_id, completion, cancellation in zip(ids, completions, cancellations, strict=True):
        assert sorted([completion.ok, cancellation.ok]) == [False, True], (
            completion.text,
            cancellation.text,
        )
        if completion.ok:
            final = "completed"
            assert cancellation.status_code == 409
            assert cancellation.json() == {
                "success": False,
                "error": "Job not found or cannot be cancelled",
                "details": "Job is already completed",
            }
        else:
            final = "cancelled"
            assert completion.status_code == 400
            assert completion.json() == {
                "success": False,
                "error": "Cannot transition from 'cancelled' to 'completed'",
            }
        assert (
            requests.get(f"{service.jobs}/{job_id}", timeout=30).json()["data"]["status"] == final
        )
        endings = [
            event["new_status"]
            for event in history(service, job_id)
            if event["new_status"] in FINAL
        ]
        assert endings == [final]


def test_one_of_many_writers_with_same_etag_succeeds(service: Service) -> None:
    job = service.create()
    url = f"{service.jobs}/{job['id']}"
    tag = requests.get(url, timeout=30).headers["ETag"]

    def write(number: int, session: Session) -> Response:
        body = {"stats": {"writer": number}}
        return session.put(url, json=body, headers={"If-Match": tag}, timeout=30)

    answers = service.at_once(*(partial(write, number) for number in range(CLIENTS)))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * (CLIENTS - 1)
    assert all(
        answer.json() == {"success": False, "error": "Job was modified"}
        for answer in answers
        if answer.status_code == 412
    )
    (winner,) = (number for number, answer in enumerate(answers) if answer.ok)
    now = requests.get(url, timeout=30)
    assert now.json()["data"]["stats"] == {"writer": winner}
    assert now.headers["ETag"] == answers[winner].headers["ETag"] != tag
    assert [event["id"] for event in history(service, job["id"])] == [1, 2]


def test_concurrent_creations_with_one_key_create_one_job(service: Service) -> None:
    domain, key = new_domain(), str(uuid.uuid4())

    def create(session: Session) -> Response:
        return session.post(
            service.jobs, json={"domain": domain}, headers={"Idempotency-Key": key}, timeout=30
        )

    answers = service.at_once(*[create] * CLIENTS)
    assert [answer.status_code for answer in answers] == [201] * CLIENTS
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers].count(
        "true"
    ) == CLIENTS - 1
    listed = requests.get(service.jobs, params={"domain": domain}, timeout=30).json()["data"]
    assert listed == [answers[0].json()["data"]]
    assert len(history(service, listed[0]["id"])) == 1


def test_concurrent_merges_of_metadata_are_all_kept(service: Service) -> None:
    job = service.create(metadata={"kept": True})

    def merge(number: int, session: Session) -> Response:
        body = {"metadata": {f"key{number}": number}}
        return session.put(f"{service.jobs}/{job['id']}", json=body, timeout=30)

    answers = service.at_once(*(partial(merge, number) for number in range(CLIENTS)))
    assert [answer.status_code for answer in answers] == [200] * CLIENTS
    found = requests.get(f"{service.jobs}/{job['id']}", timeout=30)
    assert found.json()["data"]["metadata"] == {
        "kept": True,
        **{f"key{number}": number for number in range(CLIENTS)},
    }
    assert [event["id"] for event in history(service, job["id"])] == list(range(1, CLIENTS + 2))


def test_concurrent_patches_of_one_document_are_all_kept(
    service: Service,
) -> None:
    job = service.create()
    requests.put(f"{service.jobs}/{job['id']}", json={"stats": {"pages": {"start": 0}}}, timeout=30)

    def patch(number: int, session: Session) -> Response:
        return session.patch(
            f"{service.jobs}/{job['id']}",
            json={"stats": {"pages": {f"page{number}": number}}},
            headers={"Content-Type": "application/merge-patch+json"},
            timeout=30,
        )

    answers = service.at_once(*(partial(patch, number) for number in range(CLIENTS)))
    assert [answer.status_code for answer in answers] == [200] * CLIENTS
    found = requests.get(f"{service.jobs}/{job['id']}", timeout=30).json()["data"]["stats"]
    assert found == {
        "pages": {"start": 0, **{f"page{number}": number for number in range(CLIENTS)}}
    }
