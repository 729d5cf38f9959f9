"""Outages: when leases could not be extended, because no process of the API ran or its database did
not answer.

Every process of the API writes a beat each second, by the database's clock. Where two beats are
further apart than OUTAGE_SECONDS, an outage lies between them. The row outlives restarts of the
service and of the database.
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

BEAT_SECONDS = 1.0
OUTAGE_SECONDS = 3
RECOVERY = "interval '1 second'"
"""How soon after an outage a lease may run out and still be given a chance: connections have to be
made anew."""

_OUTAGE = f"interval '{OUTAGE_SECONDS} seconds'"


class ServicePulse(Model):
    """One row: the service's last beat, and the outages that leases may still need."""

    __tablename__ = "service_pulse"
    __table_args__ = (CheckConstraint("id = 1", name="service_pulse_one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # Those that ended less than two hours ago, which is longer than any lease.
    outages: Mapped[Any] = mapped_column(TSTZMULTIRANGE, server_default="{}")


BEAT = Statement(
    "beat",
    # Promises: the last beat is at most half a second old, and where it was older than
    # OUTAGE_SECONDS before, the time between is an outage. One row in that case: how many seconds
    # it lasted. Beats of several processes are one: most of them write nothing. A clock that was
    # set back is followed.
    f"""
    WITH beat AS (
        INSERT INTO service_pulse AS p (id, seen_at)
        SELECT 1, clock_timestamp() WHERE NOT EXISTS (
            SELECT FROM service_pulse s WHERE s.seen_at BETWEEN clock_timestamp() - interval '0.5 seconds'
                AND clock_timestamp() + interval '0.5 seconds')
        ON CONFLICT (id) DO UPDATE SET
            seen_at = excluded.seen_at,
            outages = CASE WHEN excluded.seen_at <= p.seen_at + {_OUTAGE} THEN p.outages ELSE
                coalesce((SELECT range_agg(o.outage) FROM unnest(p.outages) AS o (outage)
                    WHERE upper(o.outage) > excluded.seen_at - interval '2 hours'), '{{}}')
                -- Without their bounds, so that outages that follow one another are not merged into a longer one:
                -- its leases would be given a chance again and again.
                + tstzmultirange(tstzrange(p.seen_at, excluded.seen_at, '()')) END
            WHERE p.seen_at NOT BETWEEN excluded.seen_at - interval '0.5 seconds'
                AND excluded.seen_at + interval '0.5 seconds'
        RETURNING p.seen_at, p.outages
    )
    SELECT extract(epoch FROM upper(o.outage) - lower(o.outage))::float8
    FROM beat, unnest(beat.outages) AS o (outage) WHERE upper(o.outage) = beat.seen_at
    """,  # noqa: S608 - of constants
)

OUTAGES = f"""
    SELECT lower(o.outage) AS began, upper(o.outage) AS ended FROM service_pulse p, unnest(p.outages
        -- The one that goes on. After a day without the API leases end by the clock alone.
        + CASE WHEN now() - p.seen_at BETWEEN {_OUTAGE} AND interval '1 day'
            THEN tstzmultirange(tstzrange(p.seen_at, now())) ELSE '{{}}' END) AS o (outage)"""  # noqa: S608 - of constants
"""SQL for the outages, each from when it `began` to when it `ended`."""


def beat() -> None:
    """Note that leases can be extended now, and log an outage that this ends. Raises
    DatabaseFailure."""
    for (seconds,) in database.run(BEAT, {}):
        log.warning(
            "leases could not be extended for %.0f s: those that ran out meanwhile last once more",
            seconds,
        )
