"""Where the rate limits' counts are kept: in this process, or in a Redis that all processes share.

They are two storages for the library ``limits``, which Flask-Limiter counts with. Its own one for a
process starts a thread that looks at every count a hundred times a second, and Flask-Limiter's own
way of doing without a Redis that is away fails the requests during whose work it goes: hence these.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Any, TypeVar

from limits.storage import RedisStorage, SlidingWindowCounterSupport, Storage
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.observability.metrics import RATE_LIMIT_FALLBACKS

log = logging.getLogger(__name__)

T = TypeVar("T")

PROCESS = "process://"
"""The URI of the storage in this process."""

SHARED = "shared+"
"""What stands before the URI of a Redis to make it that of the storage that all share."""

REDIS_SECONDS = 0.25
"""How long Redis may take to connect or to answer before it counts as away."""

PAUSE_SECONDS = 5.0
"""How long a Redis that is away is left alone before one request looks whether it is back."""

ROOM = 10_000
"""Counts that are kept before the first look for those that are over."""


@dataclass(slots=True)
class _Window:
    """What was counted in the window that began at `start` (of the monotonic clock), and in the one
    before it."""

    start: float
    current: int = 0
    previous: int = 0

    def move_on(self, now: float, length: float) -> None:
        """Let the window be the one of `now`, where it was over."""
        passed = int((now - self.start) // length)
        if passed:
            self.previous = self.current if passed == 1 else 0
            self.current = 0
            self.start += passed * length

    def weight(self, now: float, length: float) -> float:
        """Return how many of the last `length` seconds were counted, taking those of the window
        before for even."""
        return self.previous * (length - (now - self.start)) / length + self.current


def _begun(left: float, expiry: int) -> float:
    """Return the seconds `left` of a window and the next, but never all: the library would take
    that for none."""
    return min(left, 2 * expiry - 0.001)


class ProcessStorage(Storage, SlidingWindowCounterSupport):
    """Counts in this process; what is over is removed when the counts have doubled since the last
    time."""

    STORAGE_SCHEME = ["process"]  # noqa: RUF012 - as the library has it

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: Any) -> None:
        super().__init__(uri, wrap_exceptions)
        self._windows: dict[tuple[str, float], _Window] = {}
        self._room = ROOM
        self._lock = threading.Lock()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What it raises when it fails, which it does not."""
        return ValueError

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count `amount` more, if `limit` allows it in `expiry` seconds; tell whether it did."""
        now = time.monotonic()
        with self._lock:
            window = self._window(key, expiry, now)
            if floor(window.weight(now, expiry)) + amount > limit:
                return False
            window.current += amount
            return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return what the window before counted and for how many seconds it still does, and the
        same of this one."""
        now = time.monotonic()
        with self._lock:
            window = self._window(key, expiry, now)
            left = expiry - (now - window.start)
            return (
                window.previous,
                left if window.previous else 0.0,
                window.current,
                _begun(left + expiry, expiry),
            )

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget what was counted."""
        with self._lock:
            self._windows.pop((key, expiry), None)

    def _window(self, key: str, length: float, now: float) -> _Window:
        if len(self._windows) >= self._room:
            self._windows = {
                of: one for of, one in self._windows.items() if now - one.start < 2 * of[1]
            }
            self._room = max(ROOM, 2 * len(self._windows))
        window = self._windows.setdefault((key, length), _Window(now))
        window.move_on(now, length)
        return window

    def check(self) -> bool:
        """Tell whether it works."""
        return True

    def reset(self) -> int:
        """Forget everything; return how many counts that were."""
        with self._lock:
            forgotten = len(self._windows)
            self._windows.clear()
            return forgotten

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Not for sliding windows."""
        raise NotImplementedError

    get = get_expiry = clear = incr  # type: ignore[assignment]


class SharedStorage(Storage, SlidingWindowCounterSupport):
    """Counts in a Redis, or in this process while that is away.

    The first requests to find it away wait for REDIS_SECONDS; from then on one does so every
    PAUSE_SECONDS.
    """

    STORAGE_SCHEME = [SHARED + scheme for scheme in ("redis", "rediss", "redis+unix")]  # noqa: RUF012 - likewise

    def __init__(self, uri: str, wrap_exceptions: bool = False, **_: Any) -> None:
        super().__init__(uri, wrap_exceptions)
        options: dict[str, Any] = {
            "socket_connect_timeout": REDIS_SECONDS,
            "socket_timeout": REDIS_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        self._redis = RedisStorage(uri.removeprefix(SHARED), **options)
        self._process = ProcessStorage()
        self._is_away = False
        self._try_at = 0.0
        self._lock = threading.Lock()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What it raises when it fails, which it does not."""
        return RedisError

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count `amount` more, if `limit` allows it in `expiry` seconds; tell whether it did."""
        return self._somewhere(
            lambda storage: storage.acquire_sliding_window_entry(key, limit, expiry, amount)
        )

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return what the window before counted and for how many seconds it still does, and the
        same of this one."""
        previous, previous_left, current, left = self._somewhere(
            lambda storage: storage.get_sliding_window(key, expiry)
        )
        return previous, previous_left, current, _begun(left, expiry)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget what was counted."""
        self._somewhere(lambda storage: storage.clear_sliding_window(key, expiry))

    def _somewhere(self, work: Callable[[RedisStorage | ProcessStorage], T]) -> T:
        if self._may_try():
            try:
                done = work(self._redis)
            except Exception as error:  # noqa: BLE001 - who limits must not fail what it limits, whatever it is that answers
                self._lost(error)
            else:
                self._found()
                return done
        return work(self._process)

    def _may_try(self) -> bool:
        if not self._is_away:
            return True
        with self._lock:
            is_due = time.monotonic() >= self._try_at
            if is_due:
                self._try_at = time.monotonic() + PAUSE_SECONDS
            return is_due

    def _lost(self, error: Exception) -> None:
        with self._lock:
            is_news, self._is_away = not self._is_away, True
            self._try_at = time.monotonic() + PAUSE_SECONDS
        if is_news:
            RATE_LIMIT_FALLBACKS.inc()
            log.warning("Redis is away (%s): this process limits by itself", type(error).__name__)

    def _found(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("Redis is back: the limits are shared again")

    def check(self) -> bool:
        """Tell whether it works, which it does."""
        return True

    def reset(self) -> None:
        """Not for what others share."""
        raise NotImplementedError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Not for sliding windows."""
        raise NotImplementedError

    get = get_expiry = clear = incr  # type: ignore[assignment]
