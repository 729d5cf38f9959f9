"""The log lines of requests: what they name, and the changes that they contain."""

import logging
import uuid

import pytest
from flask.testing import FlaskClient

from support.factories import make_job
from support.logs import facts_of

ID = "0190f3a0-0000-7000-8000-0000000000aa"


@pytest.mark.parametrize(
    ("path", "job_id", "webhook_id"),
    [
        (f"/api/scrape-jobs/{ID}", ID, None),
        (f"/api/scrape-jobs/{ID}/queue", ID, None),
        ("/api/scrape-jobs/no-id", None, None),
        (f"/api/webhooks/{ID}", None, ID),
        ("/api/scrape-jobs", None, None),
        (f"/nowhere/{ID}", None, None),
    ],
)
def test_log_names_the_job_or_webhook(
    client: FlaskClient,
    caplog: pytest.LogCaptureFixture,
    path: str,
    job_id: str | None,
    webhook_id: str | None,
) -> None:
    with caplog.at_level(logging.INFO, "app.requests"):
        answer = client.get(path)
    (record,) = [record for record in caplog.records if record.name == "app.requests"]
    line = facts_of(record)
    assert (line["job_id"], line["webhook_id"]) == (job_id, webhook_id)
    assert line["request_id"] == answer.headers["X-Request-ID"]
    assert line["status"] == answer.status_code


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    """Return the message of each line, and the action that it contains."""
    return [(record.getMessage(), facts_of(record).get("action")) for record in caplog.records]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log of requests and of changes."""
    caplog.set_level(logging.INFO, "app.requests")
    caplog.set_level(logging.INFO, "app.jobs")
    return caplog


def test_an_update_is_one_line(client: FlaskClient, log: pytest.LogCaptureFixture) -> None:
    job = make_job(client)["id"]
    log.clear()
    answer = client.put(f"/api/scrape-jobs/{job}", json={"status": "running"})
    (record,) = log.records
    line = facts_of(record)
    assert (line["job_id"], line["action"]) == (job, "updated")
    assert (line["old_status"], line["new_status"]) == ("pending", "running")
    assert (line["method"], line["status"]) == ("PUT", 200)
    assert line["request_id"] == answer.headers["X-Request-ID"]


def test_a_new_job_is_one_line(client: FlaskClient, log: pytest.LogCaptureFixture) -> None:
    job = make_job(client)["id"]
    (record,) = log.records
    line = facts_of(record)
    assert (line["job_id"], line["action"]) == (job, "created")
    assert (line["old_status"], line["new_status"]) == (None, "pending")


def test_changes_of_a_batch_have_own_lines(
    client: FlaskClient, log: pytest.LogCaptureFixture
) -> None:
    answer = client.post("/api/scrape-jobs", json=[{"domain": "batch.example"}] * 3)
    ids = [job["id"] for job in answer.get_json()["data"]]
    assert lines(log) == [("job created", None)] * 3 + [("request", None)]
    facts = [facts_of(record) for record in log.records]
    assert [line["job_id"] for line in facts] == [*ids, None]
    assert {line["request_id"] for line in facts} == {answer.headers["X-Request-ID"]}
    assert facts[-1]["changes"] == 3


def test_refused_and_repeated_requests_log_no_change(
    client: FlaskClient, log: pytest.LogCaptureFixture
) -> None:
    job = make_job(client)["id"]
    key = {"Idempotency-Key": uuid.uuid4().hex}
    for _ in range(2):
        client.post("/api/scrape-jobs", json={"domain": "key.example"}, headers=key)
    client.put(f"/api/scrape-jobs/{job}", json={"status": "completed"})
    client.get(f"/api/scrape-jobs/{job}")
    actions = [action for _, action in lines(log)]
    assert actions == ["created", "created", None, None, None]
