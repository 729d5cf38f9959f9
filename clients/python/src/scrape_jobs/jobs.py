"""The objects that the service returns."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

Status = Literal["pending", "running", "completed", "failed", "cancelled"]

FINAL_STATUSES = frozenset({"completed", "failed", "cancelled"})
"""The statuses in which no worker processes the job. A failed job may be retried."""

_TIMES = frozenset(
    {"started_at", "completed_at", "created_at", "updated_at", "scheduled_for", "lease_expires_at"}
)


@dataclass(frozen=True, slots=True)
class Job:
    """A scrape job, as it was when the service answered.

    Attributes:
        etag: The entity tag of this state, for `if_match` and conditional requests. Jobs of a list
            have none.
        lease_token: The token of the lease; only a claim returns it.
        document: The JSON document of the answer, with fields that this version does not know.
    """

    id: str
    domain_id: str
    domain: str
    job_type: str
    status: Status
    priority: int
    retry_count: int
    max_retries: int
    customer_config_id: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error_message: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    scheduled_for: datetime | None = None
    allowed_transitions: tuple[Status, ...] = ()
    lease_expires_at: datetime | None = None
    worker_id: str | None = None
    lease_token: str | None = field(default=None, repr=False)
    etag: str | None = None
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, document: Mapping[str, Any], etag: str | None = None) -> Self:
        """Return the job that a JSON document of the service describes."""
        known = {name: _read(name, document[name]) for name in _FIELDS if name in document}
        return cls(**known, etag=etag, document=document)

    @property
    def is_over(self) -> bool:
        """Whether no worker processes the job any more: it is completed, failed or cancelled."""
        return self.status in FINAL_STATUSES

    @property
    def attempt(self) -> int:
        """The number of the attempt, beginning with 1."""
        return self.retry_count + 1


_FIELDS = tuple(one.name for one in dataclasses.fields(Job) if one.name not in ("etag", "document"))


def _read(name: str, value: Any) -> Any:
    if name in _TIMES:
        return None if value is None else datetime.fromisoformat(value)
    return tuple(value) if name == "allowed_transitions" else value


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a job, from its history.

    Attributes:
        id: The number of the change: 1, 2, 3, …
        actor: The actor: `type` (key, system or anonymous), `id` and `name` of the key.
        changes: The changed fields: `{"field": {"from": …, "to": …}}`.
        document: The JSON document of the answer.
    """

    id: int
    at: datetime
    actor: Mapping[str, Any]
    request_id: str | None
    action: str
    old_status: Status | None
    new_status: Status
    changes: Mapping[str, Any]
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the event that a JSON document of the service describes."""
        names = [one.name for one in dataclasses.fields(cls) if one.name != "document"]
        values = {name: document[name] for name in names}
        values["at"] = datetime.fromisoformat(document["at"])
        return cls(**values, document=document)
