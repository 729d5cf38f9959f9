"""The tables of webhook endpoints and deliveries."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Index,
    Integer,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Model


class WebhookEndpoint(Model):
    """A receiver's URL, with filters for the status changes that are sent to it."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index("webhook_endpoints_customer", "customer_config_id"),)

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    # Filters: the new statuses, job types and domains; null matches all.
    statuses: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    job_types: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    domains: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    # The customer whose jobs it receives; null: all customers.
    customer_config_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    description: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(Boolean)
    # The reason, if the service itself made the endpoint inactive.
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    # The time since which all attempts have failed; null after a success.
    failing_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Sealed by the vault. Until previous_secret_until, messages are signed with both secrets.
    secret: Mapped[str] = mapped_column(Text)
    previous_secret: Mapped[str | None] = mapped_column(Text)
    previous_secret_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Custom headers of its requests: a JSON object, sealed by the vault. The API shows the names.
    headers: Mapped[str | None] = mapped_column(Text)
    header_names: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    # Created from the settings; inactive once it is no longer in the settings.
    from_settings: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class WebhookDelivery(Model):
    """The message about one event to one endpoint, with its exact body and its attempts."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(
            "status IN ('pending', 'delivered', 'failed')", name="webhook_deliveries_status"
        ),
        CheckConstraint("jsonb_typeof(tries) = 'array'", name="webhook_deliveries_tries_array"),
        Index(
            "webhook_deliveries_due",
            "endpoint_id",
            "next_try_at",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "webhook_deliveries_order",
            "endpoint_id",
            "job_id",
            "seq",
            postgresql_where=text("status = 'pending'"),
        ),
        Index("webhook_deliveries_listed", "endpoint_id", "status", "created_at", "id"),
        Index(
            "webhook_deliveries_failed",
            "endpoint_id",
            "finished_at",
            postgresql_where=text("status = 'failed'"),
        ),
        Index("webhook_deliveries_id", "id"),
        {"postgresql_with": {"fillfactor": 80}},
    )

    job_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    endpoint_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    # The webhook-id: the same for every attempt.
    id: Mapped[uuid.UUID] = mapped_column(Uuid)
    body: Mapped[str] = mapped_column(Text)
    # See delivery_queries.DELIVERY_STATUSES.
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    # Failed attempts since the creation or the last redelivery; the backoff depends on them.
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    # The time at which it is due. A claim sets this to the end of its lease, so that the deliveries
    # of a killed dispatcher become due again. A delivery that waits for an earlier one of its job
    # is postponed, and due when that one ends (see dispatch_queries.RESUME).
    next_try_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # The id of the dispatcher's claim while an attempt may be in progress.
    claim: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    # The attempts: [{"at", "status_code", "duration_ms", "answer", "error"}], oldest first.
    tries: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
