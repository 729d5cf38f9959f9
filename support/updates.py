"""Requests that update a job."""

from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

FIELDS = (
    "status",
    "error_message",
    "stats",
    "retry_count",
    "started_at",
    "completed_at",
    "metadata",
)


def url(job: dict[str, Any]) -> str:
    """Return the path of the job."""
    return f"/api/scrape-jobs/{job['id']}"


def put(client: FlaskClient, job: dict[str, Any], body: Any, **headers: str) -> TestResponse:
    """Send the update."""
    return client.put(
        url(job),
        json=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def updated(
    client: FlaskClient, job: dict[str, Any], body: dict[str, Any], **headers: str
) -> dict[str, Any]:
    """Send an update that is accepted, and return the job."""
    answer = put(client, job, body, **headers)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.get_json()["data"]
    assert answer.get_json() == {
        "success": True,
        "data": data,
        "message": "Job updated successfully",
    }
    return data


def assert_refused(
    answer: TestResponse, status: int, error: str, details: str | None = None
) -> None:
    """Assert that the response is exactly this error."""
    expected = {"success": False, "error": error}
    assert answer.get_json() == (expected if details is None else {**expected, "details": details})
    assert answer.status_code == status
