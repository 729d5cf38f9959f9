"""Effects of moved jobs on the queue."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from requests import Response, Session

from app.events.signals import work_available
from support.factories import make_job, new_domain
from support.jobs import API, EARLIER, LATER, taken
from support.patching import MEDIA_TYPE, patch_job, patched
from support.service import Service

RACES = 60


def test_higher_priority_is_claimed_first(client: FlaskClient) -> None:
    domain = new_domain()
    ids = [make_job(client, domain=domain, priority=priority)["id"] for priority in (5, 5, 4)]
    patched(client, ids[2], {"priority": 10})
    patched(client, ids[0], {"priority": 1})
    assert client.get(f"{API}/{ids[2]}/queue").get_json()["data"]["priority"] == 10
    assert taken(client, domain, 3) == [ids[2], ids[1], ids[0]]


@pytest.mark.parametrize("moment", [None, EARLIER])
def test_a_delayed_job_becomes_due_at_once(client: FlaskClient, moment: str | None) -> None:
    job = make_job(client, scheduled_for=LATER)
    assert taken(client, job["domain"]) == []
    after = patched(client, job["id"], {"scheduled_for": moment})
    assert after["scheduled_for"] == moment
    assert taken(client, job["domain"]) == [job["id"]]


def test_a_due_job_is_put_off(client: FlaskClient) -> None:
    job = make_job(client)
    patched(client, job["id"], {"scheduled_for": "2099-01-01T02:00:00.000500+02:00"})
    assert client.get(f"{API}/{job['id']}/queue").get_json()["data"]["due_at"] == LATER
    assert taken(client, job["domain"]) == []


@pytest.mark.parametrize("most", [2, None])
def test_raised_limit_lets_the_job_start(client: FlaskClient, most: int | None) -> None:
    domain = new_domain()
    make_job(client, "running", domain=domain)
    job = make_job(client, domain=domain, config={"maxConcurrent": 1, "depth": 3})
    assert taken(client, domain) == []
    patched(client, job["id"], {"config": {"depth": 4}})
    assert taken(client, domain) == []
    patched(client, job["id"], {"config": {"maxConcurrent": most}})
    assert taken(client, domain) == [job["id"]]


def test_new_limit_holds_the_job_back(client: FlaskClient) -> None:
    domain = new_domain()
    make_job(client, "running", domain=domain)
    job = make_job(client, domain=domain)
    patched(client, job["id"], {"config": {"maxConcurrent": 1}})
    held = client.get(f"{API}/{job['id']}/queue").get_json()["data"]["held_back_by"]
    assert (held["limit"], held["allowed"]) == ("config.maxConcurrent", 1)


@contextmanager
def announcements() -> Iterator[list[object]]:
    """Collect the signals of available work."""
    heard: list[object] = []

    def hear(sender: object) -> None:
        heard.append(sender)

    work_available.connect(hear)
    try:
        yield heard
    finally:
        work_available.disconnect(hear)


@pytest.mark.parametrize(
    "body", [{"scheduled_for": None}, {"priority": 9}, {"config": {"maxConcurrent": None}}]
)
def test_move_wakes_waiting_requests(client: FlaskClient, body: dict[str, Any]) -> None:
    job = make_job(client, scheduled_for=LATER)
    with announcements() as heard:
        patched(client, job["id"], body)
        assert heard
    with announcements() as heard:
        assert patch_job(client, job["id"], body, If_Match='"1"').status_code == 412
        assert not heard


def test_waiting_request_gets_the_moved_job(service: Service) -> None:
    job = service.create(domain=new_domain(), scheduled_for=LATER)
    body = {"worker_id": "w", "domains": [job["domain"]], "wait_seconds": 20}

    def wait(session: Session) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = session.post(
            f"{service.jobs}/next", json=body, timeout=30
        ).json()["data"]
        return data

    def move(session: Session) -> list[dict[str, Any]]:
        return [patch(service, job["id"], {"scheduled_for": None}, session).json()["data"]]

    found, _ = service.at_once(wait, move)
    assert [each["id"] for each in found] == [job["id"]]


def patch(service: Service, job_id: str, body: dict[str, Any], session: Session) -> Response:
    """Send the patch over a new connection."""
    headers = {"Content-Type": MEDIA_TYPE}
    return session.patch(
        f"{service.jobs}/{job_id}", data=json.dumps(body), headers=headers, timeout=30
    )


@pytest.mark.parametrize(
    "body", [{"priority": 9}, {"scheduled_for": LATER}, {"config": {"depth": 9}}], ids=str
)
def test_claim_sees_the_move_or_refuses_it(service: Service, body: dict[str, Any]) -> None:
    domain = new_domain()
    ids = [service.create(domain=domain)["id"] for _ in range(RACES)]
    start = threading.Barrier(2, timeout=30)

    def move(session: Session) -> dict[str, Any]:
        start.wait()
        return {job_id: patch(service, job_id, body, session) for job_id in ids}

    def claim(session: Session) -> dict[str, Any]:
        start.wait()
        asked = {"worker_id": "w", "domains": [domain], "limit": 3}
        answers = [
            session.post(f"{service.jobs}/next", json=asked, timeout=30).json()["data"]
            for _ in range(RACES)
        ]
        return {job["id"]: job for jobs in answers for job in jobs}

    moves, claims = service.at_once(move, claim)
    (field, value), *_ = body.items()
    assert {answer.status_code for answer in moves.values()} <= {200, 400}
    for job_id, answer in moves.items():
        now = requests.get(f"{service.jobs}/{job_id}", timeout=30).json()["data"]
        if answer.status_code == 400:
            assert answer.json()["error"].endswith(
                "can only be changed while the job is pending or failed"
            )
            assert job_id in claims
            assert now[field] == claims[job_id][field] != value
        elif job_id in claims:  # claimed after the move; a postponed job is not claimed
            assert field != "scheduled_for"
            assert now[field] == claims[job_id][field] == value
        else:
            assert now[field] == value


def test_moves_at_once_are_all_kept(service: Service) -> None:
    job = service.create()
    moves = [
        partial(patch, service, job["id"], {"config": {f"key{number}": number}})
        for number in range(30)
    ]
    assert [answer.status_code for answer in service.at_once(*moves)] == [200] * 30
    found = requests.get(f"{service.jobs}/{job['id']}", timeout=30).json()["data"]
    assert found["config"] == {f"key{number}": number for number in range(30)}
