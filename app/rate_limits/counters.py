"""Sliding window counters for rate limits: in this process, or in a Redis that processes share.

Both are strategies as the library ``limits`` defines them, with the two methods that the policy
calls. The library's own in-process storage starts a thread that looks at every counter a hundred
times a second; `ProcessCounters` needs none and bounds its memory. The library has no fallback for
a Redis that is down; `SharedCounters` falls back to `ProcessCounters`, request by request.

The algorithm is the same in both: a counter is the requests of the current window, plus those of
the previous one in proportion to the part of it that lies within the last minute.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Any, Protocol, TypeVar

from limits import RateLimitItem, WindowStats
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.observability.metrics import RATE_LIMIT_FALLBACKS

log = logging.getLogger(__name__)

T = TypeVar("T")

REDIS_SECONDS = 0.25
"""Maximum time to connect to Redis, and to wait for each answer, before it counts as down."""

REDIS_PAUSE_SECONDS = 5.0
"""Time between two attempts to reach a Redis that is down; one request makes each of them."""

MIN_CLEANUP_SIZE = 10_000
"""Number of counters in this process before the first removal of expired ones."""

_MIN_ELAPSED_SECONDS = 0.001
"""Minimum age of a window, so that its end always lies less than a window ahead."""


class Counters(Protocol):
    """Counts requests against limits."""

    def hit(self, item: RateLimitItem, *identifiers: str) -> bool:
        """Count a request of `identifiers` if the limit allows it; return whether it does."""

    def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """Return when the limit allows more requests again, and how many it allows now."""


@dataclass(slots=True)
class _Window:
    """The requests since `start` (of the monotonic clock), and those of the window before."""

    start: float
    current: int = 0
    previous: int = 0

    def advance(self, now: float, length: float) -> None:
        """Move on to the window that `now` lies in."""
        passed = int((now - self.start) // length)
        if passed:
            self.previous = self.current if passed == 1 else 0
            self.current = 0
            self.start += passed * length

    def seconds_left(self, now: float, length: float) -> float:
        """Return the seconds until this window ends."""
        return length - (now - self.start)

    def weighted_count(self, now: float, length: float) -> float:
        """Return the requests of the last `length` seconds, if those before were spread evenly."""
        return self.previous * self.seconds_left(now, length) / length + self.current


class ProcessCounters:
    """Counters of this process. Expired ones are removed each time their number has doubled."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, int], _Window] = {}
        self._cleanup_size = MIN_CLEANUP_SIZE
        self._lock = threading.Lock()

    def hit(self, item: RateLimitItem, *identifiers: str) -> bool:
        """Count a request of `identifiers` if the limit allows it; return whether it does."""
        now, length = time.monotonic(), item.get_expiry()
        with self._lock:
            window = self._window(item.key_for(*identifiers), length, now)
            if floor(window.weighted_count(now, length)) + 1 > item.amount:
                return False
            window.current += 1
            return True

    def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """Return when the limit allows more requests again, and how many it allows now."""
        now, length = time.monotonic(), item.get_expiry()
        with self._lock:
            window = self._window(item.key_for(*identifiers), length, now)
            remaining = item.amount - floor(window.weighted_count(now, length))
            waits = []
            if window.previous:  # its requests leave the last `length` seconds one by one
                waits.append(window.seconds_left(now, length) % (length / window.previous))
            if window.current:
                waits.append(min(window.seconds_left(now, length), length - _MIN_ELAPSED_SECONDS))
        return WindowStats(time.time() + min(waits, default=0.0), max(0, remaining))

    def _window(self, key: str, length: int, now: float) -> _Window:
        if len(self._windows) >= self._cleanup_size:
            self._remove_expired(now)
        window = self._windows.setdefault((key, length), _Window(now))
        window.advance(now, length)
        return window

    def _remove_expired(self, now: float) -> None:
        self._windows = {
            (key, length): window
            for (key, length), window in self._windows.items()
            if now - window.start < 2 * length
        }
        self._cleanup_size = max(MIN_CLEANUP_SIZE, 2 * len(self._windows))


class _RedisWindows(RedisStorage):
    """The library's storage in Redis, with a correction for windows that have just begun."""

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the count and the seconds left of the previous and the current window."""
        previous, previous_left, current, left = super().get_sliding_window(key, expiry)
        # The library takes a window of which nothing has elapsed for one that is over.
        return previous, previous_left, current, min(left, 2 * expiry - _MIN_ELAPSED_SECONDS)


class SharedCounters:
    """Counters in a Redis; while that is down, counters of this process.

    The first requests that find Redis down wait for REDIS_SECONDS. After that, one request tries
    it again every REDIS_PAUSE_SECONDS.
    """

    def __init__(self, redis_url: str) -> None:
        # Imported only where there is a Redis: the package takes 7 MiB of each process.
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options: dict[str, Any] = {
            "socket_connect_timeout": REDIS_SECONDS,
            "socket_timeout": REDIS_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        self._redis = SlidingWindowCounterRateLimiter(_RedisWindows(redis_url, **options))
        self._process = ProcessCounters()
        self._is_down = False
        self._retry_at = 0.0
        self._lock = threading.Lock()

    def hit(self, item: RateLimitItem, *identifiers: str) -> bool:
        """Count a request of `identifiers` if the limit allows it; return whether it does."""
        return self._call(lambda counters: counters.hit(item, *identifiers))

    def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """Return when the limit allows more requests again, and how many it allows now."""
        return self._call(lambda counters: counters.get_window_stats(item, *identifiers))

    def _call(self, work: Callable[[Counters], T]) -> T:
        if self._may_try_redis():
            try:
                done = work(self._redis)
            except Exception as error:  # noqa: BLE001 - no fault of Redis may fail a request
                self._note_failure(error)
            else:
                self._note_success()
                return done
        return work(self._process)

    def _may_try_redis(self) -> bool:
        if not self._is_down:
            return True
        with self._lock:
            is_due = time.monotonic() >= self._retry_at
            if is_due:
                self._retry_at = time.monotonic() + REDIS_PAUSE_SECONDS
            return is_due

    def _note_failure(self, error: Exception) -> None:
        with self._lock:
            is_first, self._is_down = not self._is_down, True
            self._retry_at = time.monotonic() + REDIS_PAUSE_SECONDS
        if is_first:
            RATE_LIMIT_FALLBACKS.inc()
            log.warning("Redis is away (%s): this process limits by itself", type(error).__name__)

    def _note_success(self) -> None:
        if self._is_down:
            self._is_down = False
            log.info("Redis is back: all processes share their rate limits again")
