"""The reasons for which a change of a job is refused, and their exceptions.

The function change_job_1 checks a change under the row's lock and names the first reason that
applies. A test compares its reasons with `Refusal`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.errors import (
    DocumentTooLarge,
    InvalidInput,
    LeaseLost,
    ScrapeJobError,
    TransitionRefused,
    VersionMismatch,
)
from app.jobs.comparisons import COMPARED_FIELDS, QUEUE_FIELDS
from app.jobs.documents import MAX_DOCUMENT_BYTES
from app.jobs.states import QUEUEABLE, Status


class Refusal(StrEnum):
    """Why the database refused a change, in the order in which it checks."""

    LEASE = "lease"  # the job is not leased under the given token, or its lease has not expired
    VERSION = "version"  # the job has another version than If-Match accepts
    TRANSITION = "transition"  # the new status cannot follow the job's status
    RETRIES = "retries"  # no retries are left
    FIXED_FIELDS = "fixed_fields"  # the change cannot modify these fields
    QUEUE_FIELDS = "queue_fields"  # these fields can change only while the job is queueable
    COMPLETED_AT = "completed_at"  # a final job must have completed_at
    SCHEDULED_FOR = "scheduled_for"  # only a pending job can have scheduled_for
    STATS = "stats"  # the document is too large
    METADATA = "metadata"  # the document is too large
    CONFIG = "config"  # the document is too large


REFUSALS_WITH_STATUS = (Refusal.TRANSITION, Refusal.COMPLETED_AT)
"""The refusals whose error text names the job's status: a worker learns of a cancellation by
them."""

_WHILE_QUEUEABLE = f"while the job is {' or '.join(QUEUEABLE)}"


@dataclass(frozen=True, slots=True)
class RefusedChange:
    """A change that the database refused. The job is as it was.

    Attributes:
        refusal: The reason.
        fields: The names of the fields that FIXED_FIELDS and QUEUE_FIELDS are about.
        status: The job's status.
        new_status: The status that the job would have after the change.
        retry_count: The job's retry_count.
        max_retries: The max_retries that the job would have after the change.
    """

    refusal: Refusal
    fields: Sequence[str]
    status: Status
    new_status: Status
    retry_count: int
    max_retries: int

    def exception(self) -> ScrapeJobError:
        """Return the exception to raise for the refusal."""
        match self.refusal:
            case Refusal.LEASE:
                return LeaseLost()
            case Refusal.VERSION:
                return VersionMismatch()
            case Refusal.TRANSITION:
                return TransitionRefused(self.status, self.new_status)
            case Refusal.RETRIES:
                retries = (self.retry_count, self.max_retries)
                return TransitionRefused(self.status, Status.PENDING, retries)
            case Refusal.FIXED_FIELDS:
                return self._fixed_fields()
            case Refusal.QUEUE_FIELDS:
                text = f"can only be changed {_WHILE_QUEUEABLE}"
                return InvalidInput(*self._field_errors(text))
            case Refusal.COMPLETED_AT:
                text = f"must not be null on a {self.new_status} job"
                return InvalidInput(f"Invalid completed_at: {text}")
            case Refusal.SCHEDULED_FOR:
                return self._scheduled_for()
            case Refusal.STATS | Refusal.METADATA | Refusal.CONFIG:
                return DocumentTooLarge(self.refusal, MAX_DOCUMENT_BYTES)

    def _fixed_fields(self) -> InvalidInput:
        patchable = [name for name in QUEUE_FIELDS if name in self.fields]
        hints = [f"PATCH changes {', '.join(patchable)} {_WHILE_QUEUEABLE}"] if patchable else []
        return InvalidInput(*self._field_errors("cannot be changed by an update"), *hints)

    def _scheduled_for(self) -> InvalidInput:
        text = f"Invalid scheduled_for: must be null on a {self.new_status} job"
        if self.new_status != Status.FAILED:
            return InvalidInput(text)
        return InvalidInput(text, "It schedules a retry together with the status pending")

    def _field_errors(self, text: str) -> list[str]:
        return [f"Invalid {name}: {text}" for name in COMPARED_FIELDS if name in self.fields]
