"""The throttle of endpoints: slow start, rests, and the bound on failing endpoints."""

import uuid
from collections import Counter

import pytest

from app.webhooks import throttle
from app.webhooks.claims import EndpointShare
from app.webhooks.throttle import EndpointThrottle, EndpointThrottles

NOW = 1000.0
ONE, OTHER = uuid.uuid4(), uuid.uuid4()


def test_quick_successes_double_the_window() -> None:
    endpoint = EndpointThrottle()
    windows = []
    for _ in range(8):
        endpoint.succeed(0.01)
        windows.append(endpoint.window)
    assert windows == [2, 4, 8, 16, 32, 64, 64, 64]
    assert endpoint.is_trusted


@pytest.mark.parametrize(("seconds", "window"), [(0.5, 8), (1.0, 4), (3.0, 1), (10.0, 1)])
def test_slow_successes_bound_the_window(seconds: float, window: int) -> None:
    endpoint = EndpointThrottle()
    for _ in range(8):
        endpoint.succeed(seconds)
    assert endpoint.window == window


def test_each_failure_doubles_the_rest() -> None:
    endpoint = EndpointThrottle(window=16)
    rests = []
    for _ in range(7):
        endpoint.fail(NOW)
        rests.append(endpoint.rests_until - NOW)
    assert rests == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert (endpoint.window, endpoint.is_failing, endpoint.is_trusted) == (1, True, False)
    assert endpoint.is_resting(NOW + 9.9)
    assert not endpoint.is_resting(NOW + 10)


def test_a_success_ends_a_series_of_failures() -> None:
    endpoint = EndpointThrottle()
    endpoint.fail(NOW)
    endpoint.succeed(0.01)
    assert (endpoint.window, endpoint.is_failing) == (2, False)


def test_the_share_is_the_rest_of_the_window() -> None:
    throttles = EndpointThrottles()
    throttles.of(ONE).succeed(0.01)
    throttles.of(OTHER).fail(NOW)
    assert throttles.shares(Counter({ONE: 1}), NOW) == {
        ONE: EndpointShare(1, 1, trusted=True),
        OTHER: EndpointShare(0, 0, trusted=False),
    }
    assert throttles.shares(Counter(), NOW + 1)[OTHER].capacity == 1


def test_failing_endpoints_occupy_half_of_the_senders() -> None:
    throttles = EndpointThrottles()
    failing = [uuid.uuid4() for _ in range(throttle.SENDER_THREADS)]
    for id in failing:
        throttles.of(id).fail(NOW)
    throttles.of(ONE)
    half = throttle.SENDER_THREADS // 2
    few = throttles.shares(Counter(failing[: half - 1]), NOW + 20)
    many = throttles.shares(Counter(failing[:half]), NOW + 20)
    assert (few[failing[-1]].capacity, many[failing[-1]].capacity) == (1, 0)
    assert many[ONE].capacity == 1


def test_idle_throttles_are_forgotten_above_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MAX_THROTTLES", 2)
    throttles = EndpointThrottles()
    third = uuid.uuid4()
    throttles.of(ONE)
    throttles.of(OTHER).fail(NOW)
    throttles.of(third)
    assert throttles.shares(Counter({ONE: 1}), NOW).keys() == {ONE, OTHER}
