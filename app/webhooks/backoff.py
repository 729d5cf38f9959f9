"""The backoff between attempts of a delivery: pure rules of time and chance."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SCHEDULE: Sequence[timedelta] = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
"""The waits after the first failed attempt, the second, and so on. After the last wait there is one
more attempt."""

JITTER = 0.1
MAX_RETRY_AFTER = timedelta(hours=1)
MAX_FAILING_TIME = timedelta(days=5)
"""An endpoint whose attempts have all failed for this long is disabled."""


def next_attempt_at(
    now: datetime, failures: int, chance: float, retry_after: timedelta | None = None
) -> datetime | None:
    """Return the time of the next attempt, or None if the delivery has failed for good.

    Args:
        now: The time of the failed attempt.
        failures: The number of failed attempts, this one included (from 1).
        chance: A random number from 0 to 1, which spreads the wait by ± 10 %.
        retry_after: The wait that the receiver asked for; up to an hour is respected.
    """
    if failures > len(SCHEDULE):
        return None
    wait = SCHEDULE[failures - 1] * (1 + JITTER * (2 * chance - 1))
    if retry_after is not None:
        wait = max(wait, min(retry_after, MAX_RETRY_AFTER))
    return now + wait


def parse_retry_after(header: str | None, now: datetime) -> timedelta | None:
    """Return the wait of a Retry-After header (RFC 9110, section 10.2.3), or None if invalid."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=int(text.lstrip("0")[:9] or "0"))
    try:
        moment = parsedate_to_datetime(text)
        return max((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now, timedelta(0))
    except (ValueError, OverflowError):
        return None


def is_hopeless(now: datetime, failing_since: datetime) -> bool:
    """Return whether an endpoint that has failed since `failing_since` is to be disabled."""
    return now - failing_since >= MAX_FAILING_TIME
