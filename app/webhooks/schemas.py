"""The schemas of requests about webhooks."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from marshmallow import ValidationError, fields

from app.errors import InvalidInput
from app.http import pagination
from app.http.fields import (
    Choice,
    ListOf,
    Message,
    Pattern,
    StrictBoolean,
    StrictSchema,
    Timestamp,
    about,
    must,
    object_of,
    with_schema,
)
from app.jobs.schemas import JOB_ID, JOB_TYPE, Domain
from app.jobs.states import Status
from app.webhooks.bulk import EventPosition
from app.webhooks.delivery_queries import DELIVERY_STATUSES
from app.webhooks.headers import MAX_HEADERS, MAX_VALUE_LENGTH, fault_of_headers
from app.webhooks.signing import is_secret
from app.webhooks.targets import MAX_URL_LENGTH, fault_of_url

WEBHOOK_ID = "0190f3a0-0000-7000-8000-0000000000a1"
DELIVERY_ID = "9b2f1c1e-8c1d-5e0a-9a59-5f3c2b7d6e01"
"""The ids of the endpoint and of the delivery in examples."""

_TIME = datetime(2024, 1, 1, 10, tzinfo=UTC)


class Target(fields.Field[str]):
    """The URL of a webhook; only its text is checked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must("be an http or https URL such as https://example.com/hook"),
            **with_schema(options, type="string", format="uri", maxLength=MAX_URL_LENGTH),
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        fault = fault_of_url(value)
        if fault is not None:
            raise ValidationError(fault)
        return value


class Secret(fields.Field[str]):
    """A secret that the caller chose."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must("be whsec_ and 24 to 64 bytes in base64"),
            **with_schema(options, type="string", pattern="^whsec_[A-Za-z0-9+/]{32,88}={0,2}$"),
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not is_secret(value):
            raise self.make_error("invalid")
        return value


class Headers(fields.Field[dict[str, str]]):
    """Custom headers of an endpoint's requests."""

    def __init__(self, **options: Any) -> None:
        value = {"type": "string", "minLength": 1, "maxLength": MAX_VALUE_LENGTH}
        number = {"minProperties": 1, "maxProperties": MAX_HEADERS}
        super().__init__(
            **with_schema(options, type="object", additionalProperties=value, **number)
        )

    def _deserialize(
        self,
        value: Any,
        attr: str | None,
        data: Any,
        **kwargs: Any,
    ) -> dict[str, str]:
        fault = fault_of_headers(value)
        if fault is not None:
            raise ValidationError(fault)
        headers: dict[str, str] = value
        return headers


class EndpointSchema(StrictSchema):
    """The fields of an endpoint that an update may change."""

    title = "UpdateWebhook"

    url = Target()
    statuses = ListOf(Choice(*Status), f"of {', '.join(Status)}", allow_none=True)
    job_types = ListOf(Pattern(**JOB_TYPE), "job types", allow_none=True)
    domains = ListOf(Domain(), "host names", allow_none=True)
    active = StrictBoolean()
    description = Message(allow_none=True)
    headers = Headers(allow_none=True)


class NewEndpointSchema(EndpointSchema):
    """The fields of a new endpoint."""

    title = "NewWebhook"

    url = Target(required=True)
    statuses = ListOf(
        Choice(*Status), f"of {', '.join(Status)}", allow_none=True, load_default=None
    )
    job_types = ListOf(Pattern(**JOB_TYPE), "job types", allow_none=True, load_default=None)
    domains = ListOf(Domain(), "host names", allow_none=True, load_default=None)
    active = StrictBoolean(load_default=True)
    description = Message(allow_none=True, load_default=None)
    headers = Headers(allow_none=True)
    secret = Secret()


class RedeliverSchema(StrictSchema):
    """The body of a redelivery: the time since which the deliveries have failed."""

    failed_since = Timestamp(required=True, **about("Deliveries that have failed since then."))


ReplaySchema: type[StrictSchema] = StrictSchema.from_dict(  # `from` is a keyword of Python
    {
        "from": Timestamp(required=True, **about("Status changes at this time or later.")),
        "to": Timestamp(required=True, **about("Status changes before this time.")),
        "cursor": pagination.Cursor(f"replay {WEBHOOK_ID}", _TIME, JOB_ID, 1),
    },
    name="ReplaySchema",
)  # type: ignore[assignment]


class PageSchema(StrictSchema):
    """The query parameters of the list of endpoints."""

    limit = pagination.limit_field()
    cursor = pagination.Cursor("webhooks", WEBHOOK_ID)


class DeliveriesSchema(PageSchema):
    """The query parameters of the list of deliveries."""

    cursor = pagination.Cursor(f"deliveries {WEBHOOK_ID}", _TIME, DELIVERY_ID)
    status = Choice(*DELIVERY_STATUSES, **about("Deliveries with this status."))


READ_ONLY = frozenset(
    {
        "id", "secret", "customer_config_id", "disabled_reason", "failing_since", "from_settings",
        "previous_secret_until", "header_names", "created_at", "updated_at",
    }
)  # fmt: skip
"""Fields that an update ignores, so that a client may send back an endpoint as it was read."""

NEW_ENDPOINT = NewEndpointSchema()
REDELIVER = RedeliverSchema()
REPLAY = ReplaySchema()
PAGE = PageSchema()
DELIVERIES = DeliveriesSchema()
ENDPOINT = EndpointSchema()


def parse_update(body: Any) -> Mapping[str, Any]:
    """Return the changes of an endpoint, at least one. Raises InvalidInput."""
    changes = ENDPOINT.parse(
        {name: value for name, value in object_of(body).items() if name not in READ_ONLY}
    )
    if not changes:
        raise InvalidInput("No updatable fields provided")
    return changes


def replay_cursor(endpoint_id: UUID) -> str:
    """Return the name of the list to which the cursors of an endpoint's replays belong."""
    return f"replay {endpoint_id}"


def parse_replay(endpoint_id: UUID, body: Any) -> tuple[EventPosition, datetime]:
    """Return the position after which a replay begins, and the time before which it ends.

    Raises:
        InvalidInput: A value is invalid, or the cursor belongs to another list.
    """
    asked = REPLAY.parse(object_of(body))
    if asked["to"] < asked["from"]:
        raise InvalidInput("Invalid to: must not be before from")
    if "cursor" not in asked:
        return (asked["from"], UUID(int=0), 0), asked["to"]
    at, job_id, seq = pagination.decode(
        asked["cursor"], replay_cursor(endpoint_id), (datetime, UUID, int)
    )
    return (max(at, asked["from"]), job_id, seq), asked["to"]
