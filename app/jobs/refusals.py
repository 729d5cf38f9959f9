"""Which exception tells a caller that a change of a job was refused."""

from collections.abc import Sequence

from app.errors import (
    DocumentTooLarge,
    InvalidInput,
    LeaseLost,
    ScrapeJobError,
    TransitionRefused,
    VersionMismatch,
)
from app.jobs.comparisons import COMPARED_FIELDS, QUEUE_FIELDS
from app.jobs.queries import MAX_DOCUMENT, Outcome
from app.jobs.states import QUEUEABLE, Status

_WHILE_QUEUEABLE = f"while the job is {' or '.join(QUEUEABLE)}"


def refused(refusal: str, outcome: Outcome, wanted: str) -> ScrapeJobError:
    """Return the exception for the `refusal` of a change after which the job was to have the status
    `wanted`."""
    kind, *names = refusal.split()
    match kind:
        case "version":
            return VersionMismatch()
        case "lease":
            return LeaseLost()
        case "transition":
            return TransitionRefused(outcome.status, wanted)
        case "retries":
            return TransitionRefused(
                outcome.status, Status.PENDING, retries=(outcome.retry_count, outcome.max_retries)
            )
        case "fixed":
            patched = [name for name in QUEUE_FIELDS if name in names]
            hint = [f"PATCH changes {', '.join(patched)} {_WHILE_QUEUEABLE}"] if patched else []
            return InvalidInput(*_faults(names, "cannot be changed by an update"), *hint)
        case "queue":
            return InvalidInput(*_faults(names, f"can only be changed {_WHILE_QUEUEABLE}"))
        case "completed_at":
            return InvalidInput(f"Invalid completed_at: must not be null on a {wanted} job")
        case "scheduled_for":
            hint = (
                ["It schedules a retry together with the status pending"]
                if wanted == Status.FAILED
                else []
            )
            return InvalidInput(f"Invalid scheduled_for: must be null on a {wanted} job", *hint)
        case document:
            return DocumentTooLarge(document, MAX_DOCUMENT)


def _faults(names: Sequence[str], text: str) -> list[str]:
    return [f"Invalid {name}: {text}" for name in COMPARED_FIELDS if name in names]
