"""Request schemas of jobs. Fields, and so errors, have the order of the reference."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import uuid_utils.compat
from marshmallow import Schema, ValidationError, fields

from app.errors import InvalidInput
from app.http import pagination
from app.http.fields import (
    Choice,
    Choices,
    Document,
    Id,
    Message,
    Name,
    Pattern,
    QueryNumber,
    QueryTimestamp,
    StorableText,
    StrictSchema,
    Timestamp,
    WholeNumber,
    about,
    must,
    object_of,
    with_schema,
)
from app.jobs.comparisons import QUEUE_FIELDS
from app.jobs.list_queries import ORDERS, JobFilters
from app.jobs.models import MAX_INTEGER, MAX_MAX_RETRIES, MAX_PRIORITY
from app.jobs.representation import FIELDS
from app.jobs.states import Status, allowed_transitions
from app.jobs.watching import Until
from app.text import hosts

JOB_ID = "123e4567-e89b-12d3-a456-426614174000"
"""The id of the job in examples."""

MAX_BATCH = 1000
MAX_WAIT_SECONDS = 20
MAX_DELAY_SECONDS = 365 * 24 * 3600
HOST = {"type": "string", "format": "host", "examples": ["example.com"]}
JOB_TYPE = {
    "pattern": r"[A-Za-z0-9_.:-]{1,64}",
    "phrase": "be 1 to 64 letters, digits, '_', '.', ':' or '-'",
}


class Domain(fields.Field[str]):
    """A host that a browser can open: a name or an address. Returns its normalised form."""

    def __init__(self, **options: Any) -> None:
        rule = "be a host name such as example.com, without scheme, port or path"
        super().__init__(error_messages=must(rule), **with_schema(options, **HOST))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        host = hosts.normalise(value) if isinstance(value, str) else None
        if host is None:
            raise self.make_error("invalid")
        return host


class Config(Document):
    """The config of a job. The service itself reads only maxConcurrent."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> dict[str, Any]:
        config = super()._deserialize(value, attr, data, **kwargs)
        limit = config.get("maxConcurrent")
        if limit is not None and not (type(limit) is int and 1 <= limit <= MAX_INTEGER):
            raise ValidationError({"maxConcurrent": ["must be a positive integer"]})
        return config


class Transitions(fields.Field[list[str]]):
    """A list of the statuses that may follow, as a job can show it."""

    _LISTS = tuple(
        list(allowed_transitions(status, count, 1)) for status in Status for count in (0, 1)
    )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        if value not in self._LISTS:
            raise self.make_error("validator_failed")
        return list(value)


