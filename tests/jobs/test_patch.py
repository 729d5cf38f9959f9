"""PATCH of a job."""

import uuid
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings

from app.jobs.merge_patch import merge_patch
from support.factories import make_job, read_all, read_history
from support.patching import MEDIA_TYPE, RFC_7396_APPENDIX_A, objects, patch_job, patched


@pytest.mark.parametrize("field", ["stats", "metadata"])
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [row for row in RFC_7396_APPENDIX_A if isinstance(row[0], dict) and isinstance(row[1], dict)],
)
def test_api_applies_examples_of_rfc_7396(
    client: FlaskClient, field: str, target: Any, patch: Any, result: Any
) -> None:
    job = make_job(client)
    client.put(f"/api/scrape-jobs/{job['id']}", json={field: target})
    assert patched(client, job["id"], {field: patch})[field] == result


@given(objects, objects, objects, objects)
@settings(deadline=None, max_examples=40)
def test_stats_and_metadata_are_merged_in_depth(
    app: Flask,
    stats: dict[str, Any],
    metadata: dict[str, Any],
    one: dict[str, Any],
    other: dict[str, Any],
) -> None:
    client = app.test_client()
    job = make_job(client, metadata=metadata)
    client.put(f"/api/scrape-jobs/{job['id']}", json={"stats": stats})
    after = patched(client, job["id"], {"stats": one, "metadata": other})
    assert after["stats"] == merge_patch(stats, one)
    assert after["metadata"] == merge_patch(metadata, other)
    assert client.get(f"/api/scrape-jobs/{job['id']}").get_json()["data"] == after


def test_response_is_the_job_with_the_change(client: FlaskClient) -> None:
    job = make_job(
        client, "running", metadata={"tags": ["a", "b"], "owner": {"name": "x", "team": "y"}}
    )
    answer = patch_job(client, job["id"], {"metadata": {"owner": {"team": None}, "new": 1}})
    data = answer.get_json()["data"]
    assert answer.get_json() == {
        "success": True,
        "data": data,
        "message": "Job updated successfully",
    }
    assert data == {
        **job,
        "metadata": {"tags": ["a", "b"], "owner": {"name": "x"}, "new": 1},
        "updated_at": data["updated_at"],
    }
    found = client.get(f"/api/scrape-jobs/{job['id']}")
    assert (found.get_json()["data"], found.headers["ETag"]) == (data, answer.headers["ETag"])


def test_stored_null_survives_patch_of_other_keys(client: FlaskClient) -> None:
    job = make_job(client)
    client.put(f"/api/scrape-jobs/{job['id']}", json={"metadata": {"unknown": None}})
    assert patched(client, job["id"], {"metadata": {"a": 1}})["metadata"] == {
        "unknown": None,
        "a": 1,
    }
    assert patched(client, job["id"], {"metadata": {"unknown": None}})["metadata"] == {"a": 1}


def test_removal_of_missing_key_succeeds(client: FlaskClient) -> None:
    job = make_job(client, metadata={"a": 1})
    assert patched(client, job["id"], {"metadata": {"b": None}})["metadata"] == {"a": 1}


@pytest.mark.parametrize("number", [0, -1, 2**63, 10**40, 0.1, 1e-9, 123456.789, 1e15])
def test_patch_preserves_other_numbers(client: FlaskClient, number: float) -> None:
    job = make_job(client, metadata={"number": number})
    assert patched(client, job["id"], {"metadata": {"a": 1}})["metadata"] == {
        "number": number,
        "a": 1,
    }


def test_other_fields_are_set_as_by_put(client: FlaskClient) -> None:
    job = make_job(client, "running")
    body = {
        "status": "failed",
        "error_message": "password=hunter2",
        "retry_count": 2,
        "started_at": "2024-01-01T12:00:00+02:00",
        "completed_at": "2024-01-01T11:00:00Z",
    }
    data = patched(client, job["id"], body)
    assert {name: data[name] for name in body} == {
        "status": "failed",
        "error_message": "password=***",
        "retry_count": 2,
        "started_at": "2024-01-01T10:00:00.000Z",
        "completed_at": "2024-01-01T11:00:00.000Z",
    }
    cleared = patched(
        client, job["id"], {"error_message": None, "started_at": None, "completed_at": None}
    )
    assert (cleared["error_message"], cleared["started_at"], cleared["completed_at"]) == (
        None,
        None,
        None,
    )


def test_the_history_names_the_keys_that_changed(client: FlaskClient) -> None:
    job = make_job(client, metadata={"same": 1, "gone": 2, "deep": {"a": 1, "b": 2}})
    patched(client, job["id"], {"metadata": {"same": 1, "gone": None, "deep": {"b": 3}}})
    event = read_history(client, job["id"])[-1]
    assert event["action"] == "updated"
    assert event["changes"] == {
        "metadata.gone": {"from": 2, "to": None},
        "metadata.deep": {"from": {"a": 1, "b": 2}, "to": {"a": 1, "b": 3}},
    }


