"""Constraints of the table scrape_jobs: rows that the database accepts and rejects."""

import uuid
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from flask.testing import FlaskClient

from support.factories import make_job, new_domain
from support.job_changes import execute_sql

T1 = "2024-01-01T10:00:00.000Z"


ROW: dict[str, Any] = {
    "domain_id": "456e7890-e89b-12d3-a456-426614174000",
    "domain": "example.com",
    "job_type": "domain_scrape",
    "status": "pending",
    "priority": 5,
    "retry_count": 0,
    "max_retries": 3,
    "config": "{}",
    "metadata": "{}",
    "stats": "{}",
    "scheduled_for": None,
    "completed_at": None,
    "lease_expires_at": None,
    "created_at": T1,
    "updated_at": T1,
}

INVALID_ROWS = [
    {"status": "paused"},
    {"status": ""},
    {"status": "PENDING"},
    {"priority": 0},
    {"priority": 11},
    {"retry_count": -1},
    {"max_retries": -1},
    {"max_retries": 101},
    {"status": "completed"},
    {"status": "cancelled"},
    *(
        {name: value}
        for name in ("stats", "metadata", "config")
        for value in ("[]", "null", '"text"', "1")
    ),
    {"lease_expires_at": T1},
    {"status": "running", "scheduled_for": T1},
]

VALID_ROWS = [
    {},
    {"priority": 1, "max_retries": 0},
    {"priority": 10, "max_retries": 100, "retry_count": 2**31 - 1},
    {"status": "completed", "completed_at": T1},
    {"status": "cancelled", "completed_at": T1},
    {"status": "failed"},
    {"status": "running", "lease_expires_at": T1},
    {"scheduled_for": T1},
    {"stats": '{"a": null}', "metadata": '{"tags": []}', "config": '{"depth": 1}'},
]


def insert(database_url: str, values: dict[str, Any]) -> None:
    """Insert a row with these values without the service."""
    row = {"id": str(uuid.uuid4()), **ROW, "domain": new_domain(), **values}
    columns, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    execute_sql(database_url, f"INSERT INTO scrape_jobs ({columns}) VALUES ({places})", row)


def update(database_url: str, job_id: str, values: dict[str, Any]) -> None:
    """Update a row with these values without the service."""
    assignments = ", ".join(f"{name} = %({name})s" for name in values)
    execute_sql(
        database_url,
        f"UPDATE scrape_jobs SET {assignments} WHERE id = %(id)s",
        {**values, "id": job_id},
    )


@pytest.mark.parametrize("values", VALID_ROWS, ids=str)
def test_database_accepts_valid_row(database_url: str, values: dict[str, Any]) -> None:
    insert(database_url, values)


@pytest.mark.parametrize("values", INVALID_ROWS, ids=str)
def test_database_rejects_insert_of_invalid_row(database_url: str, values: dict[str, Any]) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation):
        insert(database_url, values)


@pytest.mark.parametrize("values", INVALID_ROWS, ids=str)
def test_database_rejects_update_to_invalid_row(
    client: FlaskClient, database_url: str, values: dict[str, Any]
) -> None:
    job = make_job(client)
    with pytest.raises(psycopg2.errors.CheckViolation):
        update(database_url, job["id"], values)
    assert client.get(f"/api/scrape-jobs/{job['id']}").get_json()["data"] == job


@pytest.mark.parametrize("name", [name for name, value in ROW.items() if value is not None])
def test_database_rejects_null_in_required_column(database_url: str, name: str) -> None:
    with pytest.raises(psycopg2.errors.NotNullViolation):
        insert(database_url, {name: None})
