"""Size limits, history, and sequences of updates against a model."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from support.factories import make_job, read_all, read_history
from support.updates import FIELDS, assert_refused, put, updated, url

KIB = 1024
LIMIT = 256 * KIB


def document(size: int, key: str = "k") -> dict[str, str]:
    """Return an object whose JSON text has `size` bytes, with a space after each colon."""
    return {key: "x" * (size - len(json.dumps({key: ""})))}


@pytest.mark.parametrize("field", ["stats", "metadata"])
def test_a_document_may_have_256_kib(client: FlaskClient, field: str) -> None:
    job = make_job(client)
    assert updated(client, job, {field: document(LIMIT)})[field] == document(LIMIT)


@pytest.mark.parametrize("field", ["stats", "metadata"])
@pytest.mark.parametrize(
    "large", [document(LIMIT + 1), document(3 * LIMIT), {"k": "日" * (LIMIT // 3)}], ids=range(3)
)
def test_oversized_document_writes_nothing(
    client: FlaskClient, field: str, large: dict[str, Any]
) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    answer = put(client, job, {field: large, "error_message": "lost"})
    assert_refused(answer, 413, f"Invalid {field}: must hold at most 256 KiB")
    assert read_all(client, job["id"]) == before


def test_merged_metadata_beyond_limit_is_rejected(client: FlaskClient) -> None:
    job = updated(client, make_job(client), {"metadata": document(150 * KIB, "a")})
    before = read_all(client, job["id"])
    answer = put(client, job, {"metadata": document(150 * KIB, "b")})
    assert_refused(answer, 413, "Invalid metadata: must hold at most 256 KiB")
    assert read_all(client, job["id"]) == before
    assert updated(client, job, {"metadata": document(200 * KIB, "a")})["metadata"] == document(
        200 * KIB, "a"
    )


def test_replaced_stats_do_not_add_up(client: FlaskClient) -> None:
    job = updated(client, make_job(client), {"stats": document(150 * KIB, "a")})
    assert updated(client, job, {"stats": document(150 * KIB, "b")})["stats"] == document(
        150 * KIB, "b"
    )


def test_size_limit_applies_to_each_document(client: FlaskClient) -> None:
    body = {"stats": document(LIMIT), "metadata": document(LIMIT)}
    assert put(client, make_job(client), body).status_code == 200


def test_a_body_past_1_mib_is_refused(client: FlaskClient) -> None:
    answer = put(client, make_job(client), {"stats": document(1024 * KIB)})
    assert answer.status_code == 413
    assert answer.get_json()["success"] is False


def test_history_records_actor_change_and_request(client: FlaskClient) -> None:
    job = make_job(client, metadata={"same": 1, "old": [1]})
    body = {
        "stats": {"pages": 3},
        "metadata": {"same": 1, "old": [2], "new": None},
        "retry_count": 1,
    }
    after = updated(client, job, body, X_Request_ID="request-7")
    assert read_history(client, job["id"])[-1] == {
        "id": 2,
        "at": after["updated_at"],
        "actor": {"type": "anonymous", "id": None, "name": None},
        "request_id": "request-7",
        "action": "updated",
        "old_status": "pending",
        "new_status": "pending",
        "changes": {
            "stats.pages": {"from": None, "to": 3},
            "metadata.old": {"from": [1], "to": [2]},
            "metadata.new": {"from": None, "to": None},
            "retry_count": {"from": 0, "to": 1},
        },
    }


FOLLOWING = {
    "pending": ("running", "cancelled"),
    "running": ("completed", "failed", "cancelled"),
    "completed": (),
    "failed": ("pending", "cancelled"),
    "cancelled": (),
}
NOW = "now"
keys = st.text("abä\"'\\.", max_size=2)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(-1e9, 1e9)
    | st.text("xß日😀\n\t\\\"'%", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(keys, json_values, max_size=4)
moments = st.none() | st.sampled_from(
    ["2024-01-01T10:00:00.000Z", "2030-06-01T00:00:00.500Z", "1999-12-31T23:59:59.999Z"]
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(sorted(FOLLOWING)),
        "error_message": st.none() | st.text("ab ü<&>\n", max_size=8),
        "stats": documents,
        "retry_count": st.integers(0, 4),
        "started_at": moments,
        "completed_at": moments,
        "metadata": documents,
    },
).filter(bool)


def model(job: dict[str, Any], body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the updatable fields after the body, or None if it is rejected."""
    old, new = job["status"], body.get("status", job["status"])
    after = dict(job)
    if new != old:
        if new not in FOLLOWING[old] or (
            new == "pending" and job["retry_count"] >= job["max_retries"]
        ):
            return None
        # A value equal to the current one counts as absent.
        body = {name: value for name, value in body.items() if value != job[name]}
        if new == "running":
            after["started_at"] = NOW
        elif new == "pending":
            cleared: dict[str, Any] = {
                "started_at": None,
                "completed_at": None,
                "error_message": None,
                "stats": {},
            }
            after |= cleared | {"retry_count": job["retry_count"] + 1}
        else:
            after["completed_at"] = NOW
    elif body.get("status") == old and not FOLLOWING[old] and body.get("completed_at", NOW) is None:
        body = {
            name: value for name, value in body.items() if name != "completed_at"
        }  # ended again
    after |= {**body, "metadata": {**job["metadata"], **body.get("metadata", {})}}
    return None if not FOLLOWING[new] and after["completed_at"] is None else after


@given(documents, st.integers(0, 2), st.lists(bodies, min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_sequences_of_updates_match_the_model(
    app: Flask, metadata: dict[str, Any], max_retries: int, updates: list[dict[str, Any]]
) -> None:
    client = app.test_client()
    job = make_job(client, metadata=metadata, max_retries=max_retries)
    for body in updates:
        expected, answer = model(job, body), put(client, job, body)
        if expected is None:
            assert answer.status_code == 400
        else:
            assert answer.status_code == 200, answer.text
            after = answer.get_json()["data"]
            for name in FIELDS:
                assert after[name] == (
                    after["updated_at"] if expected[name] == NOW else expected[name]
                )
            job = after
        assert client.get(url(job)).get_json()["data"] == job
