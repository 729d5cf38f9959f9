"""The statistics over HTTP: what every figure means, whether it is counted already, half, or not at
all."""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import database
from app.config import Settings
from app.database import Statement
from app.factory import create_app
from app.queue import sweeper
from app.statistics import service
from support.database import migrate, new_database
from support.factories import new_domain
from support.figures import JOBS, Figures, Place, Step
from support.service import own_work

STATES = ("pending", "running", "completed", "failed", "cancelled")
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
MS = timedelta(milliseconds=1)

NO_FIGURES: Mapping[str, Any] = {
    "total": 0,
    "by_status": dict.fromkeys(STATES, 0),
    "success_rate": None,
    "failure_rate": None,
    "retry_rate": None,
    "pages_per_minute": None,
    "completion_seconds": {"mean": None, "p50": None, "p95": None},
    "resources": {
        "memory_mb": {"mean": None, "peak": None},
        "cpu_percent": {"mean": None, "peak": None},
        "network_latency_ms": {"mean": None, "peak": None},
    },
    "errors": [],
}


@pytest.fixture(scope="module")
def own_place(server_url: str) -> Iterator[Place]:
    for url in new_database(server_url):
        migrate(url)
        app = create_app(Settings(database_url=url, auth="off", rate_limit=False, threads=4))
        place = Place(url, app)
        yield place
        place.close()
        with own_work(app):
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def place(own_place: Place) -> Place:
    own_place.count()  # what is uncounted is the test's own
    return own_place


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def began(at: datetime = NOON, **fields: Any) -> Step:
    return {"status": "running", "started_at": iso(at), **fields}


def ended(status: str, seconds: float, **fields: Any) -> Step:
    return {"status": status, "completed_at": iso(NOON + timedelta(seconds=seconds)), **fields}


def by_status(**counts: int) -> dict[str, int]:
    return {**dict.fromkeys(STATES, 0), **counts}


def pattern_counts(figures: Figures) -> dict[str, int]:
    return {error["pattern"]: error["count"] for error in figures["errors"]}


# ----------------------------------------------------------------------------------------------------- the form


def test_of_nothing_there_is_every_figure_and_it_is_null(place: Place) -> None:
    answer = place.client.get(f"{JOBS}/stats", query_string={"domain": new_domain()})
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert answer.get_json() == {
        "success": True,
        "data": {"from": None, "to": None, **NO_FIGURES, "groups": []},
    }
    assert list(answer.get_json()["data"]) == ["from", "to", *NO_FIGURES, "groups"]


def test_of_a_job_every_figure_is_told(place: Place) -> None:
    domain = new_domain()
    performance = {"memoryUsage": "150MB", "cpuUsage": 45.2, "networkLatency": 250}
    report = {"stats": {"pagesProcessed": 90, "performance": performance}}
    place.make(began(), ended("completed", 120, **report), domain=domain)
    failed = place.make(
        began(), ended("failed", 1, error_message="Timeout after 30 s"), domain=domain
    )
    found = place.of(domain)
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


def test_a_group_has_the_same_figures_with_its_key(place: Place) -> None:
    domain = new_domain()
    place.make(began(), ended("completed", 60, stats={"pagesProcessed": 5}), domain=domain)
    found = place.of(domain, group_by="domain")
    (group,) = found.pop("groups")
    assert list(group) == ["key", *NO_FIGURES]
    assert group.pop("key") == domain
    del found["from"], found["to"]
    assert group == found


def test_the_window_is_told_in_utc(place: Place) -> None:
    domain = new_domain()
    asked = {"domain": domain, "from": "2024-01-01T12:00:00.250+02:00", "to": "2024-01-02T00:00:00"}
    found = place.ask(asked)
    assert (found["from"], found["to"]) == ("2024-01-01T10:00:00.250Z", "2024-01-02T00:00:00.000Z")


# ----------------------------------------------------------------------------------------------------- counts, rates


def test_every_job_counts_once_in_the_status_that_it_stands_in(place: Place) -> None:
    domain = new_domain()
    paths: Sequence[Sequence[str]] = (
        (), (), (), ("running",), ("running",), ("running", "completed"), ("running", "failed"),
        ("running", "failed", "pending"), ("cancelled",), ("running", "cancelled"), ("running", "failed", "cancelled"),
    )  # fmt: skip
    for path in paths:
        place.make(*path, domain=domain)
    found = place.of(domain)
    assert found["by_status"] == by_status(pending=4, running=2, completed=1, failed=1, cancelled=3)
    assert list(found["by_status"]) == list(STATES)
    assert found["total"] == len(paths)


