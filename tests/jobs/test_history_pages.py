"""Pages of a history."""

import base64
import json
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from support.factories import make_job
from support.jobs import JOBS, history, last, put

CURSOR = "Invalid cursor: must be the next_cursor of a page of the same list"


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 7, 200])
def test_pages_follow_each_other_to_the_end(client: FlaskClient, limit: int) -> None:
    job = make_job(client)
    for n in range(5):
        put(client, job, stats={"n": n})
    shown: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        body = client.get(
            f"{JOBS}/{job['id']}/history", query_string={"limit": limit, **cursor}
        ).get_json()
        assert body.keys() == {"success", "data", "pagination"}
        assert len(body["data"]) <= limit
        shown += [entry["id"] for entry in body["data"]]
        pagination = body["pagination"]
        assert pagination.keys() == {"limit", "next_cursor", "has_more"}
        assert pagination["limit"] == limit
        if not pagination["has_more"]:
            assert pagination["next_cursor"] is None
            break
        cursor = {"cursor": pagination["next_cursor"]}
    assert shown == [1, 2, 3, 4, 5, 6]


def test_new_event_appears_on_the_last_page(client: FlaskClient) -> None:
    job = make_job(client, "running")
    path = f"{JOBS}/{job['id']}/history"
    cursor = client.get(f"{path}?limit=1").get_json()["pagination"]["next_cursor"]
    put(client, job, stats={"n": 1})
    assert [entry["id"] for entry in history(client, job, cursor=cursor)] == [2, 3]


def test_default_page_has_50_events(client: FlaskClient) -> None:
    job = make_job(client)
    body = client.get(f"{JOBS}/{job['id']}/history").get_json()
    assert body["pagination"] == {"limit": 50, "next_cursor": None, "has_more": False}


def forged(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize("position", [None, True, 1.5, "1", [1], {}, 2**63, -(2**63) - 1, 10**300])
def test_cursor_requires_an_integer(client: FlaskClient, position: Any) -> None:
    job = make_job(client)
    cursor = forged(f"history {job['id']}", position)
    answer = client.get(f"{JOBS}/{job['id']}/history", query_string={"cursor": cursor})
    assert (answer.status_code, answer.get_json()) == (400, {"success": False, "error": CURSOR})


@pytest.mark.parametrize(
    "cursor", ["", "x", "garbage!", "\x00", "ü", "a" * 600, forged(), forged("-created_at", 1)]
)
def test_invalid_cursor_is_rejected(client: FlaskClient, cursor: str) -> None:
    job = make_job(client)
    answer = client.get(f"{JOBS}/{job['id']}/history", query_string={"cursor": cursor})
    assert (answer.status_code, answer.get_json()) == (400, {"success": False, "error": CURSOR})


def test_cursor_of_another_job_is_rejected(client: FlaskClient) -> None:
    one, other = make_job(client, "running"), make_job(client, "running")
    cursor = client.get(f"{JOBS}/{one['id']}/history?limit=1").get_json()["pagination"][
        "next_cursor"
    ]
    assert len(history(client, one, cursor=cursor)) == 1
    answer = client.get(f"{JOBS}/{other['id']}/history", query_string={"cursor": cursor})
    assert (answer.status_code, answer.get_json()) == (400, {"success": False, "error": CURSOR})


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", "Invalid limit: must be an integer from 1 to 200"),
        ("limit=201", "Invalid limit: must be an integer from 1 to 200"),
        ("sort=at", "Unknown field: sort"),
        ("limit=1&limit=1", "Invalid limit: must be given once"),
    ],
)
def test_a_wrong_parameter_is_named(client: FlaskClient, query: str, error: str) -> None:
    answer = client.get(f"{JOBS}/{make_job(client)['id']}/history?{query}")
    assert (answer.status_code, answer.get_json()) == (400, {"success": False, "error": error})


def test_an_unknown_job_has_no_history(client: FlaskClient) -> None:
    unknown = uuid.uuid4()
    for path in (
        f"{unknown}/history",
        f"{unknown}/history?cursor={forged(f'history {unknown}', 1)}",
    ):
        answer = client.get(f"{JOBS}/{path}")
        assert (answer.status_code, answer.get_json()) == (
            404,
            {"success": False, "error": "Job not found"},
        )


def test_the_id_may_be_written_in_capitals(client: FlaskClient) -> None:
    job = make_job(client)
    assert history(client, {"id": job["id"].upper()}) == history(client, job)


def test_page_after_the_last_event_is_empty(client: FlaskClient) -> None:
    job = make_job(client)
    assert history(client, job, cursor=forged(f"history {job['id']}", 1)) == []


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 128])
def test_history_shows_request_id_of_caller(client: FlaskClient, given: str) -> None:
    job = make_job(client)
    client.put(f"{JOBS}/{job['id']}", json={"stats": {"n": 1}}, headers={"X-Request-ID": given})
    assert last(client, job)["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "ä", "a/b", "'; --", None])
def test_invalid_request_id_is_replaced_everywhere(client: FlaskClient, given: str | None) -> None:
    job = make_job(client)
    headers = {} if given is None else {"X-Request-ID": given}
    answer = client.put(f"{JOBS}/{job['id']}", json={"stats": {"n": 1}}, headers=headers)
    request_id = last(client, job)["request_id"]
    assert request_id == answer.headers["X-Request-ID"] != given
    assert uuid.UUID(request_id)