@pytest.mark.parametrize(
    ("body", "error", "details"),
    [
        ({"metadata": None}, "Invalid metadata: must be an object", None),
        ({"stats": None}, "Invalid stats: must be an object", None),
        ({"stats": []}, "Invalid stats: must be an object", None),
        ({"retry_count": None}, "Invalid retry_count: must be a non-negative integer", None),
        (
            {"metadata": 1, "retry_count": -1},
            "Invalid retry_count: must be a non-negative integer",
            "Invalid metadata: must be an object",
        ),
        ({"statuss": "running"}, "Unknown field: statuss", None),
        ({}, "No updatable fields provided", None),
        ({"domain": "other.example"}, "No updatable fields provided", None),
        ([], "Invalid body: must be a JSON object", None),
        (None, "Invalid body: must be a JSON object", None),
        ("text", "Invalid body: must be a JSON object", None),
    ],
)
def test_invalid_patch_writes_nothing(
    client: FlaskClient, body: Any, error: str, details: str | None
) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    answer = patch_job(client, job["id"], body)
    assert answer.status_code == 400
    expected = {"success": False, "error": error}
    assert answer.get_json() == (expected if details is None else {**expected, "details": details})
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json-patch+json", "text/plain", None]
)
def test_error_names_required_media_type(client: FlaskClient, media_type: str | None) -> None:
    job = make_job(client)
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = client.patch(f"/api/scrape-jobs/{job['id']}", data='{"stats": {}}', headers=headers)
    assert answer.status_code == 415
    assert answer.headers["Accept-Patch"] == MEDIA_TYPE
    assert answer.get_json() == {
        "success": False,
        "error": "Unsupported media type",
        "details": f"Content-Type must be {MEDIA_TYPE}",
    }


@pytest.mark.parametrize(
    "media_type", [f"{MEDIA_TYPE}; charset=utf-8", "Application/Merge-Patch+JSON"]
)
def test_media_type_allows_case_and_parameters(client: FlaskClient, media_type: str) -> None:
    job = make_job(client)
    headers = {"Content-Type": media_type}
    answer = client.patch(
        f"/api/scrape-jobs/{job['id']}", data='{"stats": {"a": 1}}', headers=headers
    )
    assert answer.status_code == 200


def test_missing_job_is_not_found(client: FlaskClient) -> None:
    answer = patch_job(client, str(uuid.uuid4()), {"stats": {}})
    assert answer.status_code == 404
    assert answer.get_json() == {"success": False, "error": "Job not found"}


def test_invalid_id_is_rejected(client: FlaskClient) -> None:
    answer = patch_job(client, "42", {"stats": {}})
    assert (answer.status_code, answer.get_json()["error"]) == (400, "Invalid id: must be a UUID")


@pytest.mark.parametrize("field", ["stats", "metadata"])
def test_patch_beyond_size_limit_is_rejected(client: FlaskClient, field: str) -> None:
    job = make_job(client)
    patched(client, job["id"], {field: {"deep": {"one": "x" * 150_000}}})
    before = read_all(client, job["id"])
    answer = patch_job(client, job["id"], {field: {"deep": {"two": "x" * 150_000}}})
    assert answer.status_code == 413
    assert answer.get_json() == {
        "success": False,
        "error": f"Invalid {field}: must hold at most 256 KiB",
    }
    assert read_all(client, job["id"]) == before
    assert patched(client, job["id"], {field: {"deep": {"one": None, "two": "x" * 150_000}}})


def test_a_patch_of_another_version_writes_nothing(client: FlaskClient) -> None:
    job = make_job(client)
    before = read_all(client, job["id"])
    answer = patch_job(client, job["id"], {"stats": {"a": 1}}, If_Match='"99"')
    assert (answer.status_code, answer.get_json()) == (
        412,
        {"success": False, "error": "Job was modified"},
    )
    assert read_all(client, job["id"]) == before


def test_patch_of_current_version_succeeds(client: FlaskClient) -> None:
    job = make_job(client)
    tag = client.get(f"/api/scrape-jobs/{job['id']}").headers["ETag"]
    answer = patch_job(client, job["id"], {"stats": {"a": 1}}, If_Match=tag)
    assert answer.status_code == 200
    assert answer.headers["ETag"] != tag


def test_patch_with_token_without_lease_writes_nothing(client: FlaskClient) -> None:
    job = make_job(client, "running")
    before = read_all(client, job["id"])
    answer = patch_job(client, job["id"], {"stats": {"a": 1}}, X_Lease_Token="stale")
    assert (answer.status_code, answer.get_json()) == (
        409,
        {"success": False, "error": "Lease lost"},
    )
    assert read_all(client, job["id"]) == before
