"""The counters of one process, with a clock that the tests set."""

import pytest
from limits import RateLimitItemPerMinute

from app.rate_limits import counters
from app.rate_limits.counters import ProcessCounters

LIMIT = RateLimitItemPerMinute(4)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one element; both clocks show it."""
    now = [1000.0]
    monkeypatch.setattr("app.rate_limits.counters.time.monotonic", lambda: now[0])
    monkeypatch.setattr("app.rate_limits.counters.time.time", lambda: now[0])
    return now


def test_previous_window_counts_by_its_part(clock: list[float]) -> None:
    process = ProcessCounters()
    assert [process.hit(LIMIT, "a") for _ in range(5)] == [True] * 4 + [False]
    clock[0] += 75  # a quarter of the next window has passed: three of the four still count
    assert [process.hit(LIMIT, "a") for _ in range(2)] == [True, False]
    assert process.get_window_stats(LIMIT, "a").remaining == 0


def test_expired_counters_are_removed(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MIN_CLEANUP_SIZE", 10)
    process = ProcessCounters()
    for number in range(10):
        assert process.hit(LIMIT, str(number))
    clock[0] += 120
    assert process.hit(LIMIT, "new")
    assert len(process._windows) == 1
