"""Selected fields of lists, and pages bounded by bytes."""

import json
import tracemalloc
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient

from app.database.page_size import PAGE_BYTES
from app.jobs.representation import FIELDS
from support.factories import make_job, new_domain

JOBS = "/api/scrape-jobs"

LARGE = {"text": 'äöü\\"' * 20_000}
"""Return a document of about 160 KB."""


def read(client: FlaskClient, path: str = JOBS, **query: Any) -> dict[str, Any]:
    answer = client.get(path, query_string=query)
    assert answer.status_code == 200, answer.text
    assert len(answer.data) < PAGE_BYTES + 1_000_000
    body: dict[str, Any] = answer.get_json()
    return body


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ("id", ["id"]),
        ("id,status", ["id", "status"]),
        ("status, id,status", ["id", "status"]),
        ("worker_id,allowed_transitions,id", ["id", "allowed_transitions", "worker_id"]),
        (",".join(FIELDS), list(FIELDS)),
        (",".join(reversed(FIELDS)), list(FIELDS)),
    ],
)
def test_list_shows_the_chosen_fields(client: FlaskClient, fields: str, names: list[str]) -> None:
    domain = new_domain()
    job = make_job(client, domain=domain)
    for sort in ("-created_at", "updated_at", "priority"):
        shown = read(client, domain=domain, fields=fields, sort=sort)["data"]
        assert shown == [{name: job[name] for name in names}]
        assert list(shown[0]) == names


@pytest.mark.parametrize(
    "fields", ["", "x", "id,", "id,,status", "Id", "lease_token", "version", "chain", "*", "id;"]
)
def test_unknown_field_is_refused(client: FlaskClient, fields: str) -> None:
    answer = client.get(JOBS, query_string={"fields": fields})
    assert answer.status_code == 400
    assert answer.get_json()["error"] == f"Invalid fields: must be one of {', '.join(FIELDS)}"


@pytest.mark.parametrize(
    "sort", ["created_at", "-created_at", "priority", "updated_at", "-updated_at"]
)
def test_page_of_large_jobs_is_shorter(client: FlaskClient, sort: str) -> None:
    domain = new_domain()
    made = {make_job(client, domain=domain, metadata=LARGE, config=LARGE)["id"] for _ in range(20)}
    query: dict[str, Any] = {"domain": domain, "sort": sort, "limit": 200}
    ids: list[str] = []
    lengths = []
    while True:
        body = read(client, **query)
        ids += [job["id"] for job in body["data"]]
        lengths.append(len(body["data"]))
        if not body["pagination"]["has_more"]:
            break
        query["cursor"] = body["pagination"]["next_cursor"]
    assert len(ids) == 20
    assert set(ids) == made
    assert all(1 <= length < 10 for length in lengths)


def test_small_fields_of_large_jobs_fit_one_page(client: FlaskClient) -> None:
    domain = new_domain()
    for _ in range(20):
        make_job(client, domain=domain, metadata=LARGE, config=LARGE)
    body = read(client, domain=domain, fields="id,status")
    assert (len(body["data"]), body["pagination"]["has_more"]) == (20, False)


def test_page_of_large_history_is_shorter(client: FlaskClient) -> None:
    """The history keeps the results of a failed attempt."""
    job = make_job(client, max_retries=100)
    path = f"{JOBS}/{job['id']}"
    for _ in range(12):
        for change in (
            {"status": "running"},
            {"status": "failed", "stats": LARGE},
            {"status": "pending"},
        ):
            assert client.put(path, json=change).status_code == 200
    query: dict[str, Any] = {"limit": 200}
    events: list[dict[str, Any]] = []
    pages = 0
    while True:
        body = read(client, f"{path}/history", **query)
        events += body["data"]
        pages += 1
        if not body["pagination"]["has_more"]:
            break
        query["cursor"] = body["pagination"]["next_cursor"]
    assert [event["id"] for event in events] == list(range(1, 38))
    assert pages == 2


def test_large_list_needs_little_memory(client: FlaskClient) -> None:
    domain = new_domain()
    for _ in range(40):
        make_job(client, domain=domain, metadata=LARGE, config=LARGE)
    tracemalloc.start()
    try:
        answer = client.get(JOBS, query_string={"domain": domain, "limit": 200})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert json.loads(answer.data)["pagination"]["has_more"]
    assert peak < 10 * PAGE_BYTES


def test_page_of_large_deliveries_is_shorter(client: FlaskClient, database_url: str) -> None:
    hook = client.post(
        "/api/webhooks", json={"url": "http://93.184.216.34/", "active": False}
    ).get_json()["data"]
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, status, next_try_at, created_at)"
            " SELECT gen_random_uuid(), 1, %s, gen_random_uuid(), %s, 'failed', now(), now() - n * interval '1 s'"
            " FROM generate_series(1, 20) AS n",
            [hook["id"], json.dumps(LARGE)],
        )
    connection.close()
    query: dict[str, Any] = {"limit": 200}
    lengths = []
    while True:
        body = read(client, f"/api/webhooks/{hook['id']}/deliveries", **query)
        lengths.append(len(body["data"]))
        if not body["pagination"]["has_more"]:
            break
        query["cursor"] = body["pagination"]["next_cursor"]
    assert sum(lengths) == 20
    assert all(1 <= length < 20 for length in lengths)
    assert client.delete(f"/api/webhooks/{hook['id']}").status_code == 200


def test_look_at_large_waiting_jobs_is_short(client: FlaskClient) -> None:
    domain = new_domain()
    made = [make_job(client, domain=domain, metadata=LARGE, config=LARGE)["id"] for _ in range(12)]
    body = read(client, f"{JOBS}/next", domains=domain, limit=100)
    ids = [job["id"] for job in body["data"]]
    assert 1 <= len(ids) < 12
    assert ids == made[: len(ids)]
    assert [
        job["id"] for job in read(client, f"{JOBS}/next", domains=domain, limit=2)["data"]
    ] == made[:2]
