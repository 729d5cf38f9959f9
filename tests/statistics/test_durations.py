"""Durations and pages per minute."""

import random
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.factories import new_domain
from support.figures import StatisticsApi
from support.statistics import (
    began,
    ended,
)


def test_pages_per_minute_cover_all_ended_attempts(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make(began(), ended("completed", 60, stats={"pagesProcessed": 100}), domain=domain)
    api.make(began(), ended("cancelled", 30, stats={"pagesProcessed": 20}), domain=domain)
    api.make(
        began(), ended("failed", 20, stats={"pagesProcessed": 10}), "pending",
        began(), ended("completed", 10, stats={"pagesProcessed": 0}), domain=domain,
    )  # fmt: skip
    assert api.of(domain)["pages_per_minute"] == 65


def test_attempts_without_pages_or_duration_are_ignored(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make(began(), ended("completed", 60, stats={"pagesProcessed": 100}), domain=domain)
    api.make(began(), ended("completed", 1000), domain=domain)
    api.make(began(), ended("completed", 0, stats={"pagesProcessed": 5000}), domain=domain)
    api.make(began(), ended("completed", -60, stats={"pagesProcessed": 5000}), domain=domain)
    api.make(began(stats={"pagesProcessed": 9999}), domain=domain)
    assert api.of(domain)["pages_per_minute"] == 100


def test_duration_covers_completed_jobs_only(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make(
        began(), ended("failed", 5000), "pending", began(), ended("completed", 10), domain=domain
    )
    api.make(began(), ended("completed", 30), domain=domain)
    api.make(began(), ended("cancelled", 9000), domain=domain)
    found = api.of(domain)["completion_seconds"]
    assert found["mean"] == 20
    assert found["p50"] == pytest.approx(20, rel=0.02)
    assert found["p95"] == pytest.approx(29, rel=0.02)


def test_completion_before_start_has_zero_duration(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make(began(), ended("completed", -3600), domain=domain)
    assert api.of(domain)["completion_seconds"] == {"mean": 0, "p50": 0, "p95": 0}
    api.make(began(), ended("completed", 10), domain=domain)
    assert api.of(domain)["completion_seconds"]["mean"] == 5


def test_job_without_start_has_no_duration(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make({"status": "running"}, {"started_at": None}, ended("completed", 10), domain=domain)
    assert api.of(domain)["completion_seconds"] == {"mean": None, "p50": None, "p95": None}
    api.make(began(), ended("completed", 10), domain=domain)
    assert api.of(domain)["completion_seconds"]["mean"] == 10


def assert_quantiles_are_near(api: StatisticsApi, durations: Sequence[float]) -> None:
    """Assert that p50 and p95 are exact within 5 %, or within a millisecond."""
    domain = new_domain()
    api.complete(domain, durations)
    found = api.of(domain)["completion_seconds"]
    (true,) = api.sql(
        "SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY d), avg(d) FROM unnest(%(d)s::float8[]) AS d",
        {"d": list(durations)},
    )
    assert [found["p50"], found["p95"]] == pytest.approx(true[0], rel=0.05, abs=0.001)
    assert found["mean"] == pytest.approx(true[1], rel=1e-6, abs=2e-6)


DISTRIBUTIONS: Mapping[str, Callable[[random.Random], float]] = {
    "even": lambda chance: chance.uniform(0, 600),
    "log-normal": lambda chance: chance.lognormvariate(4, 2),
    "two humps": lambda chance: (
        chance.gauss(5, 0.5) if chance.random() < 0.9 else chance.gauss(50_000, 900)
    ),
    "heavy tail": lambda chance: chance.paretovariate(0.7),
    "milliseconds": lambda chance: chance.uniform(0, 0.02),
    "all the same": lambda _: 86_400.0,
    "mostly none": lambda chance: max(0.0, chance.uniform(-9, 1)),
    "centuries": lambda chance: chance.uniform(1e9, 3e11),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("size", [7, 300])
def test_quantiles_of_distributions_are_close(api: StatisticsApi, name: str, size: int) -> None:
    chance = random.Random(size)
    assert_quantiles_are_near(api, [DISTRIBUTIONS[name](chance) for _ in range(size)])


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40))
def test_quantiles_of_any_durations_are_close(api: StatisticsApi, durations: list[float]) -> None:
    assert_quantiles_are_near(api, durations)
