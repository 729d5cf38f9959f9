"""Change jobs through the API, or their rows directly in the database."""

import json
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.errors
from flask.testing import FlaskClient

STATUSES = ("pending", "running", "completed", "failed", "cancelled")
FOLLOWING = {
    "pending": ["running", "cancelled"],
    "running": ["completed", "failed", "cancelled"],
    "completed": [],
    "failed": ["pending", "cancelled"],
    "cancelled": [],
}
ALLOWED = [(old, new) for old in STATUSES for new in FOLLOWING[old]]
METHODS = ["PUT", "PATCH"]
T1, T2 = "2024-01-01T10:00:00.000Z", "2024-01-01T11:00:00.000Z"


def change_job(
    client: FlaskClient, job: dict[str, Any], body: dict[str, Any], method: str = "PUT"
) -> Any:
    """Change the job by PUT or PATCH and return the response."""
    media_type = "application/json" if method == "PUT" else "application/merge-patch+json"
    return client.open(
        f"/api/scrape-jobs/{job['id']}",
        method=method,
        data=json.dumps(body),
        headers={"Content-Type": media_type},
    )


def update_job(client: FlaskClient, job: dict[str, Any], **body: Any) -> dict[str, Any]:
    """Change the job by a PUT that must succeed, and return the job."""
    answer = change_job(client, job, body)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.get_json()["data"]
    return data


def execute_sql(database_url: str, sql: str, parameters: dict[str, Any]) -> None:
    """Run one SQL statement without the service."""
    with (
        closing(psycopg2.connect(database_url)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql, parameters)
