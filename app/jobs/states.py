"""The life cycle of a job: the statuses, and which status may follow which.

    pending ──► running ──► completed
       ▲  │        │ └────► failed ──► cancelled
       │  └► cancelled ◄┘      │
       └──── retry ────────────┘   (while retry_count < max_retries)

Source: the reference's "Valid Status Updates".
"""

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """The status of a job."""

    PENDING = "pending"  # waits for a worker, or for its scheduled time
    RUNNING = "running"  # a worker processes it
    COMPLETED = "completed"  # done; final
    FAILED = "failed"  # an attempt failed; may be retried
    CANCELLED = "cancelled"  # stopped on request; final


TRANSITIONS: Mapping[Status, tuple[Status, ...]] = {
    Status.PENDING: (Status.RUNNING, Status.CANCELLED),
    Status.RUNNING: (Status.COMPLETED, Status.FAILED, Status.CANCELLED),
    Status.COMPLETED: (),
    Status.FAILED: (Status.PENDING, Status.CANCELLED),
    Status.CANCELLED: (),
}
"""The statuses that may follow each status. From failed to pending, a retry must be left."""

FINAL = tuple(status for status, following in TRANSITIONS.items() if not following)
"""The statuses that no other status follows."""

ENDED = (*FINAL, Status.FAILED)
"""The statuses in which the attempt has ended. A change to one of them sets completed_at."""

QUEUEABLE = (
    Status.PENDING,
    *(status for status, following in TRANSITIONS.items() if Status.PENDING in following),
)
"""The statuses in which a job is pending or may become pending again."""


def sources(target: Status) -> tuple[Status, ...]:
    """Return the statuses that `target` may follow."""
    return tuple(status for status, following in TRANSITIONS.items() if target in following)


def retries_left(retry_count: int, max_retries: int) -> bool:
    """Return whether a failed job may become pending again."""
    return retry_count < max_retries


def allowed_transitions(status: Status, retry_count: int, max_retries: int) -> tuple[Status, ...]:
    """Return the statuses that may follow for a job with these values."""
    return tuple(
        target
        for target in TRANSITIONS[status]
        if target is not Status.PENDING or retries_left(retry_count, max_retries)
    )
