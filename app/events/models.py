"""The tables of events, of the outbox, and of status changes that are not counted yet."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Model

NO_CUSTOMER = uuid.UUID(int=0)
"""The customer in the outbox for a job that belongs to no customer."""

NO_ENDPOINT = uuid.UUID(int=0)
"""An id that sorts before the id of every webhook endpoint."""


class JobEvent(Model):
    """One change of one job, inserted by the statement that makes the change and never updated.

    There is no foreign key to the job: the event outlives the job, and frequent statements need no
    lookup for it.
    """

    __tablename__ = "job_events"
    __table_args__ = (
        CheckConstraint(
            "actor_type IN ('key', 'system', 'anonymous')", name="job_events_actor_type"
        ),
        CheckConstraint("jsonb_typeof(changes) = 'object'", name="job_events_changes_object"),
        Index("job_events_status_changes", "at", postgresql_where=text("stats IS NOT NULL")),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    # The job's version after the change: 1, 2, 3, … without gaps.
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # The requested operation, such as created, updated or cancelled.
    action: Mapped[str] = mapped_column(Text)
    old_status: Mapped[str | None] = mapped_column(Text)
    new_status: Mapped[str] = mapped_column(Text)
    actor_type: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[str | None] = mapped_column(Text)
    actor_name: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    # The network address of the request.
    address: Mapped[str | None] = mapped_column(Text)
    # {"field": {"from": …, "to": …}}, documents by their top-level keys ("stats.pagesProcessed").
    changes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    # The columns from here on, except the hash, are null unless the status changed.
    # The stats after the change, for webhooks and statistics.
    stats: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # The seq of the event with which the job got its old status. Null for the first event.
    previous_seq: Mapped[int | None] = mapped_column(BigInteger)
    # The job's retry_count after the change; the duration of the attempt, if one ended; the error
    # message, if the job failed.
    retry_count: Mapped[int | None] = mapped_column(Integer)
    seconds: Mapped[float | None] = mapped_column(Double)
    error_message: Mapped[str | None] = mapped_column(Text)
    # Covers the hash of the previous event and all other columns: altering a row breaks the chain.
    hash: Mapped[bytes] = mapped_column(LargeBinary, server_default="")


class Outbox(Model):
    """A status change whose webhook deliveries are pending creation.

    The row is inserted with its event and deleted when the deliveries are stored. The fan-out reads
    this table instead of "events after the last one": numbers and times are assigned before the
    commit, and transactions commit in another order.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("outbox_turn", "customer", "created_at"),)

    job_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # The job's customer. The fan-out alternates between customers.
    customer: Mapped[uuid.UUID] = mapped_column(Uuid, server_default=text(f"'{NO_CUSTOMER}'"))
    # The deliveries to the endpoints up to this id are stored. A status change with many endpoints
    # takes several steps.
    served_to: Mapped[uuid.UUID] = mapped_column(Uuid, server_default=text(f"'{NO_ENDPOINT}'"))


class UncountedEvent(Model):
    """A status change that is not in the running totals yet.

    The row is inserted with its event and deleted when the event is counted. It exists for the same
    reason as a row of the outbox.
    """

    __tablename__ = "uncounted_events"

    job_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
