"""The table scrape_jobs."""

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
"""The condition of the partial index of running jobs.

A statement with the same expression uses that index. With a plain ``status = 'running'`` PostgreSQL
would choose the index of all statuses until it has counted the pending jobs.
"""


def pending_in(index: str, status: str = "status") -> str:
    """Return SQL for whether a job is pending, as the partial index ``scrape_jobs_<index>`` has it.

    The expression is unlike that of any other index, so a statement with it uses this index.
    PostgreSQL cannot estimate it and expects many jobs, so it reads the first ones in the index's
    order. With a plain condition PostgreSQL might choose another index, or sort, if no job was
    pending when it collected its statistics.

    Args:
        index: The name of the index without its prefix.
        status: SQL for the job's status.
    """
    return f"CASE {status} || ' in {index}' WHEN 'pending in {index}' THEN true ELSE false END"


DUE = text("greatest(scheduled_for, created_at)")
"""When a pending job becomes due: at its scheduled time, but not before its creation."""

_DOMAIN_LIMIT = text("coalesce(max_concurrent, 0)")
_QUEUE_INDEXES: Mapping[str, tuple[str | TextClause, ...]] = {
    "due": ("priority",),
    "type_due": ("job_type", "priority"),
    "customer_due": ("customer_config_id", "priority"),
    "domain_due": ("domain", "priority", _DOMAIN_LIMIT),
    "domain_type_due": ("domain", "job_type", "priority", _DOMAIN_LIMIT),
}
"""The leading columns of the partial indexes of pending jobs, by the index's name."""


def _quoted(statuses: tuple[Status, ...]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


class ScrapeJob(Model):
    """A scrape job in its current state. Its history is in job_events."""

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
            "jsonb_typeof(config) = 'object' AND jsonb_typeof(metadata) = 'object'"
            " AND jsonb_typeof(stats) = 'object'",
            name="scrape_jobs_documents",
        ),
        CheckConstraint("status = 'running' OR lease_expires_at IS NULL", name="scrape_jobs_lease"),
        CheckConstraint(
            "status = 'pending' OR scheduled_for IS NULL", name="scrape_jobs_scheduled_for"
        ),
        # Every list is ordered by the id last, so that the last row of a page is a unique position.
        Index("scrape_jobs_created", "created_at", "id"),
        Index("scrape_jobs_status_created", "status", "created_at", "id"),
        Index("scrape_jobs_domain_created", "domain", "created_at", "id"),
        Index("scrape_jobs_type_created", "job_type", "created_at", "id"),
        Index("scrape_jobs_customer_created", "customer_config_id", "created_at", "id"),
        Index("scrape_jobs_priority_created", text("(-priority)"), "created_at", "id"),
        Index("scrape_jobs_updated", "updated_at", "id"),
        # Each index has pending jobs by priority, and within a priority in the order in which they
        # become due.
        *(
            Index(
                f"scrape_jobs_{name}", *columns, DUE, "id", postgresql_where=text(pending_in(name))
            )
            for name, columns in _QUEUE_INDEXES.items()
        ),
        # No column that a heartbeat changes: so a heartbeat writes no index.
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
    # config.maxConcurrent: how many jobs of the domain may run when this one starts, including this
    # one.
    max_concurrent: Mapped[int | None] = mapped_column(Integer)
    # SQLAlchemy reserves the attribute `metadata`.
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default="{}")
    stats: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    error_message: Mapped[str | None] = mapped_column(Text)
    # When a pending job becomes due. Null: at once.
    scheduled_for: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    completed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # The worker that holds the job or held it last, and the token of its lease.
    worker_id: Mapped[str | None] = mapped_column(Text)
    lease_token: Mapped[str | None] = mapped_column(Text)
    # By how much a heartbeat extends the lease. Null if the token no longer allows changes.
    lease_seconds: Mapped[int | None] = mapped_column(Integer)
    lease_expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # When the worker was first informed of the job's cancellation.
    cancel_heard_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # Counts the changes, from 1. The ETag, and the seq of the job's last event.
    version: Mapped[int] = mapped_column(BigInteger, server_default="1")
    # The hash of the job's last event, which the hash of the next event covers.
    chain: Mapped[bytes] = mapped_column(LargeBinary, server_default="")
    # The version with which the job got its status.
    status_seq: Mapped[int] = mapped_column(BigInteger, server_default="1")


TAGS = ScrapeJob.metadata_.op("->", return_type=JSONB())("tags")
"""SQL for the tags of a job, as their index has them."""

Index(
    "scrape_jobs_tags",
    TAGS.label("tags"),
    postgresql_using="gin",
    postgresql_ops={"tags": "jsonb_path_ops"},
)
