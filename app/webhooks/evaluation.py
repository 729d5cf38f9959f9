"""The consequences of an attempt for its delivery and its endpoint: a pure rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.webhooks import backoff
from app.webhooks.attempt import ReceiverResponse
from app.webhooks.claims import ClaimedDelivery


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The consequences of one attempt.

    Attributes:
        claimed: The delivery.
        status: The new status of the delivery: pending, delivered or failed.
        attempt: The record of the attempt, as the API shows it.
        wait_seconds: Seconds until the next attempt; for pending deliveries.
        disabled_reason: The reason to disable the endpoint, or None.
    """

    claimed: ClaimedDelivery
    status: str
    attempt: Mapping[str, Any]
    wait_seconds: float | None = None
    disabled_reason: str | None = None


def evaluate(
    claimed: ClaimedDelivery, response: ReceiverResponse, began_at: datetime, chance: float
) -> AttemptResult:
    """Return the consequences of an attempt.

    Args:
        claimed: The delivery.
        response: The receiver's response.
        began_at: The time, in UTC, at which the attempt began.
        chance: A random number from 0 to 1, which spreads the wait before the next attempt.
    """
    attempt = _record(response, began_at)
    if response.status_code is not None and 200 <= response.status_code < 300:
        return AttemptResult(claimed, "delivered", attempt)
    retry_after = backoff.parse_retry_after(response.retry_after, began_at)
    next_at = backoff.next_attempt_at(began_at, claimed.failures + 1, chance, retry_after)
    reason = _disabled_reason(claimed, response, began_at)
    if next_at is None:
        return AttemptResult(claimed, "failed", attempt, disabled_reason=reason)
    wait_seconds = (next_at - began_at) / timedelta(seconds=1)
    return AttemptResult(claimed, "pending", attempt, wait_seconds, reason)


def _record(response: ReceiverResponse, began_at: datetime) -> Mapping[str, Any]:
    return {
        "at": began_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "status_code": response.status_code,
        "duration_ms": round(response.seconds * 1000),
        "answer": response.body,
        "error": response.error,
    }


def _disabled_reason(
    claimed: ClaimedDelivery, response: ReceiverResponse, now: datetime
) -> str | None:
    if response.status_code == 410:
        return "The receiver answered 410 Gone"
    if claimed.failing_since is not None and backoff.is_hopeless(now, claimed.failing_since):
        return f"Nothing but failures for {backoff.MAX_FAILING_TIME.days} days"
    return None
