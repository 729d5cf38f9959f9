"""Resumable lists: the cursor of the last page misses no later change."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from app import database
from app.config import Settings
from app.database.tenant_scope import all_customers
from app.events.provenance import SYSTEM, Provenance
from app.factory import create_app
from app.jobs import schemas, service
from app.jobs.change_request import Preconditions
from app.jobs.resuming import BEGINNING, Position, ResumePoint, next_point
from support.factories import make_job, new_domain

JOBS = "/api/scrape-jobs"
PROVENANCE = Provenance(SYSTEM, None)
NOON = datetime(2020, 6, 1, 12, tzinfo=UTC)
ASCENDING = ["created_at", "updated_at"]


def read(
    client: FlaskClient, domain: str, sort: str, cursor: str | None = None, limit: int = 50
) -> dict[str, Any]:
    query: dict[str, Any] = {"domain": domain, "sort": sort, "limit": limit}
    answer = client.get(JOBS, query_string=query if cursor is None else {**query, "cursor": cursor})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def traverse(
    client: FlaskClient, domain: str, sort: str, cursor: str | None = None
) -> tuple[list[str], str]:
    """Return the ids on all pages from `cursor` on, and the cursor of the last page."""
    ids: list[str] = []
    while True:
        body = read(client, domain, sort, cursor, limit=2)
        ids += [job["id"] for job in body["data"]]
        cursor = str(body["pagination"]["next_cursor"])
        if not body["pagination"]["has_more"]:
            return ids, cursor


def settle(client: FlaskClient, domain: str, sort: str, cursor: str) -> str:
    """Return the cursor behind all jobs; other transactions may show some of them repeatedly."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        ids, cursor = traverse(client, domain, sort, cursor)
        if not ids:
            return cursor
        time.sleep(0.02)
    raise AssertionError(f"after 30 s {ids} are still shown again")


@contextmanager
def open_creation(app: Flask, domain: str) -> Iterator[str]:
    """Create a job in a transaction that commits at the end of the block, and yield its id."""
    made, may_commit = threading.Event(), threading.Event()
    ids: list[str] = []

    def create() -> None:
        with app.app_context(), all_customers(), database.transaction():
            ids.append(
                str(service.create(schemas.parse_new_jobs({"domain": domain}), PROVENANCE)[0].id)
            )
            made.set()
            may_commit.wait(60)

    thread = threading.Thread(target=create)
    thread.start()
    assert made.wait(60)
    try:
        yield ids[0]
    finally:
        may_commit.set()
        thread.join()


@pytest.mark.parametrize("sort", ASCENDING)
def test_last_page_can_be_asked_again(client: FlaskClient, sort: str) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain)["id"] for _ in range(5)]
    ids, cursor = traverse(client, domain, sort)
    assert ids == made
    cursor = settle(client, domain, sort, cursor)
    added = [make_job(client, domain=domain)["id"] for _ in range(3)]
    ids, cursor = traverse(client, domain, sort, cursor)
    assert ids == added
    settle(client, domain, sort, cursor)


@pytest.mark.parametrize("sort", ASCENDING)
def test_empty_list_can_be_asked_again(client: FlaskClient, sort: str) -> None:
    domain = new_domain()
    ids, cursor = traverse(client, domain, sort)
    assert ids == []
    made = make_job(client, domain=domain)["id"]
    assert traverse(client, domain, sort, cursor)[0] == [made]


@pytest.mark.parametrize("sort", ASCENDING)
def test_job_committed_late_is_not_missed(app: Flask, client: FlaskClient, sort: str) -> None:
    domain = new_domain()
    first = make_job(client, domain=domain)["id"]
    cursor = settle(client, domain, sort, traverse(client, domain, sort)[1])
    with open_creation(app, domain) as late:
        later = [make_job(client, domain=domain)["id"] for _ in range(5)]
        assert traverse(client, domain, sort)[0] == [first, *later]
        ids, cursor = traverse(client, domain, sort, cursor)
        assert ids == later
    ids, cursor = traverse(client, domain, sort, cursor)
    assert ids == [late, *later]  # the later ones again: they were not settled
    settle(client, domain, sort, cursor)


