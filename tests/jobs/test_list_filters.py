"""Filters of the list."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from support.factories import make_job, new_domain
from support.jobs import JOBS, NOON, Query, get


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "abcdef"),
        ({"status": "pending"}, "ab"),
        ({"status": "running"}, "c"),
        ({"status": "completed"}, "d"),
        ({"status": "failed"}, "e"),
        ({"status": "cancelled"}, "f"),
        ({"status": "pending,failed"}, "abe"),
        ({"status": "failed, pending ,failed"}, "abe"),
        ({"status": "pending,running,completed,failed,cancelled"}, "abcdef"),
        ({"job_type": "one"}, "ac"),
        ({"job_type": "nobody:has.this"}, ""),
        ({"domain": "A"}, "abd"),
        ({"customer_config_id": "C"}, "be"),
        ({"created_after": "2020-06-03T00:00:00Z"}, "def"),
        ({"created_before": "2020-06-03T00:00:00Z"}, "abc"),
        ({"created_after": "2020-06-02T00:00:00Z", "created_before": "2020-06-05T00:00:00Z"}, "cde"),
        ({"created_after": "2020-06-05T00:00:00Z", "created_before": "2020-06-02T00:00:00Z"}, ""),
        ({"created_after": "2020-06-03T12:00:00Z", "created_before": "2020-06-05T12:00:00Z"}, "de"),
        ({"updated_after": "2020-07-03T12:00:00Z"}, "def"),
        ({"updated_before": "2020-07-03T12:00:00Z"}, "abc"),
        ({"updated_after": "2020-07-02T12:00:00.000Z", "updated_before": "2020-07-02T12:00:00.001Z"}, "c"),
        ({"domain": "A", "status": "pending"}, "ab"),
        ({"domain": "A", "job_type": "one"}, "a"),
        ({"domain": "A", "customer_config_id": "C"}, "b"),
        ({"status": "pending,failed", "customer_config_id": "C"}, "be"),
        ({"status": "failed", "job_type": "two", "customer_config_id": "C", "created_after": "2020-06-04T00:00Z"}, "e"),
        (
            {
                "status": "pending,completed", "domain": "A", "job_type": "two", "customer_config_id": "C",
                "created_after": "2020-06-01T00:00Z", "created_before": "2020-06-02T00:00Z",
            },
            "b",
        ),
        ({"status": "cancelled", "domain": "A"}, ""),
    ],
)  # fmt: skip
def test_filters_narrow_alone_and_together(
    client: FlaskClient, sql: Callable[..., None], query: Query, expected: str
) -> None:
    tag, customer = uuid.uuid4().hex, str(uuid.uuid4())
    domains = {"A": new_domain(), "B": new_domain()}
    rows = [
        ("a", "pending", "A", "one", None, 0),
        ("b", "pending", "A", "two", customer, 0),
        ("c", "running", "B", "one", None, 1),
        ("d", "completed", "A", "two", None, 2),
        ("e", "failed", "B", "two", customer, 3),
        ("f", "cancelled", "B", "two", None, 4),
    ]
    names = {}
    for name, status, domain, job_type, customer_id, day in rows:
        job = make_job(
            client,
            status,
            domain=domains[domain],
            job_type=job_type,
            customer_config_id=customer_id,
            metadata={"tags": ["other", tag]},
        )
        created, updated = (
            NOON + timedelta(days=day),
            NOON + timedelta(days=30 + day, microseconds=7),
        )
        sql(
            "UPDATE scrape_jobs SET created_at = %s, updated_at = %s WHERE id = %s",
            created,
            updated,
            job["id"],
        )
        names[job["id"]] = name
    asked = {key: {**domains, "C": customer}.get(value, value) for key, value in query.items()}
    found = get(client, tag=tag, sort="created_at", **asked)["data"]
    assert sorted(names[job["id"]] for job in found) == list(expected)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["T"], True),
        (["x", "T", "y"], True),
        ([["T"]], False),
        (["Tx"], False),
        (["t"], False),
        ([], False),
        ("T", False),
        ({"T": "T"}, False),
        (None, False),
        ([7, None, "T"], True),
    ],
)
def test_tag_matches_an_item_of_metadata(client: FlaskClient, tags: Any, found: bool) -> None:
    domain, tag = new_domain(), f"T{uuid.uuid4().hex}"
    written = json.loads(json.dumps(tags).replace("T", tag))
    make_job(
        client, domain=domain, metadata={"tags": written, "other": [tag], "nested": {"tags": [tag]}}
    )
    assert bool(get(client, domain=domain, tag=tag)["data"]) is found
    assert bool(get(client, tag=tag)["data"]) is found


@pytest.mark.parametrize(
    "tag",
    [
        "a b",
        "100%",
        "%s",
        "it's",
        '"quoted"',
        "back\\slash",
        "ünï",
        "\U0001f600",
        "a,b",
        "x" * 200,
        "$.x",
        "a\nb",
    ],
)
def test_a_tag_may_hold_any_characters(client: FlaskClient, tag: str) -> None:
    domain = new_domain()
    job = make_job(client, domain=domain, metadata={"tags": [tag]})
    make_job(client, domain=domain, metadata={"tags": [f"{tag}?"]})
    assert get(client, domain=domain, tag=tag)["data"] == [job]


def test_domain_filter_is_normalised(client: FlaskClient) -> None:
    name = uuid.uuid4().hex[:12]
    job = make_job(client, domain=f"bücher-{name}.example")
    for written in (f"BÜCHER-{name}.Example", f"bücher-{name}.example.", job["domain"]):
        assert get(client, domain=written)["data"] == [job]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("created_after=2020-06-01T13:00:00+01:00", "bc"),
        ("created_after=2020-06-01T13:00:00%2B01:00", "bc"),
        ("created_after=2020-06-01T07:00:00-05:00", "bc"),
        ("created_after=2020-06-01T12:00:00", "bc"),
        ("created_after=2020-06-01T12:00:00.001Z", "bc"),
        ("created_before=2020-06-01T17:30:00+05:30", "a"),
        ("created_before=2020-06-01t12:00:00z", "a"),
        ("created_after=2020-06-01T15:00:00+03:00&created_before=2020-06-02T15:00:00+03:00", "b"),
    ],
)
def test_time_filter_accepts_any_offset(
    client: FlaskClient, sql: Callable[..., None], query: str, names: str
) -> None:
    domain = new_domain()
    for name, at in (("a", -12), ("b", 12), ("c", 36)):
        job = make_job(client, domain=domain, metadata={"name": name})
        sql(
            "UPDATE scrape_jobs SET created_at = %s WHERE id = %s",
            NOON + timedelta(hours=at),
            job["id"],
        )
    answer = client.get(f"{JOBS}?domain={domain}&sort=created_at&{query}")
    assert answer.status_code == 200, answer.text
    assert [job["metadata"]["name"] for job in answer.get_json()["data"]] == list(names)
