"""The settings of the rate limits, and the log of refused requests."""

import logging

import pytest
from flask.testing import FlaskClient

from app.config import Settings
from support.factories import make_job
from support.logs import facts_of
from support.rate_limits import (
    JOBS,
    OpenApp,
)
from support.redis import Redis


def test_settings_set_limits_and_refusals_are_logged(
    database_url: str,
    empty_redis: Redis,
    client: FlaskClient,
    open_app: OpenApp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": empty_redis.url,
        "SCRAPE_JOBS_RATE_LIMIT_READS": "3",
        "SCRAPE_JOBS_RATE_LIMIT_UPDATES": "5",
        "SCRAPE_JOBS_RATE_LIMIT_CREATIONS": "4",
        "SCRAPE_JOBS_RATE_LIMIT_JOB": "2",
    }
    limited = open_app(Settings.from_environ(environ))
    key = limited.key()
    job, other = make_job(client)["id"], make_job(client)["id"]
    caplog.set_level(logging.INFO)

    def statuses(kind: str, job: str, calls: int) -> list[int]:
        return [limited.call(kind, job, key, address="192.0.2.9").status_code for _ in range(calls)]

    assert statuses("reads", job, 4) == [200, 200, 200, 429]
    assert statuses("updates", job, 3) == [200, 200, 429]
    assert statuses("creations", job, 5) == [201, 201, 201, 201, 429]
    assert statuses("updates", other, 3) == [200, 200, 429]
    # The caller's sixth update: refused ones count, too.
    assert statuses("updates", make_job(client)["id"], 1) == [429]

    refused = [
        record
        for record in caplog.records
        if record.name == "app.requests" and record.msg == "refused"
    ]
    assert len(refused) == 5
    for record in refused:
        facts = facts_of(record)
        assert (record.levelname, facts["status"], facts["address"]) == (
            "WARNING",
            429,
            "192.0.2.9",
        )
        assert facts["actor"]
        assert facts["actor"] in key["Authorization"]
        assert key["Authorization"].removeprefix("Bearer ") not in str(facts)


def test_rate_limits_can_be_off(database_url: str, open_app: OpenApp) -> None:
    environ = {
        "DATABASE_URL": database_url,
        "SCRAPE_JOBS_RATE_LIMIT_READS": "1",
        "SCRAPE_JOBS_AUTH": "off",
    }
    for setting, statuses in (("off", {200}), ("on", {200, 429})):
        at = open_app(
            Settings.from_environ({**environ, "SCRAPE_JOBS_RATE_LIMIT": setting})
        ).app.test_client()
        answers = [at.get(JOBS) for _ in range(5)]
        assert {answer.status_code for answer in answers} == statuses
        assert any("RateLimit-Limit" in answer.headers for answer in answers) == (setting == "on")
