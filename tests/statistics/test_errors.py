"""Error patterns."""

import time
import uuid

import pytest

from support.factories import new_domain
from support.figures import StatisticsApi
from support.statistics import failure, pattern_counts


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
def test_pattern_replaces_numbers_ids_and_addresses(
    api: StatisticsApi, text: str, pattern: str
) -> None:
    domain = new_domain()
    api.make("running", {"status": "failed", "error_message": text}, domain=domain)
    assert pattern_counts(api.of(domain)) == {pattern: 1}


def test_failures_of_one_pattern_count_together(
    api: StatisticsApi,
) -> None:
    domain = new_domain()
    timeouts = {
        api.make("running", failure(f"Timeout after {n} s at {uuid.uuid4()}"), domain=domain)
        for n in range(4)
    }
    blocked = {
        api.make("running", failure(f"Blocked at https://a.example/{n}/{'x' * n}"), domain=domain)
        for n in range(3)
    }
    found = api.of(domain)
    assert [(error["pattern"], error["count"]) for error in found["errors"]] == [
        ("Timeout after <n> s at <id>", 4),
        ("Blocked at <url>", 3),
    ]
    for _ in range(2):
        assert found["errors"][0]["job_id"] in timeouts
        assert found["errors"][1]["job_id"] in blocked
        found = api.ask({"domain": domain})  # now counted


def test_ten_most_frequent_errors_are_listed(api: StatisticsApi) -> None:
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
            api.make("running", failure(word), domain=domain)
    found = api.of(domain, group_by="domain")
    assert len(found["errors"]) == 10
    counts = [error["count"] for error in found["errors"]]
    assert counts == [3] * 4 + [2] * 4 + [1] * 2
    assert {error["pattern"] for error in found["errors"][:4]} == {"gamma", "zeta", "iota", "my"}
    assert found["groups"][0]["errors"] == found["errors"]


def test_every_failed_attempt_counts(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make("running", failure("Blocked"), "pending", "running", failure("Blocked"), "pending", "running",
               failure("Timeout"), "cancelled", domain=domain)  # fmt: skip
    api.make(
        "running", {"status": "completed", "error_message": "Two pages were missing"}, domain=domain
    )
    assert pattern_counts(api.of(domain)) == {"Blocked": 2, "Timeout": 1}


def test_failure_without_message_counts(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make("running", "failed", domain=domain)
    assert pattern_counts(api.of(domain)) == {"No error message": 1}


@pytest.mark.timed
@pytest.mark.parametrize(
    "text",
    ["9" * 4096, "a1-" * 1365, "x" * 4096, "1.1," * 1024, "://" * 1365, " \n" * 2048, "ab:" * 1365],
)
def test_long_message_is_truncated_quickly(api: StatisticsApi, text: str) -> None:
    domain = new_domain()
    api.make("running", failure(text), domain=domain)
    start = time.monotonic()
    (error,) = api.of(domain)["errors"]
    assert time.monotonic() - start < 2
    assert len(error["pattern"]) <= 200
