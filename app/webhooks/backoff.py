"""When a delivery is tried again: a pure rule, to which time and chance are passed in."""

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
"""How long to wait after the first failed try, after the second, and so on; after the last there is
no other."""

JITTER = 0.1
LONGEST_RETRY_AFTER = timedelta(hours=1)
HOPELESS_AFTER = timedelta(days=5)
"""How long an endpoint may do nothing but fail before it is disabled."""


def next_try_at(
    now: datetime, tries: int, chance: float, retry_after: timedelta | None = None
) -> datetime | None:
    """Return when to try again after the failed try number `tries` (from 1), or None where it was
    the last.

    `chance`, from 0 to 1, spreads the wait by ± 10 %; a receiver's `retry_after` is waited for, up
    to an hour.
    """
    if tries > len(SCHEDULE):
        return None
    wait = SCHEDULE[tries - 1] * (1 + JITTER * (2 * chance - 1))
    if retry_after is not None:
        wait = max(wait, min(retry_after, LONGEST_RETRY_AFTER))
    return now + wait


def parse_retry_after(header: str | None, now: datetime) -> timedelta | None:
    """Return the wait that a Retry-After header asks for (RFC 9110, section 10.2.3), or None where
    it asks for none."""
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
    """Tell whether an endpoint that has done nothing but fail since then is to be disabled."""
    return now - failing_since >= HOPELESS_AFTER
