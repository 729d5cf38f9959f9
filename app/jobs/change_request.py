"""A requested change of a job: the new field values, and the conditions under which they apply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.jobs.states import Status


@dataclass(frozen=True, slots=True)
class Preconditions:
    """Conditions that the job must meet before it is changed.

    Attributes:
        versions: The accepted versions of the job, from If-Match. None accepts any.
        lease_token: The token of the lease under which the caller works. None claims no lease.
        lease_expired: Whether the lease must have expired, by the clock of the database.
        fixed_fields: JSON values of fields that the change cannot modify. The job must have these
            values already.
    """

    versions: Sequence[int] | None = None
    lease_token: str | None = None
    lease_expired: bool = False
    fixed_fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry:
    """How a failed job returns to pending.

    Attributes:
        delay_seconds: Seconds until the job is due. None makes it due at once.
        counts: Whether the retry takes one of the job's remaining retries.
        resets: Whether retry_count starts from 0 again.
    """

    delay_seconds: float | None = None
    counts: bool = True
    resets: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one job, recorded as one event.

    Attributes:
        action: The action of the event, such as ``updated``.
        fields: The new values by field. Documents and the fields of QUEUE_FIELDS are JSON values.
            `config` comes with `max_concurrent` if it holds maxConcurrent.
        preconditions: The conditions that the job must meet.
        must_change_status: Whether the change is refused if the job already has the new status.
        merges_metadata: Whether metadata is merged into the job's at the top level. If not, it
            replaces the job's.
        retry: How the job returns to pending, if the change makes it pending.
    """

    action: str
    fields: Mapping[str, Any]
    preconditions: Preconditions = Preconditions()
    must_change_status: bool = False
    merges_metadata: bool = True
    retry: Retry = Retry()

    @property
    def status(self) -> Status | None:
        """The requested status, or None if the change requests none."""
        status = self.fields.get("status")
        return None if status is None else Status(status)
