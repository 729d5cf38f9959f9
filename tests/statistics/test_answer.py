"""The form of the answer, and the errors of its parameters."""

import pytest

from support.factories import new_domain
from support.figures import JOBS, StatisticsApi
from support.statistics import NO_FIGURES, began, by_status, ended


def test_figures_without_jobs_are_null(api: StatisticsApi) -> None:
    answer = api.client.get(f"{JOBS}/stats", query_string={"domain": new_domain()})
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert answer.get_json() == {
        "success": True,
        "data": {"from": None, "to": None, **NO_FIGURES, "groups": []},
    }
    assert list(answer.get_json()["data"]) == ["from", "to", *NO_FIGURES, "groups"]


def test_all_figures_of_two_jobs(api: StatisticsApi) -> None:
    domain = new_domain()
    performance = {"memoryUsage": "150MB", "cpuUsage": 45.2, "networkLatency": 250}
    report = {"stats": {"pagesProcessed": 90, "performance": performance}}
    api.make(began(), ended("completed", 120, **report), domain=domain)
    failed = api.make(
        began(), ended("failed", 1, error_message="Timeout after 30 s"), domain=domain
    )
    found = api.of(domain)
    assert found.pop("errors")[0] == {
        "pattern": "Timeout after <n> s",
        "count": 1,
        "job_id": failed,
    }
    for quantile in ("p50", "p95"):
        assert found["completion_seconds"].pop(quantile) == pytest.approx(120, rel=0.04)
    assert found == {
        "from": None,
        "to": None,
        "total": 2,
        "by_status": by_status(completed=1, failed=1),
        "success_rate": 0.5,
        "failure_rate": 0.5,
        "retry_rate": 0,
        "pages_per_minute": 45,
        "completion_seconds": {"mean": 120},
        "resources": {
            "memory_mb": {"mean": 150, "peak": 150},
            "cpu_percent": {"mean": 45.2, "peak": 45.2},
            "network_latency_ms": {"mean": 250, "peak": 250},
        },
        "groups": [],
    }


def test_group_has_the_same_figures_and_key(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make(began(), ended("completed", 60, stats={"pagesProcessed": 5}), domain=domain)
    found = api.of(domain, group_by="domain")
    (group,) = found.pop("groups")
    assert list(group) == ["key", *NO_FIGURES]
    assert group.pop("key") == domain
    del found["from"], found["to"]
    assert group == found


def test_window_is_shown_in_utc(api: StatisticsApi) -> None:
    domain = new_domain()
    asked = {"domain": domain, "from": "2024-01-01T12:00:00.250+02:00", "to": "2024-01-02T00:00:00"}
    found = api.ask(asked)
    assert (found["from"], found["to"]) == ("2024-01-01T10:00:00.250Z", "2024-01-02T00:00:00.000Z")


MOMENT = "must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"
HOST = "Invalid domain: must be a host name such as example.com, without scheme, port or path"
GROUP = "Invalid group_by: must be one of domain, job_type, hour, day"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("from=2024-01-02T00:00:00Z&to=2024-01-01T00:00:00Z", "Invalid to: must not be before from"),
        ("from=2024-01-01T00:00:00.001Z&to=2024-01-01T00:00:00Z", "Invalid to: must not be before from"),
        ("from=2024-01-01T00:00:00Z&to=2024-01-01T00:00:00+00:01", "Invalid to: must not be before from"),
        *((f"{name}={value}", f"Invalid {name}: {MOMENT}") for name in ("from", "to")
          for value in ("", "x", "1", "now", "2024-01-01", "%00", "2024-13-01T00:00:00Z")),
        *((f"group_by={value}", GROUP)
          for value in ("", "week", "minute", "Domain", "status", "domain,hour", "%00", "'")),
        ("domain=https://a.example", HOST),
        ("job_type=a%20b", "Invalid job_type: must be 1 to 64 letters, digits, '_', '.', ':' or '-'"),
        ("customer_config_id=none", "Invalid customer_config_id: must be a UUID"),
        ("customer_config_id=", "Invalid customer_config_id: must be a UUID"),
        ("status=failed", "Unknown field: status"),
        ("From=2024-01-01T00:00:00Z", "Unknown field: From"),
        ("limit=5", "Unknown field: limit"),
        ("group_by=domain&group_by=hour", "Invalid group_by: must be given once"),
        ("from=2024-01-01T00:00:00Z&from=2024-01-01T00:00:00Z", "Invalid from: must be given once"),
    ],
)  # fmt: skip
def test_error_names_invalid_parameter(api: StatisticsApi, query: str, error: str) -> None:
    answer = api.client.get(f"{JOBS}/stats?{query}")
    assert answer.status_code == 400
    assert answer.get_json() == {"success": False, "error": error}


def test_error_names_all_invalid_parameters(api: StatisticsApi) -> None:
    answer = api.client.get(f"{JOBS}/stats?what=1&group_by=x&from=y")
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": f"Invalid from: {MOMENT}",
        "details": f"{GROUP}; Unknown field: what",
    }
