"""What requests may say about webhooks."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from marshmallow import ValidationError, fields

from app import signing
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
    must,
    object_of,
)
from app.jobs.schemas import JOB_TYPE, Domain
from app.jobs.states import Status
from app.targets import fault_of_url
from app.webhooks.bulk import Position
from app.webhooks.delivery_queries import STATUSES
from app.webhooks.headers import fault_of_headers


class Target(fields.Field[str]):
    """A URL that a webhook may have, as far as its text tells."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must("be an http or https URL such as https://example.com/hook"),
            **options,
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        fault = fault_of_url(value)
        if fault is not None:
            raise ValidationError(fault)
        return value


class Secret(fields.Field[str]):
    """A secret of the caller's own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(error_messages=must("be whsec_ and 24 to 64 bytes in base64"), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not signing.is_secret(value):
            raise self.make_error("invalid")
        return value


class Headers(fields.Field[dict[str, str]]):
    """Headers that an endpoint's requests carry."""

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
    """What may be changed of an endpoint."""

    url = Target()
    statuses = ListOf(Choice(*Status), f"of {', '.join(Status)}", allow_none=True)
    job_types = ListOf(Pattern(**JOB_TYPE), "job types", allow_none=True)
    domains = ListOf(Domain(), "host names", allow_none=True)
    active = StrictBoolean()
    description = Message(allow_none=True)
    headers = Headers(allow_none=True)


class NewEndpointSchema(EndpointSchema):
    """A new endpoint."""

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
    """Which failed deliveries to send again."""

    failed_since = Timestamp(required=True)


ReplaySchema: type[StrictSchema] = StrictSchema.from_dict(  # `from` is no name in Python
    {
        "from": Timestamp(required=True),
        "to": Timestamp(required=True),
        "cursor": pagination.Cursor(),
    },
    name="ReplaySchema",
)  # type: ignore[assignment]


class PageSchema(StrictSchema):
    """The query of the list of endpoints."""

    limit = pagination.limit_field()
    cursor = pagination.Cursor()


class DeliveriesSchema(PageSchema):
    """The query of an endpoint's deliveries."""

    status = Choice(*STATUSES)


READ_ONLY = frozenset(
    {
        "id", "secret", "customer_config_id", "disabled_reason", "failing_since", "from_settings",
        "previous_secret_until", "header_names", "created_at", "updated_at",
    }
)  # fmt: skip
"""An endpoint's fields that an update leaves alone, so that a client may send back what it read."""

NEW_ENDPOINT = NewEndpointSchema()
REDELIVER = RedeliverSchema()
REPLAY = ReplaySchema()
PAGE = PageSchema()
DELIVERIES = DeliveriesSchema()

_ENDPOINT = EndpointSchema()


def parse_update(body: Any) -> Mapping[str, Any]:
    """Return what is to be changed of an endpoint, at least one field of it; raises
    InvalidInput."""
    changes = _ENDPOINT.parse(
        {name: value for name, value in object_of(body).items() if name not in READ_ONLY}
    )
    if not changes:
        raise InvalidInput("No updatable fields provided")
    return changes


def replay_cursor(endpoint_id: UUID) -> str:
    """Return the name of the list that the cursors of an endpoint's replays belong to."""
    return f"replay {endpoint_id}"


def parse_replay(endpoint_id: UUID, body: Any) -> tuple[Position, datetime]:
    """Return the position after which a replay begins, and the time before which it ends; raises
    InvalidInput."""
    asked = REPLAY.parse(object_of(body))
    if asked["to"] < asked["from"]:
        raise InvalidInput("Invalid to: must not be before from")
    if "cursor" not in asked:
        return (asked["from"], UUID(int=0), 0), asked["to"]
    at, job_id, seq = pagination.decode(
        asked["cursor"], replay_cursor(endpoint_id), (datetime, UUID, int)
    )
    return (max(at, asked["from"]), job_id, seq), asked["to"]
