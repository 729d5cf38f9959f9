"""Request schemas of operations on many jobs."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from marshmallow import ValidationError, fields

from app.errors import InvalidInput
from app.http.fields import (
    Id,
    Message,
    StrictSchema,
    WholeNumber,
    about,
    is_id,
    must,
    object_of,
    with_schema,
)
from app.jobs.list_queries import JobFilters
from app.jobs.schemas import MAX_DELAY_SECONDS, FilterSchema, StatusChoices, filters

MAX_JOBS = 1000


class BodyFilterSchema(FilterSchema):
    """The filters of the list, in a JSON object."""

    title = "JobFilter"

    status = StatusChoices(**about("Jobs in one of these statuses."))


class Ids(fields.Field[list[UUID]]):
    """A list of distinct ids."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must(f"be a list of 1 to {MAX_JOBS} UUIDs"),
            **with_schema(
                options, type="array", items=Id().metadata, minItems=1, maxItems=MAX_JOBS
            ),
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[UUID]:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_JOBS:
            raise self.make_error("invalid")
        if not all(isinstance(one, str) and is_id(one) for one in value):
            raise self.make_error("invalid")
        return [UUID(one) for one in dict.fromkeys(text.lower() for text in value)]


class Filter(fields.Nested):
    """Filters of the list, at least one: an empty filter would mean every job."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            BodyFilterSchema(),
            error_messages=must("be an object with at least one filter of the list"),
            **with_schema(options, minProperties=1),
        )

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, partial: Any = None, **kwargs: Any
    ) -> JobFilters:
        if not isinstance(value, dict) or not value:
            raise self.make_error("invalid")
        unknown = {name: ["is no filter"] for name in value if name not in self.schema.fields}
        if unknown:
            raise ValidationError(unknown)
        return filters(self.schema.load(value))


class BulkSchema(StrictSchema):
    """The body of an operation on many jobs: the jobs, by their ids or by a filter."""

    ids = Ids(**about("The jobs, by their ids."))
    filter = Filter(**about("Instead of ids: at least one filter of the list."))
    limit = WholeNumber(
        1, MAX_JOBS, **about(f"With a filter: the most jobs to change. By default {MAX_JOBS}.")
    )

    def parse(self, values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
        """Return the fields, with either ``ids`` or ``filter`` and ``limit``.

        Raises:
            InvalidInput: If a value is invalid, or if both or none of the two are given.
        """
        loaded = super().parse(object_of(values), place)
        if "ids" in loaded and "filter" in loaded:
            raise InvalidInput("Invalid filter: must be absent if ids are given")
        if "ids" in loaded and "limit" in loaded:
            raise InvalidInput("Invalid limit: must be absent if ids are given")
        if "ids" not in loaded and "filter" not in loaded:
            raise InvalidInput("Invalid filter: must be given, or ids")
        loaded.setdefault("limit", MAX_JOBS)
        return loaded


class BulkCancelSchema(BulkSchema):
    """The body of a cancellation of many jobs."""

    title = "CancelJobs"

    reason = Message(load_default="", **about("Becomes a part of error_message."))


class BulkRetrySchema(BulkSchema):
    """The body of a retry of many jobs."""

    title = "RetryJobs"

    delay_seconds = WholeNumber(
        0,
        MAX_DELAY_SECONDS,
        allow_none=True,
        load_default=None,
        **about("Seconds until the jobs are due."),
    )


BULK_CANCEL = BulkCancelSchema()
BULK_RETRY = BulkRetrySchema()