def test_update_committed_late_is_not_missed(app: Flask, client: FlaskClient) -> None:
    domain = new_domain()
    old = make_job(client, domain=domain)["id"]
    changed, may_commit = threading.Event(), threading.Event()

    def change() -> None:
        with app.app_context(), all_customers(), database.transaction():
            service.update(UUID(old), {"stats": {"n": 1}}, Preconditions(), PROVENANCE)
            changed.set()
            may_commit.wait(60)

    thread = threading.Thread(target=change)
    thread.start()
    assert changed.wait(60)
    newer = make_job(client, domain=domain)["id"]
    ids, cursor = traverse(client, domain, "updated_at")
    assert ids == [old, newer]
    may_commit.set()
    thread.join()
    assert traverse(client, domain, "updated_at", cursor)[0] == [old, newer]


def test_hidden_transaction_of_other_role_counts(
    app: Flask, client: FlaskClient, database_url: str
) -> None:
    """PostgreSQL hides the start of transactions of other roles, so recent jobs are repeated."""
    domain, reader = new_domain(), f"reader_{uuid.uuid4().hex[:8]}"
    owner = psycopg2.connect(database_url)
    owner.autocommit = True
    with owner.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {reader} LOGIN PASSWORD 'p'")
        cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}")
    url = (
        make_url(database_url)
        .set(username=reader, password="p")
        .render_as_string(hide_password=False)
    )
    try:
        other = create_app(Settings(auth="off", rate_limit=False, database_url=url))
        with open_creation(app, domain) as late:
            made = make_job(client, domain=domain)["id"]
            ids, position = traverse(other.test_client(), domain, "created_at")
            assert ids == [made]
        ids, _ = traverse(other.test_client(), domain, "created_at", position)
        assert ids == [late, made]
        with other.app_context():
            database.db.engine.dispose()
    finally:
        with owner.cursor() as cursor:
            cursor.execute(f"DROP OWNED BY {reader}")
            cursor.execute(f"DROP ROLE {reader}")
        owner.close()


def place(second: int) -> Position:
    return NOON + timedelta(seconds=second), UUID(int=second)


def test_settled_page_moves_both_places() -> None:
    point = next_point(ResumePoint(), [place(1), place(2)], NOON + timedelta(seconds=9), more=True)
    assert point == ResumePoint(place(2), place(2))


def test_unsettled_rows_keep_the_settled_place() -> None:
    point = next_point(ResumePoint(), [place(1), place(2), place(3)], place(2)[0], more=True)
    assert point == ResumePoint(place(3), place(1))
    after = next_point(point, [place(4)], NOON + timedelta(hours=1), more=False)
    assert after == ResumePoint(place(1), place(1))


def test_empty_last_page_keeps_its_place() -> None:
    assert next_point(ResumePoint(place(3), place(3)), [], NOON, more=False) == ResumePoint(
        place(3), place(3)
    )
    assert next_point(ResumePoint(), [], NOON, more=False).position == BEGINNING


@given(st.data())
def test_no_commit_order_hides_a_row(data: st.DataObject) -> None:
    """A reader that polls sees every row, in whatever order transactions commit."""
    spans = data.draw(
        st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=20)
    )
    rows = [
        (place(start)[0], UUID(int=number + 1), start + length)
        for number, (start, length) in enumerate(spans)
    ]
    polls = [*sorted(data.draw(st.sets(st.integers(1, 75), max_size=12))), 100]
    limit = data.draw(st.integers(1, 5))
    since = ResumePoint()
    seen: set[UUID] = set()
    for now in polls:
        starts = [at for at, _, end in rows if at <= place(now)[0] and end > now]
        settled_before = min([*starts, place(now)[0]])
        while True:
            visible = sorted(
                (at, id) for at, id, end in rows if end <= now and (at, id) > since.position
            )
            shown, more = visible[:limit], len(visible) > limit
            seen.update(id for _, id in shown)
            since = next_point(since, shown, settled_before, more=more)
            if not more:
                break
    assert len(seen) == len(rows)
