"""What requests may ask of the statistics."""

from datetime import datetime
from typing import Any

from app.errors import InvalidInput
from app.http.fields import Choice, Id, QueryTimestamp, StrictSchema, Word
from app.jobs.schemas import JOB_TYPE, Domain
from app.statistics.queries import GROUPS

StatisticsSchema: type[StrictSchema] = StrictSchema.from_dict(  # `from` is no name in Python
    {
        "from": QueryTimestamp(),
        "to": QueryTimestamp(),
        "domain": Domain(),
        "job_type": Word(**JOB_TYPE),
        "customer_config_id": Id(),
        "group_by": Choice(*GROUPS),
    },
    name="StatisticsSchema",
)  # type: ignore[assignment]

STATISTICS = StatisticsSchema()


def window(asked: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return the window that a query names; raises InvalidInput where it ends before it begins."""
    start, end = asked.get("from"), asked.get("to")
    if start is not None and end is not None and end < start:
        raise InvalidInput("Invalid to: must not be before from")
    return start, end
