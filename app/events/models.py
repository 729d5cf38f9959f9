"""The tables of events and of what is to be told of them."""

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
"""Stands in the outbox for the customer of a job that has none."""

NO_ENDPOINT = uuid.UUID(int=0)
"""Comes before the id of every webhook endpoint."""


class JobEvent(Model):
    """One modification of one job, written by the statement that made it, and never changed.

    There is no foreign key to the job: the record outlives what it is about, and a hot statement is
    spared a lookup.
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
    # The job's version that the modification made: 1, 2, 3, … without gaps.
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # created, updated, cancelled: the operation that was asked for.
    action: Mapped[str] = mapped_column(Text)
    old_status: Mapped[str | None] = mapped_column(Text)
    new_status: Mapped[str] = mapped_column(Text)
    actor_type: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[str | None] = mapped_column(Text)
    actor_name: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    # The network address that the request came from.
    address: Mapped[str | None] = mapped_column(Text)
    # {"field": {"from": …, "to": …}}, documents by their top-level keys ("stats.pagesProcessed").
    changes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    # What follows is null unless the status changed.
    # The whole stats as they were: what a webhook tells and statistics count.
    stats: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # The event by which the job had taken the status that it left with this one; null for the
    # first.
    previous_seq: Mapped[int | None] = mapped_column(BigInteger)
    # What the job stood at then: retries; how long the attempt took that ended, if one did; why it
    # failed, if it did.
    retry_count: Mapped[int | None] = mapped_column(Integer)
    seconds: Mapped[float | None] = mapped_column(Double)
    error_message: Mapped[str | None] = mapped_column(Text)
    # Of the job's event before it, and of all the other columns: who alters a row breaks the chain.
    hash: Mapped[bytes] = mapped_column(LargeBinary, server_default="")


class Outbox(Model):
    """A status change that is not yet turned into webhooks: written with its event, removed with
    the deliveries' birth.

    What is to be done is found here and not by "events after the last seen": numbers and times are
    given before the commit, and commits come in another order.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("outbox_turn", "customer", "created_at"),)

    job_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # The job's customer, for the fan-out takes turns between customers.
    customer: Mapped[uuid.UUID] = mapped_column(Uuid, server_default=text(f"'{NO_CUSTOMER}'"))
    # The deliveries to the endpoints up to this id are made; a change with many endpoints takes
    # several steps.
    served_to: Mapped[uuid.UUID] = mapped_column(Uuid, server_default=text(f"'{NO_ENDPOINT}'"))


class UncountedEvent(Model):
    """A status change that the running totals do not hold yet: written with its event, removed when
    it is counted.

    It is told apart by a row for the same reason as in the outbox.
    """

    __tablename__ = "uncounted_events"

    job_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
