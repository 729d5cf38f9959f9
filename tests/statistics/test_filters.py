"""Filters and time windows."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.factories import new_domain
from support.figures import StatisticsApi
from support.statistics import MS, by_status, failure, iso, pattern_counts


def test_filters_combine(api: StatisticsApi) -> None:
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    a, b = new_domain(), new_domain()
    for domain, kind, customer in (
        (a, "x", one),
        (a, "x", None),
        (a, "y", one),
        (b, "x", one),
        (b, "y", two),
    ):
        api.make("running", domain=domain, job_type=kind, customer_config_id=customer)
    asked: Sequence[tuple[dict[str, str], int]] = (
        ({"domain": a}, 3),
        ({"domain": b}, 2),
        ({"domain": a, "job_type": "x"}, 2),
        ({"customer_config_id": one}, 3),
        ({"customer_config_id": one, "job_type": "x"}, 2),
        ({"customer_config_id": one, "domain": a, "job_type": "x"}, 1),
        ({"customer_config_id": two, "domain": a}, 0),
        ({"domain": a, "job_type": "none"}, 0),
        ({"customer_config_id": str(uuid.uuid4())}, 0),
    )
    found = api.figures(*(query for query, _ in asked))
    assert [each["total"] for each in found] == [total for _, total in asked]


def test_filters_are_normalised_as_jobs_are(api: StatisticsApi) -> None:
    label = new_domain().partition(".")[0]
    customer = str(uuid.uuid4())
    api.create(domain=f"MÜNCHEN.{label}.Example.", customer_config_id=customer.upper())
    asked = [{"domain": f"münchen.{label}.EXAMPLE"}, {"domain": f"xn--mnchen-3ya.{label}.example"}]
    asked += [{"customer_config_id": customer.upper()}]
    assert [found["total"] for found in api.figures(*asked)] == [1, 1, 1]


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2001, 2, 3, tzinfo=UTC),
        datetime(2001, 3, 1, 7, tzinfo=UTC),
        datetime(2001, 4, 3, 7, 20, tzinfo=UTC),
        datetime(2001, 5, 4, 7, 23, tzinfo=UTC),
        datetime(2001, 6, 5, 7, 23, 42, 137000, tzinfo=UTC),
    ],
)
@pytest.mark.parametrize("filtered", [True, False])
def test_window_includes_start_and_excludes_end(
    api: StatisticsApi, moment: datetime, filtered: bool
) -> None:
    moment += timedelta(days=500 * filtered)  # no other test uses this time
    domain = new_domain()
    ids = [api.make("running", failure("Blocked"), domain=domain) for _ in range(3)]
    for number, job_id in enumerate(ids):
        api.date(
            job_id,
            moment - timedelta(days=2),
            moment - timedelta(days=2),
            moment + (number - 1) * MS,
        )
    mine = {"domain": domain} if filtered else {}

    def between(start: datetime, end: datetime) -> dict[str, Any]:
        return {**mine, "from": iso(start), "to": iso(end)}

    day = timedelta(days=1)
    asked: Sequence[tuple[dict[str, Any], int]] = (
        (between(moment, moment + MS), 1),
        (between(moment - MS, moment + MS), 2),
        (between(moment - MS, moment + 2 * MS), 3),
        (between(moment, moment), 0),
        (between(moment - day, moment), 1),
        (between(moment, moment + day), 2),
        (between(moment + MS, moment + day), 1),
        (between(moment - day, moment + day), 3),
        (between(moment - 3 * day, moment), 1),
        (between(moment - 3 * day, moment - day), 0),
        ({**between(moment - day, moment), "group_by": "hour"}, 1),
        ({**between(moment, moment + day), "group_by": "domain"}, 2),
    )
    found = api.figures(*(query for query, _ in asked))
    assert [each["total"] for each in found] == [total for _, total in asked]
    assert [pattern_counts(each).get("Blocked", 0) for each in found] == [
        total for _, total in asked
    ]


def test_half_open_window(api: StatisticsApi) -> None:
    domain = new_domain()
    for hour in range(0, 96, 7):
        api.date(
            api.create(domain=domain),
            datetime(2003, 1, 1, tzinfo=UTC) + timedelta(hours=hour, seconds=17),
        )
    mine = {"domain": domain}
    edge = iso(datetime(2003, 1, 2, 18, 0, 17, tzinfo=UTC))
    before, after, all_time = api.figures({**mine, "to": edge}, {**mine, "from": edge}, mine)
    assert (before["total"], after["total"], all_time["total"]) == (6, 8, 14)
    assert (before["from"], after["to"]) == (None, None)


def test_job_that_moves_on_leaves_its_window(api: StatisticsApi) -> None:
    domain = new_domain()
    job_id = api.make("running", "failed", domain=domain)
    first = datetime(2004, 1, 1, tzinfo=UTC)
    api.date(job_id, *(first + timedelta(hours=hour, minutes=1) for hour in range(3)))
    window = {
        "domain": domain,
        "from": iso(first + timedelta(hours=2)),
        "to": iso(first + timedelta(hours=3)),
    }
    inside = {
        **window,
        "from": iso(first + timedelta(hours=2, seconds=59)),
        "to": iso(first + timedelta(hours=2.5)),
    }
    for found in api.figures(window, inside):
        assert found["by_status"] == by_status(failed=1)
    api.put(job_id, status="pending")
    api.date(job_id, *(first + timedelta(hours=hour, minutes=1) for hour in (0, 1, 2, 50)))
    for found in api.figures(window, inside):
        assert (found["total"], found["by_status"]) == (0, by_status())
        assert pattern_counts(found) == {"No error message": 1}


def test_offsets_of_window_are_applied(api: StatisticsApi) -> None:
    domain = new_domain()
    api.date(api.create(domain=domain), datetime(2005, 6, 1, 22, 30, tzinfo=UTC))
    asked = [
        {"domain": domain, "from": "2005-06-02T00:00:00+02:00", "to": "2005-06-02T01:00:00+02:00"},
        {"domain": domain, "from": "2005-06-01T22:00:00", "to": "2005-06-01T18:00:00-05:00"},
        {"domain": domain, "from": "2005-06-02T00:30:00.001+02:00"},
    ]
    assert [found["total"] for found in api.figures(*asked)] == [1, 1, 0]
    unescaped = f"domain={domain}&from=2005-06-02T00:00:00+02:00&to=2005-06-02T01:00:00+02:00"
    assert api.ask(unescaped)["total"] == 1


@pytest.mark.parametrize(
    ("start", "end", "total"),
    [
        (None, "9999-12-31T23:59:59.999Z", 1),
        ("0001-01-01T00:00:00Z", None, 1),
        (None, "0001-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", 1),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.001Z", 0),
        ("9999-12-31T23:59:59.999Z", None, 0),
        ("9999-12-31T12:00:00Z", "9999-12-31T23:59:59.999Z", 0),
    ],
)
@pytest.mark.parametrize("group", [None, "hour", "domain"])
def test_ends_of_the_calendar(
    api: StatisticsApi, start: str | None, end: str | None, total: int, group: str | None
) -> None:
    domain = new_domain()
    api.create(domain=domain)
    asked = {"from": start, "to": end, "group_by": group, "domain": domain}
    assert api.ask({name: value for name, value in asked.items() if value})["total"] == total
