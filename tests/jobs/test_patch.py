"""PATCH: JSON Merge Patch, as a pure rule and through the API."""

import copy
import json
import uuid
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from app.jobs.merge_patch import merge_patch
from support.factories import make_job, read_all, read_history

MEDIA_TYPE = "application/merge-patch+json"

RFC_7396_APPENDIX_A: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

keys = st.text(st.characters(min_codepoint=97, max_codepoint=100), max_size=2)
scalars = (
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text("xyzß\n\"\\'", max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(keys, values, max_size=4)


def without_nulls(value: Any) -> Any:
    """Return the value without the members of its objects that are null; arrays stay as they
    are."""
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}


def difference(old: Any, new: Any) -> Any:
    """Return a patch that makes `new` of `old`, neither of which holds a null member."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    gone: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    return gone | {
        key: difference(old.get(key), value) for key, value in new.items() if old.get(key) != value
    }


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396_APPENDIX_A)
def test_the_rfcs_own_examples_come_out_as_it_says(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@given(values, values)
def test_a_patch_applied_twice_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(values, values)
def test_neither_argument_is_changed(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    merge_patch(target, patch)
    assert (target, patch) == before


@given(objects)
def test_an_empty_patch_changes_no_object(target: dict[str, Any]) -> None:
    assert merge_patch(target, {}) == target


@given(values, values.filter(lambda value: not isinstance(value, dict)))
def test_a_patch_that_is_no_object_takes_the_targets_place(target: Any, patch: Any) -> None:
    assert merge_patch(target, patch) == patch


@given(values, objects)
def test_nulls_remove_and_other_keys_stay(target: Any, patch: dict[str, Any]) -> None:
    merged = merge_patch(target, patch)
    old = target if isinstance(target, dict) else {}
    assert merged.keys() == (old.keys() | patch.keys()) - {
        key for key, value in patch.items() if value is None
    }
    assert all(merged[key] == value for key, value in old.items() if key not in patch)


@given(objects)
def test_on_nothing_a_patch_makes_itself_without_its_nulls(patch: dict[str, Any]) -> None:
    assert merge_patch({}, patch) == without_nulls(patch)


@given(objects.map(without_nulls), objects.map(without_nulls))
def test_some_patch_leads_from_any_object_to_any_other(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert merge_patch(old, difference(old, new)) == new


# ---------------------------------------------------------------------------------------------------------------- API


def patch_job(client: FlaskClient, job_id: str, body: Any, **headers: str) -> TestResponse:
    """Send the patch."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.patch(
        f"/api/scrape-jobs/{job_id}",
        data=json.dumps(body),
        headers={"Content-Type": MEDIA_TYPE, **named},
    )


def patched(client: FlaskClient, job_id: str, body: Any) -> dict[str, Any]:
    """Send a patch that has to be accepted, and return the job."""
    answer = patch_job(client, job_id, body)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.get_json()["data"]
    return data


@pytest.mark.parametrize("field", ["stats", "metadata"])
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [row for row in RFC_7396_APPENDIX_A if isinstance(row[0], dict) and isinstance(row[1], dict)],
)
def test_the_rfcs_examples_on_objects_hold_through_the_api(
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


def test_the_whole_job_is_answered_and_nothing_else_has_changed(client: FlaskClient) -> None:
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


def test_a_null_that_put_stored_outlives_a_patch_of_other_keys(client: FlaskClient) -> None:
    job = make_job(client)
    client.put(f"/api/scrape-jobs/{job['id']}", json={"metadata": {"unknown": None}})
    assert patched(client, job["id"], {"metadata": {"a": 1}})["metadata"] == {
        "unknown": None,
        "a": 1,
    }
    assert patched(client, job["id"], {"metadata": {"unknown": None}})["metadata"] == {"a": 1}


def test_removing_a_key_that_is_not_there_is_no_fault(client: FlaskClient) -> None:
    job = make_job(client, metadata={"a": 1})
    assert patched(client, job["id"], {"metadata": {"b": None}})["metadata"] == {"a": 1}


@pytest.mark.parametrize("number", [0, -1, 2**63, 10**40, 0.1, 1e-9, 123456.789, 1e15])
def test_numbers_beside_the_patch_stay_what_they_are(client: FlaskClient, number: float) -> None:
    job = make_job(client, metadata={"number": number})
    assert patched(client, job["id"], {"metadata": {"a": 1}})["metadata"] == {
        "number": number,
        "a": 1,
    }


def test_the_other_fields_are_set_as_by_put(client: FlaskClient) -> None:
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
def test_an_invalid_patch_is_refused_and_writes_nothing(
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
def test_another_media_type_is_refused_and_the_right_one_named(
    client: FlaskClient, media_type: str | None
) -> None:
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
def test_the_media_type_is_taken_in_any_case_and_with_parameters(
    client: FlaskClient, media_type: str
) -> None:
    job = make_job(client)
    headers = {"Content-Type": media_type}
    answer = client.patch(
        f"/api/scrape-jobs/{job['id']}", data='{"stats": {"a": 1}}', headers=headers
    )
    assert answer.status_code == 200


def test_a_job_that_does_not_exist_is_not_found(client: FlaskClient) -> None:
    answer = patch_job(client, str(uuid.uuid4()), {"stats": {}})
    assert answer.status_code == 404
    assert answer.get_json() == {"success": False, "error": "Job not found"}


def test_what_is_no_uuid_is_refused(client: FlaskClient) -> None:
    answer = patch_job(client, "42", {"stats": {}})
    assert (answer.status_code, answer.get_json()["error"]) == (400, "Invalid id: must be a UUID")


@pytest.mark.parametrize("field", ["stats", "metadata"])
def test_a_document_that_grows_too_large_by_patches_is_refused(
    client: FlaskClient, field: str
) -> None:
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


def test_a_patch_of_the_known_version_is_made(client: FlaskClient) -> None:
    job = make_job(client)
    tag = client.get(f"/api/scrape-jobs/{job['id']}").headers["ETag"]
    answer = patch_job(client, job["id"], {"stats": {"a": 1}}, If_Match=tag)
    assert answer.status_code == 200
    assert answer.headers["ETag"] != tag


def test_a_patch_with_a_token_for_no_lease_writes_nothing(client: FlaskClient) -> None:
    job = make_job(client, "running")
    before = read_all(client, job["id"])
    answer = patch_job(client, job["id"], {"stats": {"a": 1}}, X_Lease_Token="stale")
    assert (answer.status_code, answer.get_json()) == (
        409,
        {"success": False, "error": "Lease lost"},
    )
    assert read_all(client, job["id"]) == before