class FixedSchema(Schema):
    """The fields of a job that PUT cannot change, in every notation that the API accepts."""

    id = Id()
    domain_id = Id()
    customer_config_id = Id(allow_none=True)
    domain = Domain()
    job_type = Pattern(**JOB_TYPE)
    priority = WholeNumber(1, MAX_PRIORITY)
    max_retries = WholeNumber(0, MAX_MAX_RETRIES)
    config = Document()
    created_at = Timestamp()
    updated_at = Timestamp()
    scheduled_for = Timestamp(allow_none=True)
    allowed_transitions = Transitions()
    lease_expires_at = Timestamp(allow_none=True)
    worker_id = Name(allow_none=True)

    def shown(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return `values` as the JSON values that a job shows.

        A value that no job can have becomes false.
        """
        impossible = dict.fromkeys(self.validate(values), False)
        possible = self.load(
            {name: value for name, value in values.items() if name not in impossible}
        )
        return {name: _shown(value) for name, value in {**possible, **impossible}.items()}


def _shown(value: Any) -> Any:
    match value:
        case uuid.UUID():
            return str(value)
        case datetime():
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


class UpdateSchema(StrictSchema):
    """The body of PUT: UpdateScrapeJobOptions of the reference."""

    title = "UpdateJob"

    status = Choice(*Status)
    error_message = Message(allow_none=True, **about("Sanitised; null clears it."))
    stats = Document(**about("Replaces the stats."))
    retry_count = WholeNumber(0, MAX_INTEGER, phrase="be a non-negative integer")
    started_at = Timestamp(allow_none=True)
    completed_at = Timestamp(allow_none=True)
    metadata = Document(**about("Merged at the top level."))

    def parse(self, values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
        """Return the fields to update, at least one.

        Raises:
            InvalidInput: If a value is invalid, or no field can be updated.
        """
        updatable = {k: v for k, v in object_of(values).items() if not self._is_fixed(k)}
        loaded = super().parse(updatable, place)
        if not loaded:
            patchable = [name for name in QUEUE_FIELDS if name in values]
            only_patchable = len(patchable) == len(values) > 0
            hints = [f"PATCH changes {', '.join(patchable)}"] if only_patchable else []
            raise InvalidInput("No updatable fields provided", *hints)
        return loaded

    def fixed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of fields that this update cannot change, as the job must show them."""
        fixed = {name: value for name, value in values.items() if self._is_fixed(name)}
        return FIXED.shown(fixed) if fixed else {}

    def _is_fixed(self, name: str) -> bool:
        return name in FIXED.fields and name not in self.fields


class PatchSchema(UpdateSchema):
    """The body of PATCH: the fields of PUT, and the fields that decide when the job is claimed."""

    title = "PatchJob"

    stats = Document(**about("Merged in depth; null removes a key."))
    metadata = Document(**about("Merged in depth; null removes a key."))
    priority = WholeNumber(1, MAX_PRIORITY, **about("Higher comes first."))
    max_retries = WholeNumber(0, MAX_MAX_RETRIES)
    config = Config(**about("Merged in depth; null removes a key."))
    scheduled_for = Timestamp(allow_none=True, **about("When the job becomes due; null for now."))

    def parse(self, values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
        """Return the fields to update, at least one.

        Raises:
            InvalidInput: If a value is invalid, or no field can be updated.
        """
        loaded = super().parse(values, place)
        if "scheduled_for" in loaded:
            loaded["scheduled_for"] = _shown(loaded["scheduled_for"])
        if "maxConcurrent" in loaded.get("config", {}):
            loaded["max_concurrent"] = loaded["config"]["maxConcurrent"]
        return loaded


class CreateSchema(StrictSchema):
    """A new job."""

    title = "NewJob"

    domain = Domain(required=True)
    job_type = Pattern(**JOB_TYPE, load_default="domain_scrape")
    priority = WholeNumber(1, MAX_PRIORITY, load_default=5)
    max_retries = WholeNumber(0, MAX_MAX_RETRIES, load_default=3)
    config = Config(load_default=dict)
    metadata = Document(load_default=dict)
    domain_id = Id(**about("By default the UUIDv5 of the domain in the DNS namespace."))
    customer_config_id = Id(
        allow_none=True, load_default=None, **about("By default the customer of the API key.")
    )
    scheduled_for = Timestamp(
        allow_none=True, load_default=None, **about("When the job becomes due; null for now.")
    )

    def parse(self, values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
        """Return the fields of the new job, with its ids, as JSON values.

        Raises:
            InvalidInput: If a value is invalid.
        """
        job = super().parse(object_of(values, place.rstrip(".") or "body"), place)
        job["id"] = uuid_utils.compat.uuid7()
        job["max_concurrent"] = job["config"].get("maxConcurrent")
        job.setdefault("domain_id", uuid.uuid5(uuid.NAMESPACE_DNS, job["domain"]))
        texts = ("id", "domain_id", "customer_config_id")
        job.update({name: str(job[name]) for name in texts if job[name] is not None})
        if job["scheduled_for"] is not None:
            job["scheduled_for"] = job["scheduled_for"].isoformat()
        return job


class ShowSchema(StrictSchema):
    """The query parameters of a request for one job."""

    wait_seconds = QueryNumber(
        0, MAX_WAIT_SECONDS, load_default=0, **about("How long to wait for the state of `until`.")
    )
    until = Choice(
        *Until,
        load_default=Until.FINAL,
        **about(
            "`final`: the job is completed, failed or cancelled. `change`: it has changed since the"
            " version of If-None-Match, or since the request."
        ),
    )


class CancelSchema(StrictSchema):
    """The query parameters of a cancellation."""

    reason = Message(
        load_default="",
        **about("Becomes a part of error_message.", examples=["User requested cancellation"]),
    )


class FilterSchema(StrictSchema):
    """The query parameters that say which jobs are meant."""

    status = Choices(*Status, **about("Jobs in one of these statuses."))
    domain = Domain()
    job_type = Pattern(**JOB_TYPE, **about("Jobs of this type.", examples=["domain_scrape"]))
    customer_config_id = Id()
    tag = StorableText(**about("Jobs with this text in metadata.tags.", examples=["ecommerce"]))
    created_after = QueryTimestamp(**about("Created at this time or later."))
    created_before = QueryTimestamp(**about("Created before this time."))
    updated_after = QueryTimestamp(**about("Updated at this time or later."))
    updated_before = QueryTimestamp(**about("Updated before this time."))


class StatusChoices(Choices):
    """Statuses in a JSON body: a list, or a string with commas as in a query string."""

    def __init__(self, **options: Any) -> None:
        super().__init__(*Status, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        parts = value if isinstance(value, list) else [value]
        if not parts or not all(isinstance(part, str) for part in parts):
            raise self.make_error("invalid")
        return super()._deserialize(",".join(parts), attr, data, **kwargs)


class ShownFields(Choices):
    """The names of the fields to show of each job, in the parameter ``fields``."""

    def __init__(self, **options: Any) -> None:
        shown = about("Answer with these fields alone.", examples=[["id", "status", "updated_at"]])
        super().__init__(*FIELDS, data_key="fields", **shown, **options)


class ListSchema(FilterSchema):
    """The query parameters of the list of jobs."""

    shown_fields = ShownFields(load_default=FIELDS)
    sort = Choice(*ORDERS, load_default="-created_at", **about("A minus sign: newest first."))
    limit = pagination.limit_field()
    cursor = pagination.Cursor("-created_at", datetime(2024, 1, 1, 10, tzinfo=UTC), JOB_ID)


class HistorySchema(StrictSchema):
    """The query parameters of a job's history."""

    limit = pagination.limit_field()
    cursor = pagination.Cursor(f"history {JOB_ID}", 1)


FIXED = FixedSchema()
UPDATE = UpdateSchema()
PATCH = PatchSchema()
SHOW = ShowSchema()
CREATE = CreateSchema()
CANCEL = CancelSchema()
LIST = ListSchema()
HISTORY = HistorySchema()


def parse_new_jobs(body: Any) -> list[dict[str, Any]]:
    """Return the fields of each new job. The body is one job or an array of jobs.

    Raises:
        InvalidInput: If a value is invalid. In an array, it lists the errors of all jobs with their
            index.
    """
    if not isinstance(body, list):
        return [CREATE.parse(body)]
    if not 1 <= len(body) <= MAX_BATCH:
        raise InvalidInput(f"Invalid body: must hold 1 to {MAX_BATCH} jobs")
    jobs: list[dict[str, Any]] = []
    faults: list[str] = []
    for index, values in enumerate(body):
        try:
            jobs.append(CREATE.parse(values, place=f"[{index}]."))
        except InvalidInput as error:
            faults.extend(error.faults)
    if faults:
        raise InvalidInput(*faults)
    return jobs


def filters(query: Mapping[str, Any]) -> JobFilters:
    """Return the filters among the parsed query parameters of the list."""
    names = JobFilters.__dataclass_fields__
    return JobFilters(**{name: query[name] for name in names if name in query})
