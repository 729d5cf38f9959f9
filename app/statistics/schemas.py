"""Schemas of the statistics requests."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from marshmallow import fields

from app.errors import InvalidInput
from app.http.fields import (
    Choice,
    Id,
    Pattern,
    QueryTimestamp,
    StrictSchema,
    about,
    must,
    with_schema,
)
from app.jobs.schemas import JOB_TYPE, Domain
from app.statistics import time_zones
from app.statistics.figures_sql import GROUPS
from app.statistics.time_zones import UNITS


class TimeZone(fields.Field[ZoneInfo]):
    """The name of a time zone in the IANA database."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must("be an IANA time zone such as Europe/Berlin"),
            **with_schema(options, type="string", format="time-zone", examples=["Europe/Berlin"]),
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> ZoneInfo:
        try:
            return time_zones.load(value)
        except ValueError:
            raise self.make_error("invalid") from None


# Made from a dictionary because `from` is a reserved word in Python.
StatisticsSchema: type[StrictSchema] = StrictSchema.from_dict(  # type: ignore[assignment]
    {
        "from": QueryTimestamp(**about("The start of the window; without it, all time before.")),
        "to": QueryTimestamp(
            **about("The end of the window, exclusive.", examples=["2024-01-02T00:00:00.000Z"])
        ),
        "domain": Domain(),
        "job_type": Pattern(**JOB_TYPE, **about("Jobs of this type.", examples=["domain_scrape"])),
        "customer_config_id": Id(),
        "group_by": Choice(*GROUPS, **about("Answer the same figures for each group, too.")),
        "timezone": TimeZone(**about("The zone of hours and days; by default UTC.")),
    },
    name="StatisticsSchema",
)

STATISTICS = StatisticsSchema()


def window(asked: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return the window of a query. Raises InvalidInput if it ends before it starts."""
    start, end = asked.get("from"), asked.get("to")
    if start is not None and end is not None and end < start:
        raise InvalidInput("Invalid to: must not be before from")
    return start, end


def zone(asked: dict[str, Any]) -> ZoneInfo | None:
    """Return the time zone of a query. Raises InvalidInput unless it groups by hour or day."""
    found: ZoneInfo | None = asked.get("timezone")
    if found is not None and asked.get("group_by") not in UNITS:
        raise InvalidInput("Invalid timezone: must come with group_by=hour or group_by=day")
    return found
