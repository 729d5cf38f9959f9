"""Events in the history of a job."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient

from support.factories import make_job, new_domain
from support.jobs import JOBS, Job, history, last, put

ANONYMOUS = {"type": "anonymous", "id": None, "name": None}
MERGE_PATCH = "application/merge-patch+json"


@pytest.fixture
def rows(database_url: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    connection = psycopg2.connect(database_url)
    connection.autocommit = True

    def fetch(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())

    yield fetch
    connection.close()


def patch(client: FlaskClient, job: Job, **fields: Any) -> Job:
    answer = client.patch(f"{JOBS}/{job['id']}", data=json.dumps(fields), content_type=MERGE_PATCH)
    assert answer.status_code == 200, answer.text
    changed: Job = answer.get_json()["data"]
    return changed


def diff(old: Any, new: Any) -> dict[str, Any]:
    return {"from": old, "to": new}


def test_history_covers_the_whole_life(client: FlaskClient) -> None:
    domain = new_domain()
    told: list[dict[str, Any]] = []

    def step(
        method: str, action: str, statuses: tuple[str | None, str], path: str = "", **options: Any
    ) -> Job:
        request_id = f"life-{uuid.uuid4()}"
        answer = client.open(
            f"{JOBS}{path}", method=method, headers={"X-Request-ID": request_id}, **options
        )
        assert answer.status_code in (200, 201), answer.text
        job: Job = answer.get_json()["data"]
        told.append(
            {
                "id": len(told) + 1,
                "at": job["updated_at"],
                "actor": ANONYMOUS,
                "request_id": request_id,
                "action": action,
                "old_status": statuses[0],
                "new_status": statuses[1],
            }
        )
        return job

    made = step(
        "POST",
        "created",
        (None, "pending"),
        json={
            "domain": domain,
            "config": {"depth": 3},
            "metadata": {"tags": ["a"]},
            "max_retries": 2,
        },
    )
    path = f"/{made['id']}"
    running = step(
        "PUT",
        "updated",
        ("pending", "running"),
        path,
        json={"status": "running", "stats": {"pages": 1}},
    )
    step("PUT", "updated", ("running", "running"), path, json={"stats": {"pages": 2, "errors": []}})
    step(
        "PATCH",
        "updated",
        ("running", "running"),
        path,
        data='{"stats": {"errors": null}, "metadata": {"tags": ["b"]}}',
        content_type=MERGE_PATCH,
    )
    failed = step(
        "PUT",
        "updated",
        ("running", "failed"),
        path,
        json={"status": "failed", "error_message": "no route"},
    )
    step("PUT", "updated", ("failed", "pending"), path, json={"status": "pending"})
    cancelled = step(
        "DELETE", "cancelled", ("pending", "cancelled"), path, query_string={"reason": "enough"}
    )

    changes = [
        {
            "domain_id": diff(None, made["domain_id"]),
            "domain": diff(None, domain),
            "job_type": diff(None, "domain_scrape"),
            "priority": diff(None, 5),
            "max_retries": diff(None, 2),
            "config.depth": diff(None, 3),
            "metadata.tags": diff(None, ["a"]),
        },
        {"started_at": diff(None, running["started_at"]), "stats.pages": diff(None, 1)},
        {"stats.pages": diff(1, 2), "stats.errors": diff(None, [])},
        {"stats.errors": diff([], None), "metadata.tags": diff(["a"], ["b"])},
        {
            "completed_at": diff(None, failed["completed_at"]),
            "error_message": diff(None, "no route"),
        },
        {
            "retry_count": diff(0, 1),
            "started_at": diff(running["started_at"], None),
            "completed_at": diff(failed["completed_at"], None),
            "error_message": diff("no route", None),
            "stats.pages": diff(2, None),
        },
        {
            "completed_at": diff(None, cancelled["completed_at"]),
            "error_message": diff(None, "Cancelled via API: enough"),
        },
    ]
    found = history(client, made)
    assert found == [
        {**entry, "changes": change} for entry, change in zip(told, changes, strict=True)
    ]
    assert [list(entry) for entry in found] == [
        ["id", "at", "actor", "request_id", "action", "old_status", "new_status", "changes"]
    ] * len(found)


@pytest.mark.parametrize(
    ("before", "fields", "changes"),
    [
        ({}, {"stats": {"pagesProcessed": 5}}, {"stats.pagesProcessed": diff(None, 5)}),
        ({"stats": {"a": 1, "b": 2}}, {"stats": {"b": 3}}, {"stats.a": diff(1, None), "stats.b": diff(2, 3)}),
        ({"stats": {"a": 1}}, {"stats": {"a": 1}}, {}),
        ({"stats": {"a": 1}}, {"stats": {}}, {"stats.a": diff(1, None)}),
        ({"stats": {"a": {"b": 1}}}, {"stats": {"a": {"b": 2}}}, {"stats.a": diff({"b": 1}, {"b": 2})}),
        ({"stats": {"a": "1"}}, {"stats": {"a": 1}}, {"stats.a": diff("1", 1)}),
        ({"metadata": {"a": 1}}, {"metadata": {"b": 2}}, {"metadata.b": diff(None, 2)}),
        ({"metadata": {"a": 1}}, {"metadata": {"a": None}}, {"metadata.a": diff(1, None)}),
        ({"metadata": {"a": [1, 2]}}, {"metadata": {"a": [2]}}, {"metadata.a": diff([1, 2], [2])}),
        ({}, {"metadata": {"a.b": 1, "": 2}}, {"metadata.a.b": diff(None, 1), "metadata.": diff(None, 2)}),
        ({}, {"metadata": {"'\"%s": "%(id)s"}}, {"metadata.'\"%s": diff(None, "%(id)s")}),
        ({}, {"retry_count": 2}, {"retry_count": diff(0, 2)}),
        ({}, {"retry_count": 0}, {}),
        ({"error_message": "a"}, {"error_message": "b"}, {"error_message": diff("a", "b")}),
        ({"error_message": "a"}, {"error_message": None}, {"error_message": diff("a", None)}),
        ({}, {"started_at": "2024-01-01T12:00:00+02:00"}, {"started_at": diff(None, "2024-01-01T10:00:00.000Z")}),
        (
            {"started_at": "2024-01-01T10:00:00Z"},
            {"started_at": None},
            {"started_at": diff("2024-01-01T10:00:00.000Z", None)},
        ),
        ({}, {"status": "pending"}, {}),
    ],
)  # fmt: skip
def test_changes_are_differences(
    client: FlaskClient, before: dict[str, Any], fields: dict[str, Any], changes: dict[str, Any]
) -> None:
    job = make_job(client)
    if before:
        put(client, job, **before)
    changed = put(client, job, **fields)
    entry = last(client, job)
    assert entry["changes"] == changes
    assert (entry["action"], entry["at"]) == ("updated", changed["updated_at"])


def test_a_refused_change_leaves_no_entry(client: FlaskClient) -> None:
    job = make_job(client, "completed")
    before = history(client, job)
    path = f"{JOBS}/{job['id']}"
    assert client.put(path, json={"status": "running"}).status_code == 400
    assert client.put(path, json={"completed_at": None}).status_code == 400
    assert client.put(path, json={"stats": {}}, headers={"If-Match": '"999"'}).status_code == 412
    assert client.put(path, json={"stats": {}}, headers={"X-Lease-Token": "x"}).status_code == 409
    assert client.put(path, json={"stats": {"k": "x" * 256 * 1024}}).status_code == 413
    assert client.delete(path).status_code == 409
    assert history(client, job) == before


def test_each_job_of_array_has_its_history(client: FlaskClient) -> None:
    headers = {"X-Request-ID": "an-array"}
    jobs = client.post(
        JOBS, json=[{"domain": new_domain()} for _ in range(3)], headers=headers
    ).get_json()["data"]
    for job in jobs:
        (entry,) = history(client, job)
        assert (entry["id"], entry["action"], entry["request_id"]) == (1, "created", "an-array")
        assert entry["changes"]["domain"] == diff(None, job["domain"])


def test_creation_event_has_all_given_fields(client: FlaskClient) -> None:
    customer, domain_id = str(uuid.uuid4()), str(uuid.uuid4())
    due = "2031-01-01T00:00:00.000Z"
    job = make_job(
        client,
        domain_id=domain_id,
        customer_config_id=customer,
        scheduled_for=due,
        job_type="x",
        priority=9,
    )
    (entry,) = history(client, job)
    assert entry["changes"] == {
        "domain_id": diff(None, domain_id),
        "domain": diff(None, job["domain"]),
        "job_type": diff(None, "x"),
        "priority": diff(None, 9),
        "max_retries": diff(None, 3),
        "customer_config_id": diff(None, customer),
        "scheduled_for": diff(None, due),
    }


def test_start_records_removal_of_scheduled_for(client: FlaskClient) -> None:
    due = "2021-01-01T00:00:00.000Z"
    job = make_job(client, scheduled_for=due)
    assert put(client, job, status="running")["scheduled_for"] is None
    assert last(client, job)["changes"]["scheduled_for"] == diff(due, None)


@pytest.mark.parametrize("name", ["stats", "metadata"])
@pytest.mark.parametrize(
    "large",
    [
        "x" * 1023,
        "€" * 400,
        {
            "b": [1, 2.50, 1e3, None, True],
            "a": "ü" * 600,
            "longer": {"z": 1, "y": 2},
            'q"': "\\" * 300,
        },
        [{"url": f"https://example.com/{n}"} for n in range(100)],
    ],
)
def test_large_value_is_recorded_as_size_and_digest(
    client: FlaskClient, rows: Callable[..., list[tuple[Any, ...]]], name: str, large: Any
) -> None:
    job = make_job(client)
    put(client, job, **{name: {"large": large, "small": 1}})
    ((text,),) = rows(f"SELECT ({name} -> 'large')::text FROM scrape_jobs WHERE id = %s", job["id"])
    folded = {"bytes": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert last(client, job)["changes"] == {
        f"{name}.large": diff(None, folded),
        f"{name}.small": diff(None, 1),
    }
    put(client, job, **{name: {"large": 0, "small": 1}})
    assert last(client, job)["changes"] == {f"{name}.large": diff(folded, 0)}


@pytest.mark.parametrize("name", ["config", "metadata"])
def test_large_value_at_creation_is_recorded_as_digest(client: FlaskClient, name: str) -> None:
    fields: dict[str, Any] = {name: {"large": "x" * 2000}}
    (entry,) = history(client, make_job(client, **fields))
    digest = hashlib.sha256(f'"{"x" * 2000}"'.encode()).hexdigest()
    assert entry["changes"][f"{name}.large"] == diff(None, {"bytes": 2002, "sha256": digest})


def test_large_values_of_equal_size_differ(client: FlaskClient) -> None:
    job = make_job(client)
    put(client, job, stats={"k": "x" * 2000})
    put(client, job, stats={"k": "y" * 2000})
    change = last(client, job)["changes"]["stats.k"]
    assert change["from"]["bytes"] == change["to"]["bytes"] == 2002
    assert change["from"]["sha256"] != change["to"]["sha256"]


def test_value_of_1024_bytes_is_recorded_whole(client: FlaskClient) -> None:
    job = make_job(client)
    put(client, job, stats={"k": "x" * 1022})
    assert last(client, job)["changes"] == {"stats.k": diff(None, "x" * 1022)}


@pytest.mark.parametrize("by_patch", [False, True])
def test_retry_records_results_of_failed_attempt(client: FlaskClient, by_patch: bool) -> None:
    stats = {
        "pages": 7,
        "errors": [{"url": f"https://example.com/{n}", "error": "timeout"} for n in range(200)],
    }
    job = make_job(client, "running")
    failed = put(client, job, status="failed", stats=stats, error_message="x" * 4000)
    pending = (patch if by_patch else put)(client, job, status="pending")
    assert (pending["stats"], pending["retry_count"]) == ({}, 1)
    entry = last(client, job)
    assert (entry["old_status"], entry["new_status"]) == ("failed", "pending")
    assert entry["changes"] == {
        "retry_count": diff(0, 1),
        "error_message": diff("x" * 4000, None),
        "started_at": diff(failed["started_at"], None),
        "completed_at": diff(failed["completed_at"], None),
        "stats.pages": diff(7, None),
        "stats.errors": diff(stats["errors"], None),
    }


def test_retry_with_stats_records_old_stats_whole(
    client: FlaskClient,
) -> None:
    job = make_job(client, "running")
    put(client, job, status="failed", stats={"k": "x" * 3000})
    put(client, job, status="pending", stats={"k": "y" * 3000})
    change = last(client, job)["changes"]["stats.k"]
    assert change["from"] == "x" * 3000
    assert change["to"] == {
        "bytes": 3002,
        "sha256": hashlib.sha256(f'"{"y" * 3000}"'.encode()).hexdigest(),
    }


def test_only_status_changes_store_stats(
    client: FlaskClient, rows: Callable[..., list[tuple[Any, ...]]]
) -> None:
    job = make_job(client)
    put(client, job, stats={"n": 1})
    put(client, job, status="pending", stats={"n": 2})
    put(client, job, status="running")
    put(client, job, stats={"n": 3})
    patch(client, job, status="running", stats={"n": 4})
    put(client, job, status="failed", stats={"n": 5, "large": "x" * 3000})
    put(client, job, error_message="x")
    put(client, job, status="pending")
    client.delete(f"{JOBS}/{job['id']}")
    put(client, job, metadata={"late": True})
    found = rows(
        "SELECT seq, old_status, new_status, stats FROM job_events WHERE job_id = %s ORDER BY seq",
        job["id"],
    )
    assert [(old, new, stats) for _, old, new, stats in found] == [
        (None, "pending", {}),
        ("pending", "pending", None),
        ("pending", "pending", None),
        ("pending", "running", {"n": 2}),
        ("running", "running", None),
        ("running", "running", None),
        ("running", "failed", {"n": 5, "large": "x" * 3000}),
        ("failed", "failed", None),
        ("failed", "pending", {}),
        ("pending", "cancelled", {}),
        ("cancelled", "cancelled", None),
    ]
    assert [seq for seq, *_ in found] == list(range(1, 12))
