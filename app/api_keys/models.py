"""The table of API keys."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.api_keys.scopes import Scope
from app.database import Model


class ApiKey(Model):
    """An API key, without its secret."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint(
            f"scopes <@ ARRAY[{', '.join(repr(str(scope)) for scope in Scope)}]",
            name="api_keys_scopes",
        ),
        CheckConstraint("octet_length(digest) = 32", name="api_keys_digest"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    # SHA-256 of the secret.
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    # The customer that the key is bound to; null: all customers.
    customer_config_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # The key is invalid from this time on. A rotation sets a time in the future.
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Accurate to a minute, so that a key in constant use does not update its row constantly.
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
