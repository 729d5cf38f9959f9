"""Changes of jobs as streams show them, and the frames of server-sent events.

The format is that of the WHATWG HTML standard, section "Server-sent events". A change covers all
events of one job since its last frame.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

RETRY_MILLISECONDS = 1000
"""After this time a client opens a stream again that has ended."""

HEARTBEAT = b": heartbeat\n\n"
"""A comment: it shows proxies and clients that the stream is alive."""


class ChangedJob(NamedTuple):
    """A changed job: its version, and the constant fields that decide which callers may see it."""

    id: UUID
    version: int
    updated_at: datetime
    customer: UUID | None
    domain: str
    job_type: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class JobChange:
    """A change of a job.

    Attributes:
        job: The job.
        tags: The value of ``metadata.tags``, of any type.
        at: The time of the newest event, as the API shows it.
        action: The action of the newest event.
        old_status: The status before the first event, or None if that created the job.
        new_status: The status after the newest event.
        values: The JSON text of each field of the job that some stream may show.
    """

    job: ChangedJob
    tags: object
    at: str
    action: str
    old_status: str | None
    new_status: str
    values: Mapping[str, str]
    _frames: dict[Sequence[str], bytes] = field(default_factory=dict)

    def frame(self, fields: Sequence[str]) -> bytes:
        """Return the frame, without its id, that shows these fields of the job.

        The text is made once for all streams that show the same fields.
        """
        if fields not in self._frames:
            self._frames[fields] = self._make_frame(fields)
        return self._frames[fields]

    def _make_frame(self, fields: Sequence[str]) -> bytes:
        job = ",".join(f'"{name}":{self.values[name]}' for name in fields)
        facts = {
            "id": str(self.job.id),
            "version": self.job.version,
            "at": self.at,
            "action": self.action,
            "old_status": self.old_status,
            "new_status": self.new_status,
        }
        return f'event: job\ndata: {json.dumps(facts)[:-1]}, "job": {{{job}}}}}\n\n'.encode()


RESUMED = f"retry: {RETRY_MILLISECONDS}\n: resumed\n\n".encode()


def signal_frame(event: str) -> bytes:
    """Return a frame, without its id, that has no data: ``ready`` or ``resync``."""
    return f"retry: {RETRY_MILLISECONDS}\nevent: {event}\ndata: {{}}\n\n".encode()


def with_id(position: str, frame: bytes) -> bytes:
    """Return the frame with its id: where a client resumes that has read the frame."""
    return b"id: " + position.encode() + b"\n" + frame
