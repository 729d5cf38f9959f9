"""The throttle of each endpoint: how many attempts it may have at a time, and its rests.

A slow start keeps the cost of bad endpoints small. An endpoint begins with a window of one attempt
at a time. Each success doubles the window, as long as the responses are quick. A failure resets the
window to one, and the endpoint rests for a while. All endpoints whose last attempt failed may
together occupy half of the senders.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from app.webhooks.claims import EndpointShare

SENDER_THREADS = 16
MAX_HELD_DELIVERIES = 64
"""Deliveries that one dispatcher holds at a time: in progress, or waiting for a sender."""

MAX_BUSY_SECONDS = 4.0
"""Sender time that the attempts of one endpoint may take together, by its last response time."""

MIN_REST_SECONDS, MAX_REST_SECONDS = 0.5, 10.0
"""Rest of an endpoint after one failure, and after many. Each claim of an endpoint that fails
delays all others."""

MAX_THROTTLES = 10_000
"""Endpoints whose throttle is remembered. Above that, idle ones are forgotten: some of these
endpoints may be deleted."""

MAX_UNTRUSTED_PER_CUSTOMER = SENDER_THREADS // 4
"""Deliveries held of one customer's endpoints whose last response was not quick."""

MAX_DOUBLINGS = 10
"""Failures after which the rest grows no more; it keeps the power of two small."""


@dataclass
class EndpointThrottle:
    """The throttle of one endpoint; times are on the clock of `time.monotonic`.

    Attributes:
        window: Maximum number of attempts at a time.
        failures: Number of failures in a row.
        rests_until: The end of the rest after a failure.
    """

    window: int = 1
    failures: int = 0
    rests_until: float = 0.0

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed."""
        return self.failures > 0

    @property
    def is_trusted(self) -> bool:
        """Whether the last responses were quick."""
        return self.window > 1

    def is_resting(self, now: float) -> bool:
        """Return whether the endpoint gets no attempts at the moment."""
        return now < self.rests_until

    def succeed(self, seconds: float) -> None:
        """Double the window after a success that took `seconds`, within the bounds."""
        capacity = max(1, int(MAX_BUSY_SECONDS / max(seconds, 0.001)))
        self.window, self.failures = min(self.window * 2, MAX_HELD_DELIVERIES, capacity), 0

    def fail(self, now: float) -> None:
        """Reset the window after a failure, and begin a rest that doubles with each failure."""
        doublings = min(self.failures, MAX_DOUBLINGS)
        self.window, self.failures = 1, self.failures + 1
        self.rests_until = now + min(MIN_REST_SECONDS * 2**doublings, MAX_REST_SECONDS)


class EndpointThrottles:
    """The throttles of all endpoints that this dispatcher has had deliveries for."""

    def __init__(self) -> None:
        self._throttles: dict[UUID, EndpointThrottle] = {}

    def of(self, endpoint_id: UUID) -> EndpointThrottle:
        """Return the throttle of an endpoint, a new one if there is none yet."""
        return self._throttles.setdefault(endpoint_id, EndpointThrottle())

    def shares(self, held: Counter[UUID], now: float) -> Mapping[UUID, EndpointShare]:
        """Return the share of each endpoint, given how many deliveries of each are held."""
        self._forget_idle(held, now)
        failing = sum(count for id, count in held.items() if self.of(id).is_failing)
        failing_are_full = failing >= SENDER_THREADS // 2
        return {
            id: _share(throttle, held[id], now, failing_are_full)
            for id, throttle in self._throttles.items()
        }

    def _forget_idle(self, held: Counter[UUID], now: float) -> None:
        if len(self._throttles) > MAX_THROTTLES:
            self._throttles = {
                id: throttle
                for id, throttle in self._throttles.items()
                if held[id] or throttle.is_resting(now)
            }


def _share(
    throttle: EndpointThrottle, held: int, now: float, failing_are_full: bool
) -> EndpointShare:
    is_closed = throttle.is_resting(now) or (throttle.is_failing and failing_are_full)
    capacity = 0 if is_closed else max(0, throttle.window - held)
    return EndpointShare(held, capacity, throttle.is_trusted)
