"""Groups by domain, type and time."""

import uuid
from datetime import UTC, datetime

import pytest

from support.factories import new_domain
from support.figures import StatisticsApi
from support.statistics import began, ended, pattern_counts


def test_groups_start_with_the_largest(api: StatisticsApi) -> None:
    customer = str(uuid.uuid4())
    domains = [new_domain() for _ in range(3)]
    for number, domain in enumerate(domains):
        for n in range(number + 1):
            api.make("running", domain=domain, job_type=f"type-{n}", customer_config_id=customer)
    mine = {"customer_config_id": customer}
    by_domain, by_type = api.figures(
        {**mine, "group_by": "domain"}, {**mine, "group_by": "job_type"}
    )
    assert [(group["key"], group["total"]) for group in by_domain["groups"]] == list(
        zip(reversed(domains), (3, 2, 1), strict=True)
    )
    keys = [(group["key"], group["total"]) for group in by_type["groups"]]
    assert keys == [("type-0", 3), ("type-1", 2), ("type-2", 1)]
    assert by_domain["total"] == by_type["total"] == 6


def test_durations_by_domain_and_type(api: StatisticsApi) -> None:
    customer = str(uuid.uuid4())
    fields = {"customer_config_id": customer}
    slow, quick = new_domain(), new_domain()
    for seconds in (100, 200, 300):
        api.make(began(), ended("completed", seconds), domain=slow, job_type="deep", **fields)
        api.make(
            began(), ended("completed", seconds / 100), domain=quick, job_type="flat", **fields
        )
    answers = api.figures({**fields, "group_by": "domain"}, {**fields, "group_by": "job_type"})
    for found, key in zip(answers, (slow, "deep"), strict=True):
        for group in found["groups"]:
            middle = 200 if group["key"] == key else 2
            assert group["completion_seconds"]["mean"] == middle
            assert group["completion_seconds"]["p50"] == pytest.approx(middle, rel=0.05)
            assert group["completion_seconds"]["p95"] == pytest.approx(middle * 1.45, rel=0.05)


def test_time_groups_start_with_the_latest(
    api: StatisticsApi,
) -> None:
    domain = new_domain()
    for moment in (
        "2019-12-31T23:59:59.999",
        "2020-01-01T00:00:00",
        "2020-01-01T00:59:59.999",
        "2020-01-01T23:00:00",
    ):
        api.date(api.create(domain=domain), datetime.fromisoformat(moment).replace(tzinfo=UTC))
    mine = {"domain": domain}
    by_hour, by_day = api.figures({**mine, "group_by": "hour"}, {**mine, "group_by": "day"})
    assert [(group["key"], group["total"]) for group in by_hour["groups"]] == [
        ("2020-01-01T23:00:00.000Z", 1),
        ("2020-01-01T00:00:00.000Z", 2),
        ("2019-12-31T23:00:00.000Z", 1),
    ]
    assert [(group["key"], group["total"]) for group in by_day["groups"]] == [
        ("2020-01-01T00:00:00.000Z", 3),
        ("2019-12-31T00:00:00.000Z", 1),
    ]


def test_resources_count_when_the_attempt_ended(
    api: StatisticsApi,
) -> None:
    domain = new_domain()
    report = {
        "stats": {"pagesProcessed": 60, "performance": {"cpuUsage": 5}},
        "error_message": "Blocked",
    }
    job_id = api.make(began(), ended("failed", 60, **report), "pending", domain=domain)
    api.date(job_id, *(datetime(2018, 5, 5, hour, 30, tzinfo=UTC) for hour in (1, 2, 3, 4)))
    groups = {group["key"][11:13]: group for group in api.of(domain, group_by="hour")["groups"]}
    assert {hour: group["total"] for hour, group in groups.items() if group["total"]} == {"04": 1}
    assert groups["03"]["pages_per_minute"] == 60
    assert groups["03"]["resources"]["cpu_percent"]["peak"] == 5
    assert pattern_counts(groups["03"]) == {"Blocked": 1}
    assert groups["04"]["retry_rate"] == 1
    assert groups["04"]["pages_per_minute"] is None


def test_only_the_thousand_largest_groups_are_listed(api: StatisticsApi) -> None:
    run = uuid.uuid4().hex[:8]
    api.complete(f"n#.{run}.example", [1.0] * 1001)
    api.complete(f"n7.{run}.example", [1.0] * 3)
    found = api.ask({"group_by": "domain"})
    assert len(found["groups"]) == 1000
    assert found["more_groups"] is True
    assert found["groups"][0] == max(found["groups"], key=lambda group: group["total"])
    assert "more_groups" not in api.ask({"group_by": "job_type"})
