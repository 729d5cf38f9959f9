"""Outage detection: times in which workers could not extend their leases.

That is so while no process of the API runs, or while its database does not respond. Each process
of the API updates the row of service_pulse every second, by the clock of the database. If two
updates are more than OUTAGE_SECONDS apart, there was an outage between them. The row survives
restarts of the service and of the database.
"""

import logging
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, SmallInteger
from sqlalchemy.dialects.postgresql import TSTZMULTIRANGE
from sqlalchemy.orm import Mapped, mapped_column

from app import database
from app.database import Model, Statement

log = logging.getLogger(__name__)

DETECTION_SECONDS = 1.0
"""Seconds between two updates of a process."""

OUTAGE_SECONDS = 3
"""Seconds without an update after which an outage is recorded."""

RECOVERY = "interval '1 second'"
"""SQL for the time after an outage in which leases that expire still get more time, because workers
have to connect again."""

_OUTAGE = f"interval '{OUTAGE_SECONDS} seconds'"
_SAME_UPDATE = "interval '0.5 seconds'"


class ServicePulse(Model):
    """One row: the time of the service's last update, and the recent outages."""

    __tablename__ = "service_pulse"
    __table_args__ = (CheckConstraint("id = 1", name="service_pulse_one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # The outages that ended less than two hours ago. No lease is longer than that.
    outages: Mapped[Any] = mapped_column(TSTZMULTIRANGE, server_default="{}")


DETECT_OUTAGE = Statement(
    "detect_outage",
    promise="Seen_at is at most half a second old. If it was older than OUTAGE_SECONDS before, the"
    " time between is recorded as an outage, and one row gives its length in seconds."
    " Several processes update the same row: most of their updates write nothing. If the"
    " clock was set back, seen_at follows it.",
    sql=f"""
    WITH updated AS (
        INSERT INTO service_pulse AS p (id, seen_at)
        SELECT 1, clock_timestamp() WHERE NOT EXISTS (
            SELECT FROM service_pulse s
            WHERE s.seen_at BETWEEN clock_timestamp() - {_SAME_UPDATE}
                AND clock_timestamp() + {_SAME_UPDATE})
        ON CONFLICT (id) DO UPDATE SET
            seen_at = excluded.seen_at,
            outages = CASE WHEN excluded.seen_at <= p.seen_at + {_OUTAGE} THEN p.outages ELSE
                coalesce((SELECT range_agg(o.outage) FROM unnest(p.outages) AS o (outage)
                    WHERE upper(o.outage) > excluded.seen_at - interval '2 hours'), '{{}}')
                -- Without the bounds, so that consecutive outages are not merged into a longer one:
                -- its leases would get more time again and again.
                + tstzmultirange(tstzrange(p.seen_at, excluded.seen_at, '()')) END
            WHERE p.seen_at NOT BETWEEN excluded.seen_at - {_SAME_UPDATE}
                AND excluded.seen_at + {_SAME_UPDATE}
        RETURNING p.seen_at, p.outages
    )
    SELECT extract(epoch FROM upper(o.outage) - lower(o.outage))::float8
    FROM updated, unnest(updated.outages) AS o (outage) WHERE upper(o.outage) = updated.seen_at
    """,  # noqa: S608 - of constants
)

# The current outage counts for one day. After that, leases expire by the clock alone.
OUTAGES = f"""
    SELECT lower(o.outage) AS began, upper(o.outage) AS ended FROM service_pulse p, unnest(p.outages
        + CASE WHEN now() - p.seen_at BETWEEN {_OUTAGE} AND interval '1 day'
            THEN tstzmultirange(tstzrange(p.seen_at, now())) ELSE '{{}}' END) AS o (outage)"""  # noqa: S608 - of constants
"""SQL for the recent outages with their start and end, `began` and `ended`, the current one
included."""


def detect_outage() -> None:
    """Record that leases can be extended now, and log the outage that ends with this, if any.

    Raises:
        DatabaseFailure: If the database fails.
    """
    for (seconds,) in database.run(DETECT_OUTAGE, {}):
        log.warning(
            "leases could not be extended for %.0f s: those that expired meanwhile get more time",
            seconds,
        )
