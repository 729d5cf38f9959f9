"""The life of a job, as pure rules: which status may follow which.

    pending ──► running ──► completed
       ▲  │        │ └────► failed ──► cancelled
       │  └► cancelled ◄┘      │
       └──── retry ────────────┘   (while retry_count < max_retries)

Source: the reference's "Valid Status Updates".
"""

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """Where a job stands."""

    PENDING = "pending"  # waits for a worker, or for its time
    RUNNING = "running"  # a worker is at it
    COMPLETED = "completed"  # done; final
    FAILED = "failed"  # an attempt went wrong; may be retried
    CANCELLED = "cancelled"  # nobody wants it any more; final


TRANSITIONS: Mapping[Status, tuple[Status, ...]] = {
    Status.PENDING: (Status.RUNNING, Status.CANCELLED),
    Status.RUNNING: (Status.COMPLETED, Status.FAILED, Status.CANCELLED),
    Status.COMPLETED: (),
    Status.FAILED: (Status.PENDING, Status.CANCELLED),
    Status.CANCELLED: (),
}
"""From each status, the ones that may follow; failed → pending needs a retry that is left."""

FINAL = tuple(status for status, following in TRANSITIONS.items() if not following)
"""The statuses that nothing follows."""

ENDED = (*FINAL, Status.FAILED)
"""The statuses in which the attempt is over, so that entering one sets completed_at."""

QUEUEABLE = (
    Status.PENDING,
    *(status for status, following in TRANSITIONS.items() if Status.PENDING in following),
)
"""The statuses in which a job waits for a worker, or may come to wait again."""


def sources(target: Status) -> tuple[Status, ...]:
    """Return the statuses from which `target` may be entered."""
    return tuple(status for status, following in TRANSITIONS.items() if target in following)


def retries_left(retry_count: int, max_retries: int) -> bool:
    """Tell whether a failed job may go back to pending."""
    return retry_count < max_retries


def allowed_transitions(status: Status, retry_count: int, max_retries: int) -> tuple[Status, ...]:
    """Return the statuses that a job standing so may take next."""
    return tuple(
        target
        for target in TRANSITIONS[status]
        if target is not Status.PENDING or retries_left(retry_count, max_retries)
    )
