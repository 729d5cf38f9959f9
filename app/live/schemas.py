"""The query parameters of event streams."""

from datetime import UTC, datetime

from app.http.fields import StorableText, StrictSchema, about
from app.jobs.representation import FIELDS
from app.jobs.schemas import FilterSchema, ShownFields
from app.live import positions
from app.live.selection import LISTED_FIELDS

POSITION = positions.encode(datetime(2024, 1, 1, 10, tzinfo=UTC))
"""The position in examples."""


class LastEventId(StorableText):
    """The position to resume at; without it a stream begins now."""

    def __init__(self) -> None:
        super().__init__(
            load_default="",
            **about("As Last-Event-ID, which has priority.", examples=[POSITION]),
        )


class JobStreamSchema(StrictSchema):
    """The query parameters of the stream of one job."""

    shown_fields = ShownFields(load_default=FIELDS)
    last_event_id = LastEventId()


class ListStreamSchema(FilterSchema):
    """The query parameters of the stream of all jobs: those of the list, without its pages."""

    shown_fields = ShownFields(load_default=LISTED_FIELDS)
    last_event_id = LastEventId()


JOB_STREAM = JobStreamSchema()
LIST_STREAM = ListStreamSchema()
