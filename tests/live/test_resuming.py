"""Resuming of event streams: a client that reconnects misses nothing."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
import requests

from app.live import positions
from support.factories import new_domain
from support.service import Service
from support.streams import EventSource


def history(service: Service, job_id: str) -> list[dict[str, object]]:
    answer = requests.get(f"{service.jobs}/{job_id}/history?limit=200", timeout=30)
    events: list[dict[str, object]] = answer.json()["data"]
    return events


def test_reconnect_shows_what_was_missed(service: Service) -> None:
    domain = new_domain()
    url = f"{service.jobs}/events?domain={domain}"
    with EventSource(url).ready() as source:
        job = service.create(domain=domain)
        source.wait_for_version(job["id"], 1)
        position = source.last_event_id
    time.sleep(2.5)  # the position is past the first change
    service.change(job["id"], status="running")
    service.change(job["id"], status="failed", error_message="x")
    other = service.create(domain=domain)
    with EventSource(url, position).ready() as source:
        assert source.comments == ["resumed"]
        assert source.wait_for_version(other["id"], 1)["old_status"] is None
        missed = source.wait_for_version(job["id"], 3)
        assert missed["new_status"] == "failed"
        assert not [frame for frame in source.frames if frame.event != "job"]
    with EventSource(f"{url}&last_event_id={position}").ready() as source:
        source.wait_for_version(job["id"], 3)
    # The header wins: it is newer than the parameter of the URL, which a browser repeats.
    with EventSource(f"{url}&last_event_id=nonsense", position).ready() as source:
        source.wait_for_version(job["id"], 3)


@pytest.mark.parametrize("position", ["nonsense", "W10", "é", "x" * 5000])
def test_unreadable_position_makes_client_reload(service: Service, position: str) -> None:
    headers = {"Last-Event-ID": position.encode().decode("latin-1")}
    with requests.get(f"{service.jobs}/events", headers=headers, stream=True, timeout=30) as answer:
        lines = answer.iter_lines(chunk_size=1)
        assert b"event: resync" in [next(lines) for _ in range(4)]


def test_old_position_makes_client_reload(service: Service) -> None:
    old = positions.encode(datetime.now(UTC) - positions.MAX_AGE - timedelta(seconds=1))
    job = service.create()
    with EventSource(f"{service.jobs}/{job['id']}/events", old).ready() as source:
        assert source.frames[0].event == "resync"
        service.change(job["id"], status="running")  # the stream goes on
        source.wait_for_version(job["id"], 2)


def test_restart_of_the_service_loses_nothing(database_url: str) -> None:
    domain = new_domain()
    with Service(database_url, WEB_CONCURRENCY="2") as service:
        source = EventSource(f"{service.jobs}/events?domain={domain}").ready()
        jobs = [service.create(domain=domain)["id"] for _ in range(5)]
        for job in jobs:
            service.change(job, status="running")
        time.sleep(0.3)
        service.master().terminate()
        assert source.has_ended.wait(1.5)  # SIGTERM ends streams within a second
    frames = source.changes()
    with Service(database_url, PORT=str(service.port)) as service:
        service.change(jobs[0], status="completed")
        url = f"{service.jobs}/events?domain={domain}"
        with EventSource(url, source.last_event_id).ready() as resumed:
            service.change(jobs[1], status="failed")
            resumed.wait_for_version(jobs[0], 3)
            resumed.wait_for_version(jobs[1], 3)
            frames += resumed.changes()
        for job in jobs:
            events = history(service, job)
            seen = [frame for frame in frames if frame["id"] == job]
            assert max(frame["version"] for frame in seen) == len(events)
            assert seen[-1]["new_status"] == events[-1]["new_status"]


@pytest.fixture
def open_transaction(database_url: str) -> Iterator[psycopg2.extensions.connection]:
    connection = psycopg2.connect(database_url)
    yield connection
    connection.close()


def test_late_commit_is_not_lost(
    service: Service, open_transaction: psycopg2.extensions.connection
) -> None:
    domain = new_domain()
    url = f"{service.jobs}/events?domain={domain}"
    late = service.create(domain=domain)
    with EventSource(url).ready() as source:
        with open_transaction.cursor() as cursor:  # now() is the time of this statement
            cursor.execute(
                "UPDATE scrape_jobs SET priority = 9, version = version + 1, updated_at = now()"
                " WHERE id = %s",
                (late["id"],),
            )
            cursor.execute(
                "INSERT INTO job_events (job_id, seq, at, action, old_status, new_status,"
                " actor_type, changes) VALUES (%s, 2, now(), 'updated', 'pending', 'pending',"
                " 'system', '{}')",
                (late["id"],),
            )
        for _ in range(4):
            job = service.create(domain=domain)
            source.wait_for_version(job["id"], 1)
            time.sleep(1)
        position = source.last_event_id
        with EventSource(url, position).ready() as other:
            open_transaction.commit()
            assert source.wait_for_version(late["id"], 2)["job"]["priority"] == 9
            assert other.wait_for_version(late["id"], 2)["job"]["priority"] == 9
    with EventSource(url, position).ready() as resumed:
        assert resumed.wait_for_version(late["id"], 2)["job"]["priority"] == 9
