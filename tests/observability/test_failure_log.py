"""The log of an outage: one line per request, and few tracebacks."""

import json
import logging
from typing import Any

import pytest
import requests

from app.observability import failure_log
from app.observability.failure_log import log_failure
from support.service import Service, wait_until

NOTHING = "postgresql://user@127.0.0.1:1/nothing"


def test_outage_logs_one_line_per_request() -> None:
    with Service(NOTHING, WEB_CONCURRENCY="1") as service:
        for number in range(20):
            headers = {"X-Request-ID": f"r-{number}"}
            assert requests.get(service.jobs, headers=headers, timeout=30).status_code == 500
        wait_until(
            lambda: len(lines(service, "webhooks wait for the database: Database unavailable")) > 3
        )
        failures = lines(service, "database failure: Database unavailable")
        assert len(failures) == 20
        waiting = [line for line in lines(service) if "for the database" in line["message"]]
    assert [("exception" in line) for line in failures] == [True] + [False] * 19
    assert {line["cause"] for line in failures[1:]} == {"OperationalError"}
    kinds = {
        line["message"].partition(" wait")[0].partition(" of ")[0]
        for line in waiting
        if "exception" in line
    }
    assert len([line for line in waiting if "exception" in line]) == len(kinds)
    assert max(len(json.dumps(line)) for line in failures[1:]) < 300


def lines(service: Service, message: str = "") -> list[dict[str, Any]]:
    found = (json.loads(line) for line in service.logs().splitlines() if line.startswith("{"))
    return [line for line in found if line["message"].startswith(message)]


def test_traceback_has_number_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("test_failure_log")
    monkeypatch.setattr(failure_log, "SECONDS", 1000)
    for error in (OSError(), OSError(), ValueError(), OSError()):
        log_failure(log, logging.WARNING, "lost: %s", "it", cause=error)
    monkeypatch.setattr(failure_log, "SECONDS", 0)
    log_failure(log, logging.ERROR, "lost: %s", "it", cause=OSError())
    log_failure(log, logging.ERROR, "lost: %s", "it", cause=None)
    found = [(record.getMessage(), bool(record.exc_info)) for record in caplog.records]
    assert found == [
        ("lost: it", with_traceback) for with_traceback in (True, False, True, False, True, False)
    ]
    assert [getattr(record, "tracebacks_left_out", None) for record in caplog.records] == [
        0,
        None,
        0,
        None,
        2,
        None,
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 4 + ["ERROR"] * 2
