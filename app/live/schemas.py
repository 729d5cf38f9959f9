"""The query parameters of event streams."""

from app.http.fields import StorableText, StrictSchema
from app.jobs.representation import FIELDS
from app.jobs.schemas import FilterSchema, ShownFields
from app.live.selection import LISTED_FIELDS


class JobStreamSchema(StrictSchema):
    """The query parameters of the stream of one job."""

    shown_fields = ShownFields(load_default=FIELDS)
    last_event_id = StorableText(load_default="")


class ListStreamSchema(FilterSchema):
    """The query parameters of the stream of all jobs: those of the list, without its pages."""

    shown_fields = ShownFields(load_default=LISTED_FIELDS)
    last_event_id = StorableText(load_default="")


JOB_STREAM = JobStreamSchema()
LIST_STREAM = ListStreamSchema()
