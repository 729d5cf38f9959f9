"""The log line of each request: what it names, and its level."""

import logging

import pytest
from flask.testing import FlaskClient

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
    line = vars(record)
    assert (line["job_id"], line["webhook_id"]) == (job_id, webhook_id)
    assert line["request_id"] == answer.headers["X-Request-ID"]
    assert line["status"] == answer.status_code
