"""The forms of the answers about webhooks and of their messages, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields

from app.http.documentation import AnswerSchema
from app.http.fields import Choice, Document, Id, Timestamp, WholeNumber, about
from app.jobs.schemas import JOB_ID
from app.jobs.states import Status
from app.webhooks.delivery_queries import DELIVERY_STATUSES
from app.webhooks.schemas import DELIVERY_ID, WEBHOOK_ID


class MessageAnswer(AnswerSchema):
    """The body of a webhook."""

    title = "WebhookMessage"

    event = Choice("job_status_changed", "webhook_test")
    job_id = Id()
    domain = fields.String()
    old_status = Choice(*Status)
    new_status = Choice(*Status)
    stats = Document()
    timestamp = Timestamp()

    example = {
        "event": "job_status_changed",
        "job_id": JOB_ID,
        "domain": "example.com",
        "old_status": "running",
        "new_status": "completed",
        "stats": {"pagesProcessed": 100, "dataExtracted": {"products": 156}},
        "timestamp": "2024-01-01T12:30:00.000Z",
    }


TEST_MESSAGE = {**MessageAnswer.example, "event": "webhook_test", "stats": {}}


class EndpointAnswer(AnswerSchema):
    """A webhook endpoint."""

    title = "Webhook"

    id = Id()
    url = fields.String(metadata={"format": "uri"})
    statuses = fields.List(
        Choice(*Status), allow_none=True, **about("The new statuses to send; null for all.")
    )
    job_types = fields.List(
        fields.String(), allow_none=True, **about("The job types to send; null for all.")
    )
    domains = fields.List(
        fields.String(), allow_none=True, **about("The domains to send; null for all.")
    )
    description = fields.String(allow_none=True)
    header_names = fields.List(
        fields.String(), allow_none=True, **about("The names of the custom headers.")
    )
    customer_config_id = Id(allow_none=True)
    active = fields.Boolean()
    disabled_reason = fields.String(allow_none=True, **about("Why the service disabled it."))
    failing_since = Timestamp(allow_none=True)
    from_settings = fields.Boolean(**about("Whether the settings name this endpoint."))
    previous_secret_until = Timestamp(
        allow_none=True, **about("Until when the previous secret signs as well.")
    )
    created_at = Timestamp()
    updated_at = Timestamp()

    example = {
        "id": WEBHOOK_ID,
        "url": "https://example.com/hook",
        "statuses": ["completed", "failed"],
        "job_types": None,
        "domains": None,
        "description": "The shop's index",
        "header_names": ["X-Gateway-Key"],
        "customer_config_id": "789e0123-e89b-12d3-a456-426614174000",
        "active": True,
        "disabled_reason": None,
        "failing_since": None,
        "from_settings": False,
        "previous_secret_until": None,
        "created_at": "2024-01-01T09:00:00.000Z",
        "updated_at": "2024-01-01T09:00:00.000Z",
    }


class EndpointWithSecret(EndpointAnswer):
    """A webhook endpoint with its secret, which creation and rotation show."""

    title = "WebhookWithSecret"

    secret = fields.String(**about("Signs the messages. Later answers do not show it."))

    example = {
        **EndpointAnswer.example,
        "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    }


class AttemptAnswer(AnswerSchema):
    """An attempt to deliver a message."""

    title = "DeliveryAttempt"

    at = Timestamp()
    status_code = fields.Integer(allow_none=True)
    duration_ms = fields.Integer()
    answer = fields.String(**about("The beginning of the body."))
    error = fields.String(allow_none=True, **about("Why there is no status code."))


class DeliveryAnswer(AnswerSchema):
    """The delivery of a message to an endpoint."""

    title = "Delivery"

    id = Id(**about("The webhook-id of its requests."))
    webhook_id = Id()
    job_id = Id()
    event_id = WholeNumber(1, 2**63 - 1, **about("The id of the event in the job's history."))
    status = Choice(*DELIVERY_STATUSES)
    body = fields.Nested(MessageAnswer)
    tries = fields.List(fields.Nested(AttemptAnswer))
    next_try_at = Timestamp(allow_none=True)
    created_at = Timestamp()
    finished_at = Timestamp(allow_none=True)

    example = {
        "id": DELIVERY_ID,
        "webhook_id": WEBHOOK_ID,
        "job_id": JOB_ID,
        "event_id": 3,
        "status": "failed",
        "body": MessageAnswer.example,
        "tries": [
            {
                "at": "2024-01-01T12:30:00.100Z",
                "status_code": 503,
                "duration_ms": 12,
                "answer": "Service unavailable",
                "error": None,
            }
        ],
        "next_try_at": None,
        "created_at": "2024-01-01T12:30:00.000Z",
        "finished_at": "2024-01-02T17:45:00.000Z",
    }


class RedeliveryProgress(AnswerSchema):
    """How far a bulk redelivery has come."""

    title = "RedeliveryProgress"

    redelivered = fields.Integer()
    remaining = fields.Boolean(**about("Whether a further call is needed."))

    example = {"redelivered": 1, "remaining": False}


class ReplayProgress(AnswerSchema):
    """How far a replay has come."""

    title = "ReplayProgress"

    replayed = fields.Integer()
    remaining = fields.Boolean(**about("Whether a further call is needed."))
    next_cursor = fields.String(allow_none=True, **about("The cursor of the further call."))

    example = {"replayed": 1, "remaining": False, "next_cursor": None}


MESSAGE = MessageAnswer()
ENDPOINT = EndpointAnswer()
ENDPOINT_WITH_SECRET = EndpointWithSecret()
DELIVERY = DeliveryAnswer()
REDELIVERY_PROGRESS = RedeliveryProgress()
REPLAY_PROGRESS = ReplayProgress()

ROTATED: Mapping[str, Any] = {"previous_secret_until": "2024-01-02T09:00:00.000Z"}
PENDING: Mapping[str, Any] = {
    "status": "pending",
    "next_try_at": "2024-01-01T12:30:00.000Z",
    "finished_at": None,
}
TEST_DELIVERY: Mapping[str, Any] = {**PENDING, "event_id": 1, "body": TEST_MESSAGE, "tries": []}
NEW_ENDPOINT: Mapping[str, Any] = {
    "url": "https://example.com/hook",
    "statuses": ["completed", "failed"],
    "description": "The shop's index",
    "headers": {"X-Gateway-Key": "k-4711"},
}
"""The body that creates an endpoint."""

REPLAYED_DAY: Mapping[str, Any] = {
    "from": "2024-01-01T00:00:00.000Z",
    "to": "2024-01-02T00:00:00.000Z",
}
"""The body that replays a day."""
