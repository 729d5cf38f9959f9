"""The tables of the webhooks."""

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
    """Somebody who wants to be told."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index("webhook_endpoints_customer", "customer_config_id"),)

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    # Which new statuses, job types and domains it wants; null: all.
    statuses: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    job_types: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    domains: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    # Whose jobs it is told of; null: everybody's.
    customer_config_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    description: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(Boolean)
    # Why the service itself took `active` away.
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    # Since when every try has failed; null after a success.
    failing_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Sealed by the vault; the previous one is valid beside it until its time is over.
    secret: Mapped[str] = mapped_column(Text)
    previous_secret: Mapped[str | None] = mapped_column(Text)
    previous_secret_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # What its requests carry beside the service's own headers: a JSON object, sealed by the vault;
    # and the names in it.
    headers: Mapped[str | None] = mapped_column(Text)
    header_names: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    # Made of the settings, and withdrawn with them.
    from_settings: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class WebhookDelivery(Model):
    """What one endpoint is owed of one event: the very bytes, and how the tries went."""

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
    # The webhook-id: the same for every try.
    id: Mapped[uuid.UUID] = mapped_column(Uuid)
    body: Mapped[str] = mapped_column(Text)
    # pending: owed; delivered: a 2xx came; failed: given up.
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    # Failed tries since it was last asked for, which set the pace of the next.
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    # When it is due. A claim puts this off, so that what a dead dispatcher held becomes due again
    # by itself. One that waits for an earlier one of its job is put off, too, and due when that one
    # ends (see dispatch_queries.RESUME).
    next_try_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # Proves to whom the try under way belongs.
    claim: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    # [{"at", "status_code", "duration_ms", "answer", "error"}], oldest first.
    tries: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
