"""Repetition of requests after failures that may pass: full jitter and Retry-After.

Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from scrape_jobs.transport import Answer, NoAnswer

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

KEY_IN_USE = b"Idempotency-Key is in use"
"""The error of a repeated POST whose first request is still running."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request is repeated.

    Attributes:
        attempts: Maximum number of attempts, the first included. 1 turns repetition off.
        base_seconds: The upper bound of the first pause; it doubles with each further pause.
        max_seconds: The upper bound of every pause that the client chooses.
        max_retry_after: The longest Retry-After in seconds that the client obeys. After a longer
            one it gives up.
    """

    attempts: int = 6
    base_seconds: float = 0.2
    max_seconds: float = 10.0
    max_retry_after: float = 60.0

    def pause(self, attempt: int) -> float:
        """Return a random pause in seconds after the given attempt, beginning with 1."""
        bound = min(self.max_seconds, self.base_seconds * 2 ** (attempt - 1))
        return random.uniform(0, bound)  # noqa: S311 - jitter, no secret


NO_RETRY = RetryPolicy(attempts=1)


def send_with_retries(
    send: Callable[[], Answer],
    policy: RetryPolicy,
    *,
    deadline: float | None = None,
) -> tuple[Answer, int]:
    """Send a request until it gets a lasting answer.

    Args:
        send: Sends the request once. Raises NoAnswer.
        policy: When it is repeated.
        deadline: The time of `time.monotonic` after which no attempt begins.

    Returns:
        The last answer, and the number of attempts that were made.

    Raises:
        NoAnswer: The last attempt got no answer.
    """
    attempt = 0
    while True:
        attempt += 1
        answer: Answer | None = None
        failure: NoAnswer | None = None
        try:
            answer = send()
        except NoAnswer as error:
            failure = error
        pause = policy.pause(attempt)
        if answer is not None:
            requested = retry_after(answer)
            if not _may_pass(answer) or (requested or 0) > policy.max_retry_after:
                return answer, attempt
            # The jitter keeps clients from returning all at the same moment.
            pause += requested or 0
        is_last = attempt >= policy.attempts or (
            deadline is not None and time.monotonic() + pause >= deadline
        )
        if is_last:
            if answer is None:
                assert failure is not None
                raise failure
            return answer, attempt
        time.sleep(pause)


def retry_after(answer: Answer) -> float | None:
    """Return the Retry-After of an answer in seconds, or None if it has none.

    Source: RFC 9110, section 10.2.3 (seconds or a date).
    """
    text = answer.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _may_pass(answer: Answer) -> bool:
    return answer.status in RETRIED_STATUSES or (answer.status == 409 and KEY_IN_USE in answer.body)
