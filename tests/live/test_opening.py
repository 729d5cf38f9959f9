"""A stream that is opened while the log is read."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.live import queries
from app.live.changes import ChangedJob
from support.factories import make_job, new_domain
from support.service import wait_until

EVENTS = "/api/scrape-jobs/events"


def parts(answer: TestResponse) -> Iterator[str]:
    """Yield the parts of a stream up to its first heartbeat."""
    for part in answer.response:
        text = part if isinstance(part, str) else part.decode()
        yield text
        if "heartbeat" in text:
            return


def test_stream_opened_during_a_reading_misses_nothing(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain, find_changed_jobs = new_domain(), queries.changed_jobs
    opened: list[TestResponse] = []
    created: list[str] = []
    is_first = threading.Lock()

    def changed_jobs(since: datetime) -> Iterable[ChangedJob]:
        if is_first.acquire(blocking=False):
            opened.append(client.get(f"{EVENTS}?domain={domain}"))
            created.append(make_job(client, domain=domain)["id"])
        return find_changed_jobs(since)

    with closing(client.get(f"{EVENTS}?domain={new_domain()}")):  # makes the reader read
        monkeypatch.setattr(queries, "changed_jobs", changed_jobs)
        wait_until(lambda: created)
        with closing(opened[0]) as stream:
            assert any(created[0] in part for part in parts(stream))
