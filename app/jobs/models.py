"""The table of jobs."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Text,
    TextClause,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Model
from app.jobs.states import FINAL, Status

MAX_PRIORITY = 10
MAX_MAX_RETRIES = 100
MAX_INTEGER = 2**31 - 1


RUNNING = text("(status = 'running') IS TRUE")
"""What the queue's indexes hold. A statement that says it in these words goes by one of them: with
the words alone that every query has, PostgreSQL takes the index of all statuses for as long as it
has not counted how many jobs wait."""


def pending_in(index: str, status: str = "status") -> str:
    """Return SQL that is true of pending jobs, in words that only the partial index
    ``scrape_jobs_<index>`` has.

    A statement so names its index, and PostgreSQL, which cannot estimate such an expression,
    expects many jobs: it reads the first ones in the index's order. With plain words it may choose
    another index, or sort, where it last counted while none waited.
    """
    return f"CASE {status} || ' in {index}' WHEN 'pending in {index}' THEN true ELSE false END"


DUE = text("greatest(scheduled_for, created_at)")
"""When a pending job becomes due: its time, but never before there was the job."""

_OWN_LIMIT = text("coalesce(max_concurrent, 0)")
_LANES: Mapping[str, tuple[str | TextClause, ...]] = {
    "due": ("priority",),
    "type_due": ("job_type", "priority"),
    "customer_due": ("customer_config_id", "priority"),
    "domain_due": ("domain", "priority", _OWN_LIMIT),
    "domain_type_due": ("domain", "job_type", "priority", _OWN_LIMIT),
}


def _quoted(statuses: tuple[Status, ...]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


class ScrapeJob(Model):
    """A scrape job as it stands now; how it came to that is in job_events."""

    __tablename__ = "scrape_jobs"
    __table_args__ = (
        CheckConstraint(f"status IN ({_quoted(tuple(Status))})", name="scrape_jobs_status"),
        CheckConstraint(
            f"status NOT IN ({_quoted(FINAL)}) OR completed_at IS NOT NULL",
            name="scrape_jobs_final_completed_at",
        ),
        CheckConstraint(f"priority BETWEEN 1 AND {MAX_PRIORITY}", name="scrape_jobs_priority"),
        CheckConstraint("retry_count >= 0", name="scrape_jobs_retry_count"),
        CheckConstraint(
            f"max_retries BETWEEN 0 AND {MAX_MAX_RETRIES}", name="scrape_jobs_max_retries"
        ),
        CheckConstraint(
            "jsonb_typeof(config) = 'object' AND jsonb_typeof(metadata) = 'object' AND jsonb_typeof(stats) = 'object'",
            name="scrape_jobs_documents",
        ),
        CheckConstraint("status = 'running' OR lease_expires_at IS NULL", name="scrape_jobs_lease"),
        CheckConstraint(
            "status = 'pending' OR scheduled_for IS NULL", name="scrape_jobs_scheduled_for"
        ),
        # Every list's order ends with the id, so that a page's last row is one place and no other.
        Index("scrape_jobs_created", "created_at", "id"),
        Index("scrape_jobs_status_created", "status", "created_at", "id"),
        Index("scrape_jobs_domain_created", "domain", "created_at", "id"),
        Index("scrape_jobs_type_created", "job_type", "created_at", "id"),
        Index("scrape_jobs_customer_created", "customer_config_id", "created_at", "id"),
        Index("scrape_jobs_priority_created", text("(-priority)"), "created_at", "id"),
        Index("scrape_jobs_updated", "updated_at", "id"),
        # The queue's lanes: pending jobs of one priority, of all or of one kind, in the order in
        # which they become due.
        *(
            Index(
                f"scrape_jobs_{name}", *columns, DUE, "id", postgresql_where=text(pending_in(name))
            )
            for name, columns in _LANES.items()
        ),
        # Nothing here that a heartbeat changes, which therefore writes no index.
        Index("scrape_jobs_running", "domain", postgresql_where=RUNNING),
        CheckConstraint("max_concurrent >= 1", name="scrape_jobs_max_concurrent"),
        {"postgresql_with": {"fillfactor": 90}},
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    domain_id: Mapped[uuid.UUID] = mapped_column(Uuid)
    customer_config_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    domain: Mapped[str] = mapped_column(Text)
    job_type: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default=Status.PENDING.value)
    priority: Mapped[int] = mapped_column(Integer)
    retry_count: Mapped[int] = mapped_column(Integer, server_default="0")
    max_retries: Mapped[int] = mapped_column(Integer)
    config: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    # config.maxConcurrent: how many jobs of the domain may run when this one starts, itself
    # included.
    max_concurrent: Mapped[int | None] = mapped_column(Integer)
    # `metadata` belongs to SQLAlchemy on a class.
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default="{}")
    stats: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    error_message: Mapped[str | None] = mapped_column(Text)
    # When a pending job becomes due; null: at once.
    scheduled_for: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    completed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Who works on it, and what proves it.
    worker_id: Mapped[str | None] = mapped_column(Text)
    lease_token: Mapped[str | None] = mapped_column(Text)
    # By how much a sign of life extends the lease; null where the token is good for no change any
    # more.
    lease_seconds: Mapped[int | None] = mapped_column(Integer)
    lease_expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # When the worker was first told that the job is cancelled.
    cancel_heard_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # Counts the modifications, from 1: the ETag, and the seq of the event that made it.
    version: Mapped[int] = mapped_column(BigInteger, server_default="1")
    # The hash of its last event, by which the next one is chained to it.
    chain: Mapped[bytes] = mapped_column(LargeBinary, server_default="")
    # The version with which it took its status.
    status_seq: Mapped[int] = mapped_column(BigInteger, server_default="1")


TAGS = ScrapeJob.metadata_.op("->", return_type=JSONB())("tags")
"""A job's tags, as the index has them."""

Index(
    "scrape_jobs_tags",
    TAGS.label("tags"),
    postgresql_using="gin",
    postgresql_ops={"tags": "jsonb_path_ops"},
)