def test_success_and_failure_are_rates_of_what_succeeded_or_failed_alone(place: Place) -> None:
    domain = new_domain()
    for path in (["completed"], ["completed"], ["failed"], ["cancelled"], []):
        place.make("running", *path, domain=domain)
    found = place.of(domain)
    assert found["success_rate"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["failure_rate"] == pytest.approx(1 / 3, abs=1e-6)


def test_there_are_no_rates_where_no_job_succeeded_or_failed(place: Place) -> None:
    domain = new_domain()
    for path in ([], ["running"], ["cancelled"]):
        place.make(*path, domain=domain)
    found = place.of(domain)
    assert (found["success_rate"], found["failure_rate"], found["retry_rate"]) == (None, None, 0)


def test_the_retry_rate_is_of_all_jobs(place: Place) -> None:
    domain = new_domain()
    again = ("running", "failed", "pending")
    for path in (
        again,
        (*again, "running", "completed"),
        (*again, "running", "failed", "pending"),
        ("running",),
        (),
    ):
        place.make(*path, domain=domain)
    assert place.of(domain)["retry_rate"] == 0.6


def test_a_retry_that_the_client_counts_is_one(place: Place) -> None:
    domain = new_domain()
    place.make({"status": "running", "retry_count": 2}, domain=domain)
    assert place.of(domain)["retry_rate"] == 1


def test_a_retried_job_moves_from_failed_to_pending(place: Place) -> None:
    domain = new_domain()
    job_id = place.make("running", {"status": "failed", "error_message": "Gone"}, domain=domain)
    place.make("running", "completed", domain=domain)
    before = place.of(domain)
    assert before["by_status"] == by_status(failed=1, completed=1)
    assert (before["failure_rate"], before["retry_rate"]) == (0.5, 0)
    place.put(job_id, status="pending")
    after = place.of(domain)
    assert after["by_status"] == by_status(pending=1, completed=1)
    assert (after["failure_rate"], after["retry_rate"], after["total"]) == (0, 0.5, 2)
    assert (
        after["errors"] == before["errors"] == [{"pattern": "Gone", "count": 1, "job_id": job_id}]
    )


@pytest.mark.parametrize(
    "later",
    [
        {"stats": {"pagesProcessed": 7000, "performance": {"memoryUsage": "9GB"}}},
        {"status": "failed", "error_message": "Another text"},
        {"started_at": "2020-01-01T00:00:00Z", "completed_at": "2023-01-01T00:00:00Z"},
        {"retry_count": 3},
        {"metadata": {"a": 1}},
    ],
)
def test_a_later_change_that_is_none_of_status_changes_no_figure(place: Place, later: Step) -> None:
    domain = new_domain()
    report = {"stats": {"pagesProcessed": 10}, "error_message": "One text"}
    job_id = place.make(began(), ended("failed", 10, **report), domain=domain)
    before = place.of(domain)
    place.put(job_id, **later)
    answer = place.client.patch(
        f"{JOBS}/{job_id}",
        json={"stats": {"x": 1}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200
    assert place.uncounted() == 0
    assert place.ask({"domain": domain}) == before


def test_jobs_that_workers_take_give_back_and_give_up_are_counted_like_others(place: Place) -> None:
    domain = new_domain()
    for number in range(3):
        place.create(domain=domain, priority=10 - number)
    body = {"worker_id": "w1", "domains": [domain], "limit": 3}
    taken = place.client.post(f"{JOBS}/next", json=body).get_json()["data"]
    assert place.of(domain)["by_status"] == by_status(running=3)
    for job, operation in zip(taken, ("release", "retry"), strict=False):
        headers = {"X-Lease-Token": job["lease_token"]}
        body = {"error_message": "Given up at page 3"} if operation == "retry" else {}
        answer = place.client.post(f"{JOBS}/{job['id']}/{operation}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
    found = place.of(domain)
    assert found["by_status"] == by_status(running=1, pending=2)
    assert found["retry_rate"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["errors"] == [
        {"pattern": "Given up at page <n>", "count": 1, "job_id": taken[1]["id"]}
    ]


def test_a_job_that_is_rescued_from_a_silent_worker_has_failed_once(place: Place) -> None:
    domain = new_domain()
    job_id = place.create(domain=domain)
    body = {"worker_id": "worker", "domains": [domain], "lease_seconds": 5}
    assert place.client.post(f"{JOBS}/next", json=body).status_code == 200
    place.sql(
        "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE id = %(id)s",
        {"id": job_id},
    )
    with own_work(place.app):
        assert sweeper.sweep() == 1
    found = place.of(domain)
    assert (found["by_status"], found["retry_rate"]) == (by_status(pending=1), 1)
    text = "Lease expired: no sign of life from worker worker"
    assert found["errors"] == [{"pattern": text, "count": 1, "job_id": job_id}]


# ----------------------------------------------------------------------------------------------------- durations


def test_pages_per_minute_are_those_of_all_attempts_that_ended(place: Place) -> None:
    domain = new_domain()
    place.make(began(), ended("completed", 60, stats={"pagesProcessed": 100}), domain=domain)
    place.make(began(), ended("cancelled", 30, stats={"pagesProcessed": 20}), domain=domain)
    place.make(
        began(), ended("failed", 20, stats={"pagesProcessed": 10}), "pending",
        began(), ended("completed", 10, stats={"pagesProcessed": 0}), domain=domain,
    )  # fmt: skip
    assert place.of(domain)["pages_per_minute"] == 65


def test_an_attempt_that_told_of_no_pages_or_took_no_time_slows_nothing(place: Place) -> None:
    domain = new_domain()
    place.make(began(), ended("completed", 60, stats={"pagesProcessed": 100}), domain=domain)
    place.make(began(), ended("completed", 1000), domain=domain)
    place.make(began(), ended("completed", 0, stats={"pagesProcessed": 5000}), domain=domain)
    place.make(began(), ended("completed", -60, stats={"pagesProcessed": 5000}), domain=domain)
    place.make(began(stats={"pagesProcessed": 9999}), domain=domain)
    assert place.of(domain)["pages_per_minute"] == 100


def test_only_completions_tell_how_long_a_job_takes(place: Place) -> None:
    domain = new_domain()
    place.make(
        began(), ended("failed", 5000), "pending", began(), ended("completed", 10), domain=domain
    )
    place.make(began(), ended("completed", 30), domain=domain)
    place.make(began(), ended("cancelled", 9000), domain=domain)
    found = place.of(domain)["completion_seconds"]
    assert found["mean"] == 20
    assert found["p50"] == pytest.approx(20, rel=0.02)
    assert found["p95"] == pytest.approx(29, rel=0.02)


def test_a_job_that_completed_before_it_started_took_no_time(place: Place) -> None:
    domain = new_domain()
    place.make(began(), ended("completed", -3600), domain=domain)
    assert place.of(domain)["completion_seconds"] == {"mean": 0, "p50": 0, "p95": 0}
    place.make(began(), ended("completed", 10), domain=domain)
    assert place.of(domain)["completion_seconds"]["mean"] == 5


def test_a_job_of_which_nobody_knows_when_it_started_tells_no_duration(place: Place) -> None:
    domain = new_domain()
    place.make({"status": "running"}, {"started_at": None}, ended("completed", 10), domain=domain)
    assert place.of(domain)["completion_seconds"] == {"mean": None, "p50": None, "p95": None}
    place.make(began(), ended("completed", 10), domain=domain)
    assert place.of(domain)["completion_seconds"]["mean"] == 10


def assert_quantiles_are_near(place: Place, durations: Sequence[float]) -> None:
    """Fail where p50 or p95 is off by 5 %, or by a millisecond."""
    domain = new_domain()
    place.complete(domain, durations)
    found = place.of(domain)["completion_seconds"]
    (true,) = place.sql(
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
def test_the_quantiles_of_any_distribution_are_near(place: Place, name: str, size: int) -> None:
    chance = random.Random(size)
    assert_quantiles_are_near(place, [DISTRIBUTIONS[name](chance) for _ in range(size)])


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40))
def test_the_quantiles_of_any_durations_are_near(place: Place, durations: list[float]) -> None:
    assert_quantiles_are_near(place, durations)


# ----------------------------------------------------------------------------------------------------- resources


def resources(place: Place, *stats: Any) -> Any:
    """Return the resources of jobs that left the `stats`, one each."""
    domain = new_domain()
    for each in stats:
        place.make("running", {"status": "completed", "stats": each}, domain=domain)
    return place.of(domain)["resources"]


@pytest.mark.parametrize(
    ("usage", "megabytes"),
    [
        ("150MB", 150), ("150 MB", 150), (" 150mb ", 150), ("150M", 150), ("150", 150), (200, 200), (0, 0), (2.5, 2.5),
        ("1.5 GB", 1500), ("1.5GB", 1500), ("2g", 2000), ("1TB", 1_000_000), ("500KB", 0.5), ("500 kB", 0.5),
        ("512MiB", 512), ("2000000B", 2), ("0.25 GB", 250), (123.45678901234, 123.456789), (1 / 3, 0.333333),
        ("123.456789012MB", 123.456789),
    ],
)  # fmt: skip
def test_memory_is_told_in_megabytes(place: Place, usage: Any, megabytes: float) -> None:
    found = resources(place, {"performance": {"memoryUsage": usage}})["memory_mb"]
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
def test_what_is_no_amount_of_memory_is_left_out(place: Place, usage: Any) -> None:
    good = {"performance": {"memoryUsage": "10MB", "cpuUsage": 20}}
    found = resources(place, {"performance": {"memoryUsage": usage, "cpuUsage": 40}}, good)
    assert found["memory_mb"] == {"mean": 10, "peak": 10}
    assert found["cpu_percent"] == {"mean": 30, "peak": 40}


NO_NUMBERS: Sequence[Any] = (
    1e300, -1e300, 10**400, -(10**400), -1, -0.5, 1e16, "12", "", "abc", "NaN",
    True, False, None, [], [5], {}, {"a": 5},
)  # fmt: skip


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_sensible_number_is_left_out(place: Place, value: Any) -> None:
    domain = new_domain()
    poison = {"pagesProcessed": value, "performance": {"cpuUsage": value, "networkLatency": value}}
    good = {"pagesProcessed": 60, "performance": {"cpuUsage": 7, "networkLatency": 0.125}}
    place.make(began(), ended("completed", 60, stats=poison), domain=domain)
    place.make(began(), ended("failed", 60, stats=good), domain=domain)
    found = place.of(domain, group_by="domain")
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
def test_stats_of_any_form_stop_nothing(place: Place, stats: Any) -> None:
    assert resources(place, stats) == NO_FIGURES["resources"]


@pytest.mark.parametrize("value", [1e15, 5e-324, 1e-300, 0.1 + 0.2, 999_999_999_999_999])
def test_numbers_from_the_ends_of_what_is_sensible_are_counted(place: Place, value: float) -> None:
    found = resources(place, {"performance": {"cpuUsage": value}})["cpu_percent"]
    assert found == {"mean": pytest.approx(value, abs=1e-6), "peak": pytest.approx(value, abs=1e-6)}


def test_mean_and_peak_are_of_all_attempts_that_ended(place: Place) -> None:
    domain = new_domain()

    def report(memory: str, cpu: float) -> Step:
        return {"stats": {"performance": {"memoryUsage": memory, "cpuUsage": cpu}}}

    place.make("running", {"status": "failed", **report("100MB", 10)}, "pending", "running",
               {"status": "completed", **report("200MB", 50)}, domain=domain)  # fmt: skip
    place.make("running", {"status": "cancelled", **report("0.6GB", 30)}, domain=domain)
    place.make("running", report("5GB", 99), domain=domain)
    found = place.of(domain)["resources"]
    assert found["memory_mb"] == {"mean": 300, "peak": 600}
    assert found["cpu_percent"] == {"mean": 30, "peak": 50}


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("Timeout after 30 s", "Timeout after <n> s"),
        ("Timeout after 31.5s", "Timeout after <n>s"),
        ("took 1,234 ms at 10:30:05", "took <n> ms at <n>"),
        ("10.0.0.1:8080 refused", "<n> refused"),
        ("Status 404", "Status <n>"),
        ("job 123e4567-e89b-12d3-a456-426614174000 lost", "job <id> lost"),
        ("job 123E4567-E89B-12D3-A456-426614174000 lost", "job <id> lost"),
        ("no document 507f1f77bcf86cd799439011", "no document <id>"),
        ("no document 507f1f77bcf86cd79943901f", "no document <id>"),
        ("request req_8f14e45fceea167a failed", "request <id> failed"),
        ("GET https://shop.example/p/123?page=4 failed", "GET <url> failed"),
        ("GET HTTP://SHOP.example failed", "GET <url> failed"),
        ("GET https://a.example/x: 503, then ws://b.example/y", "GET <url> <n>, then <url>"),
        ('<a href="https://a.example/x">', '<a href="<url>">'),
        ("Element not found", "Element not found"),
        ("  two   words\n\tand a line ", " two words and a line "),
        ("Zeitüberschreitung nach 3 s: größer als 日本 7", "Zeitüberschreitung nach <n> s: größer als 日本 <n>"),
        (r"a \1 & \\2 %s %(x)s {0} $1", r"a \<n> & \\<n> %s %(x)s {<n>} $<n>"),
    ],
)  # fmt: skip
def test_numbers_ids_and_addresses_are_folded(place: Place, text: str, pattern: str) -> None:
    domain = new_domain()
    place.make("running", {"status": "failed", "error_message": text}, domain=domain)
    assert pattern_counts(place.of(domain)) == {pattern: 1}


def test_failures_of_one_pattern_are_counted_together_and_name_one_of_their_jobs(
    place: Place,
) -> None:
    domain = new_domain()
    timeouts = {
        place.make("running", failure(f"Timeout after {n} s at {uuid.uuid4()}"), domain=domain)
        for n in range(4)
    }
    blocked = {
        place.make("running", failure(f"Blocked at https://a.example/{n}/{'x' * n}"), domain=domain)
        for n in range(3)
    }
    found = place.of(domain)
    assert [(error["pattern"], error["count"]) for error in found["errors"]] == [
        ("Timeout after <n> s at <id>", 4),
        ("Blocked at <url>", 3),
    ]
    for _ in range(2):
        assert found["errors"][0]["job_id"] in timeouts
        assert found["errors"][1]["job_id"] in blocked
        found = place.ask({"domain": domain})  # now counted


def failure(text: str) -> Step:
    return {"status": "failed", "error_message": text}


def test_only_the_ten_commonest_are_told_the_commonest_first(place: Place) -> None:
    domain = new_domain()
    words = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "my",
    ]
    for number, word in enumerate(words):
        for _ in range(1 + number % 3):
            place.make("running", failure(word), domain=domain)
    found = place.of(domain, group_by="domain")
    assert len(found["errors"]) == 10
    counts = [error["count"] for error in found["errors"]]
    assert counts == [3] * 4 + [2] * 4 + [1] * 2
    assert {error["pattern"] for error in found["errors"][:4]} == {"gamma", "zeta", "iota", "my"}
    assert found["groups"][0]["errors"] == found["errors"]


def test_every_attempt_that_failed_is_counted_though_the_job_went_on(place: Place) -> None:
    domain = new_domain()
    place.make("running", failure("Blocked"), "pending", "running", failure("Blocked"), "pending", "running",
               failure("Timeout"), "cancelled", domain=domain)  # fmt: skip
    place.make(
        "running", {"status": "completed", "error_message": "Two pages were missing"}, domain=domain
    )
    assert pattern_counts(place.of(domain)) == {"Blocked": 2, "Timeout": 1}


def test_a_failure_without_a_word_is_one_too(place: Place) -> None:
    domain = new_domain()
    place.make("running", "failed", domain=domain)
    assert pattern_counts(place.of(domain)) == {"No error message": 1}


@pytest.mark.parametrize(
    "text",
    ["9" * 4096, "a1-" * 1365, "x" * 4096, "1.1," * 1024, "://" * 1365, " \n" * 2048, "ab:" * 1365],
)
def test_a_long_text_is_cut_and_folded_in_no_time(place: Place, text: str) -> None:
    domain = new_domain()
    place.make("running", failure(text), domain=domain)
    start = time.monotonic()
    (error,) = place.of(domain)["errors"]
    assert time.monotonic() - start < 2
    assert len(error["pattern"]) <= 200


# ----------------------------------------------------------------------------------------------------- groups


def test_groups_by_domain_and_type_come_with_the_largest_first(place: Place) -> None:
    customer = str(uuid.uuid4())
    domains = [new_domain() for _ in range(3)]
    for number, domain in enumerate(domains):
        for n in range(number + 1):
            place.make("running", domain=domain, job_type=f"type-{n}", customer_config_id=customer)
    mine = {"customer_config_id": customer}
    by_domain, by_type = place.figures(
        {**mine, "group_by": "domain"}, {**mine, "group_by": "job_type"}
    )
    assert [(group["key"], group["total"]) for group in by_domain["groups"]] == list(
        zip(reversed(domains), (3, 2, 1), strict=True)
    )
    keys = [(group["key"], group["total"]) for group in by_type["groups"]]
    assert keys == [("type-0", 3), ("type-1", 2), ("type-2", 1)]
    assert by_domain["total"] == by_type["total"] == 6


def test_completion_times_are_told_by_domain_and_by_type(place: Place) -> None:
    customer = str(uuid.uuid4())
    fields = {"customer_config_id": customer}
    slow, quick = new_domain(), new_domain()
    for seconds in (100, 200, 300):
        place.make(began(), ended("completed", seconds), domain=slow, job_type="deep", **fields)
        place.make(
            began(), ended("completed", seconds / 100), domain=quick, job_type="flat", **fields
        )
    answers = place.figures({**fields, "group_by": "domain"}, {**fields, "group_by": "job_type"})
    for found, key in zip(answers, (slow, "deep"), strict=True):
        for group in found["groups"]:
            middle = 200 if group["key"] == key else 2
            assert group["completion_seconds"]["mean"] == middle
            assert group["completion_seconds"]["p50"] == pytest.approx(middle, rel=0.05)
            assert group["completion_seconds"]["p95"] == pytest.approx(middle * 1.45, rel=0.05)


def test_groups_by_time_have_the_beginning_of_the_hour_or_day_for_a_key_the_last_first(
    place: Place,
) -> None:
    domain = new_domain()
    for moment in (
        "2019-12-31T23:59:59.999",
        "2020-01-01T00:00:00",
        "2020-01-01T00:59:59.999",
        "2020-01-01T23:00:00",
    ):
        place.date(place.create(domain=domain), datetime.fromisoformat(moment).replace(tzinfo=UTC))
    mine = {"domain": domain}
    by_hour, by_day = place.figures({**mine, "group_by": "hour"}, {**mine, "group_by": "day"})
    assert [(group["key"], group["total"]) for group in by_hour["groups"]] == [
        ("2020-01-01T23:00:00.000Z", 1),
        ("2020-01-01T00:00:00.000Z", 2),
        ("2019-12-31T23:00:00.000Z", 1),
    ]
    assert [(group["key"], group["total"]) for group in by_day["groups"]] == [
        ("2020-01-01T00:00:00.000Z", 3),
        ("2019-12-31T00:00:00.000Z", 1),
    ]


def test_a_job_counts_in_the_hour_of_its_status_and_what_it_used_in_the_hour_in_which_the_attempt_ended(
    place: Place,
) -> None:
    domain = new_domain()
    report = {
        "stats": {"pagesProcessed": 60, "performance": {"cpuUsage": 5}},
        "error_message": "Blocked",
    }
    job_id = place.make(began(), ended("failed", 60, **report), "pending", domain=domain)
    place.date(job_id, *(datetime(2018, 5, 5, hour, 30, tzinfo=UTC) for hour in (1, 2, 3, 4)))
    groups = {group["key"][11:13]: group for group in place.of(domain, group_by="hour")["groups"]}
    assert {hour: group["total"] for hour, group in groups.items() if group["total"]} == {"04": 1}
    assert groups["03"]["pages_per_minute"] == 60
    assert groups["03"]["resources"]["cpu_percent"]["peak"] == 5
    assert pattern_counts(groups["03"]) == {"Blocked": 1}
    assert groups["04"]["retry_rate"] == 1
    assert groups["04"]["pages_per_minute"] is None


def test_of_too_many_groups_the_largest_thousand_are_told(place: Place) -> None:
    run = uuid.uuid4().hex[:8]
    place.complete(f"n#.{run}.example", [1.0] * 1001)
    place.complete(f"n7.{run}.example", [1.0] * 3)
    found = place.ask({"group_by": "domain"})
    assert len(found["groups"]) == 1000
    assert found["more_groups"] is True
    assert found["groups"][0] == max(found["groups"], key=lambda group: group["total"])
    assert "more_groups" not in place.ask({"group_by": "job_type"})


# ----------------------------------------------------------------------------------------------------- filters


def test_every_filter_narrows_and_together_they_narrow_further(place: Place) -> None:
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    a, b = new_domain(), new_domain()
    for domain, kind, customer in (
        (a, "x", one),
        (a, "x", None),
        (a, "y", one),
        (b, "x", one),
        (b, "y", two),
    ):
        place.make("running", domain=domain, job_type=kind, customer_config_id=customer)
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
    found = place.figures(*(query for query, _ in asked))
    assert [each["total"] for each in found] == [total for _, total in asked]


def test_filters_are_read_as_jobs_are(place: Place) -> None:
    label = new_domain().partition(".")[0]
    customer = str(uuid.uuid4())
    place.create(domain=f"MÜNCHEN.{label}.Example.", customer_config_id=customer.upper())
    asked = [{"domain": f"münchen.{label}.EXAMPLE"}, {"domain": f"xn--mnchen-3ya.{label}.example"}]
    asked += [{"customer_config_id": customer.upper()}]
    assert [found["total"] for found in place.figures(*asked)] == [1, 1, 1]


# ----------------------------------------------------------------------------------------------------- windows


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
def test_a_window_begins_with_its_first_millisecond_and_ends_before_its_last(
    place: Place, moment: datetime, filtered: bool
) -> None:
    moment += timedelta(days=500 * filtered)  # nobody else's
    domain = new_domain()
    ids = [place.make("running", failure("Blocked"), domain=domain) for _ in range(3)]
    for number, job_id in enumerate(ids):
        place.date(
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
    found = place.figures(*(query for query, _ in asked))
    assert [each["total"] for each in found] == [total for _, total in asked]
    assert [pattern_counts(each).get("Blocked", 0) for each in found] == [
        total for _, total in asked
    ]


def test_a_window_open_at_one_end_has_all_before_or_after(place: Place) -> None:
    domain = new_domain()
    for hour in range(0, 96, 7):
        place.date(
            place.create(domain=domain),
            datetime(2003, 1, 1, tzinfo=UTC) + timedelta(hours=hour, seconds=17),
        )
    mine = {"domain": domain}
    edge = iso(datetime(2003, 1, 2, 18, 0, 17, tzinfo=UTC))
    before, after, all_time = place.figures({**mine, "to": edge}, {**mine, "from": edge}, mine)
    assert (before["total"], after["total"], all_time["total"]) == (6, 8, 14)
    assert (before["from"], after["to"]) == (None, None)


def test_what_is_undone_later_is_undone_in_the_window_in_which_it_was(place: Place) -> None:
    domain = new_domain()
    job_id = place.make("running", "failed", domain=domain)
    first = datetime(2004, 1, 1, tzinfo=UTC)
    place.date(job_id, *(first + timedelta(hours=hour, minutes=1) for hour in range(3)))
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
    for found in place.figures(window, inside):
        assert found["by_status"] == by_status(failed=1)
    place.put(job_id, status="pending")
    place.date(job_id, *(first + timedelta(hours=hour, minutes=1) for hour in (0, 1, 2, 50)))
    for found in place.figures(window, inside):
        assert (found["total"], found["by_status"]) == (0, by_status())
        assert pattern_counts(found) == {"No error message": 1}


def test_an_offset_is_taken_into_account(place: Place) -> None:
    domain = new_domain()
    place.date(place.create(domain=domain), datetime(2005, 6, 1, 22, 30, tzinfo=UTC))
    asked = [
        {"domain": domain, "from": "2005-06-02T00:00:00+02:00", "to": "2005-06-02T01:00:00+02:00"},
        {"domain": domain, "from": "2005-06-01T22:00:00", "to": "2005-06-01T18:00:00-05:00"},
        {"domain": domain, "from": "2005-06-02T00:30:00.001+02:00"},
    ]
    assert [found["total"] for found in place.figures(*asked)] == [1, 1, 0]
    unescaped = f"domain={domain}&from=2005-06-02T00:00:00+02:00&to=2005-06-02T01:00:00+02:00"
    assert place.ask(unescaped)["total"] == 1


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
def test_the_ends_of_the_calendar_can_be_asked_for(
    place: Place, start: str | None, end: str | None, total: int, group: str | None
) -> None:
    domain = new_domain()
    place.create(domain=domain)
    asked = {"from": start, "to": end, "group_by": group, "domain": domain}
    assert place.ask({name: value for name, value in asked.items() if value})["total"] == total


# ----------------------------------------------------------------------------------------------------- refusals

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
def test_a_wrong_parameter_is_named(place: Place, query: str, error: str) -> None:
    answer = place.client.get(f"{JOBS}/stats?{query}")
    assert answer.status_code == 400
    assert answer.get_json() == {"success": False, "error": error}


def test_several_wrong_parameters_are_all_named(place: Place) -> None:
    answer = place.client.get(f"{JOBS}/stats?what=1&group_by=x&from=y")
    assert answer.status_code == 400
    assert answer.get_json() == {
        "success": False,
        "error": f"Invalid from: {MOMENT}",
        "details": f"{GROUP}; Unknown field: what",
    }


# ----------------------------------------------------------------------------------------------------- counting


# Jobs of one a minute, which came and completed in that minute, and how many rows the reads since
# then have touched.
MANY_JOBS = """
INSERT INTO scrape_jobs (id, domain_id, domain, job_type, status, priority, max_retries, completed_at, created_at,
    updated_at, version, status_seq)
SELECT gen_random_uuid(), gen_random_uuid(), 'd' || n %% 100 || '.example', 'scrape', 'completed', 5, 3, at, at, at,
    2, 2
FROM generate_series(1, %(jobs)s) AS n, LATERAL (SELECT %(first)s + n * interval '1 minute' AS at) AS m;
INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes, stats, retry_count,
    previous_seq)
SELECT id, seq, created_at, 'updated', CASE seq WHEN 2 THEN 'pending' END, (ARRAY['pending', 'completed'])[seq],
    'system', '{}', '{}', 0, CASE seq WHEN 2 THEN 1 END
FROM scrape_jobs, generate_series(1, 2) AS seq;
INSERT INTO uncounted_events SELECT job_id, seq FROM job_events WHERE seq = 1 LIMIT 10;
ANALYZE
"""

TOUCHED = """
SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables WHERE relname IN ('scrape_jobs', 'job_events')
"""


@pytest.fixture
def large_place(server_url: str) -> Iterator[Place]:
    for url in new_database(server_url):
        migrate(url)
        app = create_app(Settings(database_url=url, auth="off", rate_limit=False, threads=1))
        place = Place(url, app)
        place.sql(MANY_JOBS, {"jobs": 20_000, "first": datetime(2024, 1, 1, tzinfo=UTC)})
        yield place
        place.close()
        with own_work(app):
            app.extensions["sqlalchemy"].engine.dispose()


def test_a_look_at_the_figures_touches_few_of_many_jobs(large_place: Place) -> None:
    place = large_place
    flush = Statement("flush_figures_of_use", "SELECT pg_stat_force_next_flush()")
    window = {"from": "2024-01-04T07:20:30Z", "to": "2024-01-06T08:30:30Z"}

    def touched(query: Mapping[str, str]) -> int:
        with own_work(place.app):
            database.run(flush, {})
            before = int(place.sql(TOUCHED)[0][0])
            place.ask(query)
            database.run(flush, {})
        return int(place.sql(TOUCHED)[0][0]) - before

    asked: Sequence[dict[str, str]] = (
        {}, window, {"from": window["from"]}, {"to": window["to"]}, {**window, "group_by": "hour"},
        {"domain": "d1.example"}, {"domain": "d1.example", **window}, {"group_by": "domain"},
        {"group_by": "domain", **window},
    )  # fmt: skip
    # The least of a few: the server looks after its tables meanwhile, and counts that in.
    assert [query for query in asked if min(touched(query) for _ in range(3)) > 2000] == []


def test_while_somebody_counts_nobody_else_does_and_the_figures_stay(
    place: Place, server_url: str
) -> None:
    domain = new_domain()
    place.make("running", domain=domain)
    expected = place.ask({"domain": domain})
    ((name,),) = place.sql("SELECT current_database()")
    with closing(psycopg2.connect(server_url, dbname=name)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('statistics', 0))")
        assert place.count() == 0
        assert place.ask({"domain": domain}) == expected
        other.rollback()
    assert place.count() == 2
    assert place.ask({"domain": domain}) == expected


def test_counting_goes_on_until_nothing_is_left(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH", 2)
    domain = new_domain()
    place.complete(domain, [5.0] * 7)
    assert place.count() == 7
    assert place.count() == 0
    assert place.ask({"domain": domain})["by_status"] == by_status(completed=7)


def test_the_jobs_of_each_status_are_those_of_all_time(place: Place) -> None:
    domain = new_domain()
    place.make("running", "failed", domain=domain)
    rows = place.sql("SELECT status, count(*) FROM scrape_jobs GROUP BY 1")
    for _ in range(2):
        with own_work(place.app):
            assert service.jobs_by_status() == by_status(**dict(rows))
        assert place.ask({})["by_status"] == by_status(**dict(rows))
        place.count()
