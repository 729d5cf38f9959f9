"""Resources that attempts report."""

from collections.abc import Sequence
from typing import Any

import pytest

from support.factories import new_domain
from support.figures import StatisticsApi, Step
from support.statistics import NO_FIGURES, began, ended


def resources(api: StatisticsApi, *stats: Any) -> Any:
    """Return the resources after one job for each of `stats` completed with it."""
    domain = new_domain()
    for each in stats:
        api.make("running", {"status": "completed", "stats": each}, domain=domain)
    return api.of(domain)["resources"]


@pytest.mark.parametrize(
    ("usage", "megabytes"),
    [
        ("150MB", 150), ("150 MB", 150), (" 150mb ", 150), ("150M", 150), ("150", 150), (200, 200), (0, 0), (2.5, 2.5),
        ("1.5 GB", 1500), ("1.5GB", 1500), ("2g", 2000), ("1TB", 1_000_000), ("500KB", 0.5), ("500 kB", 0.5),
        ("512MiB", 512), ("2000000B", 2), ("0.25 GB", 250), (123.45678901234, 123.456789), (1 / 3, 0.333333),
        ("123.456789012MB", 123.456789),
    ],
)  # fmt: skip
def test_memory_is_shown_in_megabytes(api: StatisticsApi, usage: Any, megabytes: float) -> None:
    found = resources(api, {"performance": {"memoryUsage": usage}})["memory_mb"]
    assert found == {
        "mean": pytest.approx(megabytes, abs=1e-6),
        "peak": pytest.approx(megabytes, abs=1e-6),
    }


@pytest.mark.parametrize(
    "usage",
    [
        "nonsense", "", " ", "MB", "-5MB", -5, "1,5 GB", "1.5.2 GB", "10GB/s", "50%", "NaN", "Infinity", "1e3", "0x10",
        "٣MB", "9" * 400, "1" * 10_000 + "MB", 1e300, 10**400, None, True, [], ["150MB"], {}, {"MB": 150}, "150MB\n5",
    ],
)  # fmt: skip
def test_invalid_memory_is_ignored(api: StatisticsApi, usage: Any) -> None:
    good = {"performance": {"memoryUsage": "10MB", "cpuUsage": 20}}
    found = resources(api, {"performance": {"memoryUsage": usage, "cpuUsage": 40}}, good)
    assert found["memory_mb"] == {"mean": 10, "peak": 10}
    assert found["cpu_percent"] == {"mean": 30, "peak": 40}


NO_NUMBERS: Sequence[Any] = (
    1e300, -1e300, 10**400, -(10**400), -1, -0.5, 1e16, "12", "", "abc", "NaN",
    True, False, None, [], [5], {}, {"a": 5},
)  # fmt: skip


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_implausible_number_is_ignored(api: StatisticsApi, value: Any) -> None:
    domain = new_domain()
    poison = {"pagesProcessed": value, "performance": {"cpuUsage": value, "networkLatency": value}}
    good = {"pagesProcessed": 60, "performance": {"cpuUsage": 7, "networkLatency": 0.125}}
    api.make(began(), ended("completed", 60, stats=poison), domain=domain)
    api.make(began(), ended("failed", 60, stats=good), domain=domain)
    found = api.of(domain, group_by="domain")
    for figures in (found, *found["groups"]):
        assert figures["total"] == 2
        assert figures["pages_per_minute"] == 60
        assert figures["resources"]["cpu_percent"] == {"mean": 7, "peak": 7}
        assert figures["resources"]["network_latency_ms"] == {"mean": 0.125, "peak": 0.125}


@pytest.mark.parametrize(
    "stats",
    [
        {}, {"performance": []}, {"performance": None}, {"performance": "150MB"}, {"performance": 5},
        {"performance": True}, {"performance": [{"cpuUsage": 5}]}, {"performance": {"performance": {"cpuUsage": 5}}},
        {"Performance": {"cpuUsage": 5}}, {"performance": {"cpuusage": 5}}, {"performance": {"0": 5}},
        {"pagesProcessed": {"pagesProcessed": 5}}, {"": {"": 1}}, {"a" * 5000: 1}, {"x": [[[[[[1e300]]]]]]},
    ],
)  # fmt: skip
def test_stats_of_any_form_are_accepted(api: StatisticsApi, stats: Any) -> None:
    assert resources(api, stats) == NO_FIGURES["resources"]


@pytest.mark.parametrize("value", [1e15, 5e-324, 1e-300, 0.1 + 0.2, 999_999_999_999_999])
def test_smallest_and_largest_plausible_numbers_count(api: StatisticsApi, value: float) -> None:
    found = resources(api, {"performance": {"cpuUsage": value}})["cpu_percent"]
    assert found == {"mean": pytest.approx(value, abs=1e-6), "peak": pytest.approx(value, abs=1e-6)}


def test_mean_and_peak_cover_all_ended_attempts(api: StatisticsApi) -> None:
    domain = new_domain()

    def report(memory: str, cpu: float) -> Step:
        return {"stats": {"performance": {"memoryUsage": memory, "cpuUsage": cpu}}}

    api.make("running", {"status": "failed", **report("100MB", 10)}, "pending", "running",
               {"status": "completed", **report("200MB", 50)}, domain=domain)  # fmt: skip
    api.make("running", {"status": "cancelled", **report("0.6GB", 30)}, domain=domain)
    api.make("running", report("5GB", 99), domain=domain)
    found = api.of(domain)["resources"]
    assert found["memory_mb"] == {"mean": 300, "peak": 600}
    assert found["cpu_percent"] == {"mean": 30, "peak": 50}
