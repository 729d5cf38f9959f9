"""Every pair of statuses through the API."""

from itertools import product

import pytest
from flask.testing import FlaskClient

from support.factories import make_job, read_all, read_history
from support.job_changes import ALLOWED, FOLLOWING, METHODS, STATUSES, change_job

REFUSED = [
    (old, new)
    for old, new in product(STATUSES, STATUSES)
    if old != new and new not in FOLLOWING[old]
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), ALLOWED)
def test_allowed_transition_is_made_and_recorded(
    client: FlaskClient, method: str, old: str, new: str
) -> None:
    job = make_job(client, old)
    before = read_history(client, job["id"])
    answer = change_job(client, job, {"status": new}, method)
    assert answer.status_code == 200
    assert answer.get_json()["message"] == "Job updated successfully"
    assert answer.get_json()["data"]["status"] == new
    (event,) = read_history(client, job["id"])[len(before) :]
    assert (event["action"], event["old_status"], event["new_status"]) == ("updated", old, new)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), REFUSED)
def test_refused_transition_changes_nothing(
    client: FlaskClient, method: str, old: str, new: str
) -> None:
    job = make_job(client, old)
    before = read_all(client, job["id"])
    body = {
        "status": new,
        "stats": {"lost": 1},
        "metadata": {"lost": 1},
        "error_message": "lost",
        "retry_count": 2,
    }
    answer = change_job(client, job, body, method)
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": f"Cannot transition from '{old}' to '{new}'",
    }
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", STATUSES)
def test_update_with_same_status_changes_other_fields(
    client: FlaskClient, method: str, status: str
) -> None:
    job = make_job(client, status)
    body = {
        "status": status,
        "stats": {"pages": 1},
        "metadata": {"seen": True},
        "error_message": "noted",
    }
    answer = change_job(client, job, body, method)
    assert answer.status_code == 200
    after = answer.get_json()["data"]
    assert after == {
        **job,
        "stats": {"pages": 1},
        "metadata": {"seen": True},
        "error_message": "noted",
        "updated_at": after["updated_at"],
    }
    event = read_history(client, job["id"])[-1]
    assert event["old_status"] == event["new_status"] == status
    assert set(event["changes"]) == {"stats.pages", "metadata.seen", "error_message"}


@pytest.mark.parametrize("status", STATUSES)
def test_job_shows_allowed_transitions(client: FlaskClient, status: str) -> None:
    assert make_job(client, status)["allowed_transitions"] == FOLLOWING[status]


@pytest.mark.parametrize("status", ["pending", "running", "failed"])
def test_delete_cancels_job_without_final_status(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    answer = client.delete(f"/api/scrape-jobs/{job['id']}")
    assert answer.status_code == 200
    assert answer.get_json()["message"] == "Job cancelled successfully"
    assert answer.get_json()["data"]["status"] == "cancelled"


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_delete_of_job_with_final_status_is_refused(client: FlaskClient, status: str) -> None:
    job = make_job(client, status)
    before = read_all(client, job["id"])
    answer = client.delete(f"/api/scrape-jobs/{job['id']}?reason=late")
    assert answer.status_code == 409
    assert answer.get_json() == {
        "success": False,
        "error": "Job not found or cannot be cancelled",
        "details": f"Job is already {status}",
    }
    assert read_all(client, job["id"]) == before
