"""The API of the webhooks: endpoints, their secrets, and their deliveries."""

import functools
import json
from collections.abc import Callable
from datetime import datetime
from typing import ParamSpec
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app
from uuid_utils.compat import uuid7

from app.api_keys.scopes import Scope
from app.config import Settings
from app.errors import DeliveryNotFound, InvalidInput, WebhookInactive, WebhookLimitReached
from app.http import pagination, response
from app.http.body import json_body
from app.http.documentation import Body, Success, documented, invalid
from app.http.documented_headers import LOCATION
from app.http.fields import object_of, parse_id
from app.http.operation import operation
from app.http.query import query
from app.idempotency.decorator import once
from app.webhooks import answers, schemas, service
from app.webhooks.settings import WebhookSettings

P = ParamSpec("P")

blueprint = Blueprint("webhooks", __name__, url_prefix="/api/webhooks")
job_blueprint = Blueprint("job_webhooks", __name__, url_prefix="/api/scrape-jobs")

UPDATED_MESSAGE = "Webhook updated successfully"
DELETED_MESSAGE = "Webhook deleted successfully"


def register(app: Flask, settings: WebhookSettings) -> None:
    """Add the webhooks' API to an application."""
    app.extensions["webhooks"] = settings
    app.register_blueprint(blueprint)
    app.register_blueprint(job_blueprint)


def _settings() -> WebhookSettings:
    settings: WebhookSettings = current_app.extensions["webhooks"]
    return settings


def _idempotent(view: Callable[P, Response]) -> Callable[P, Response]:
    """Make a view idempotent; its stored responses are encrypted, because they may hold secrets."""

    @functools.wraps(view)
    def decorated(*args: P.args, **kwargs: P.kwargs) -> Response:
        return once(lambda: view(*args, **kwargs), _settings().vault)

    return decorated


@blueprint.post("")
@operation("Failed to create webhook", Scope.WEBHOOKS_MANAGE)
@documented(
    Success(answers.ENDPOINT_WITH_SECRET, 201, headers=(LOCATION,)),
    body=Body(schemas.NEW_ENDPOINT, {"endpoint": answers.NEW_ENDPOINT}),
    raises=(
        invalid(schemas.NEW_ENDPOINT, "url"),
        WebhookLimitReached(Settings().webhook_limit),
    ),
)
@_idempotent
def create_webhook() -> Response:
    """Create an endpoint; only this response and that of a rotation show its secret."""
    webhook_id, settings = uuid7(), _settings()
    body = object_of(json_body(sanitised=schemas.NEW_ENDPOINT.sanitised))
    fields = schemas.NEW_ENDPOINT.parse(body)
    created = service.create(webhook_id, fields, settings.policy, settings.vault, settings.limit)
    location = f"{blueprint.url_prefix}/{webhook_id}"
    return response.success(created, status=201, headers={"Location": location})


@blueprint.get("")
@operation("Failed to list webhooks", Scope.WEBHOOKS_MANAGE)
@documented(
    Success(answers.ENDPOINT, is_page=True),
    query=schemas.PAGE,
    raises=(pagination.INVALID,),
)
def list_webhooks() -> Response:
    """List the endpoints, oldest first."""
    asked = query(schemas.PAGE)
    after, limit = UUID(int=0), asked["limit"]
    if "cursor" in asked:
        (after,) = pagination.decode(asked["cursor"], "webhooks", (UUID,))
    return pagination.page("webhooks", service.list_endpoints(after, limit + 1), limit)


@blueprint.get("/<id>")
@operation("Failed to fetch webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
@documented(Success(answers.ENDPOINT))
def get_webhook(id: str) -> Response:
    """Show an endpoint."""
    return response.success(service.get(parse_id(id)))


@blueprint.put("/<id>")
@operation("Failed to update webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
@documented(
    Success(answers.ENDPOINT, message=UPDATED_MESSAGE, changes={"active": False}),
    body=Body(schemas.ENDPOINT, {"pause": {"active": False}}, echoes=answers.ENDPOINT_WITH_SECRET),
    raises=(
        InvalidInput("No updatable fields provided"),
        invalid(schemas.ENDPOINT, "active"),
    ),
)
def update_webhook(id: str) -> Response:
    """Change the fields of an endpoint that the request contains."""
    webhook_id, settings = parse_id(id), _settings()
    changes = schemas.parse_update(json_body(sanitised=schemas.NEW_ENDPOINT.sanitised))
    changed = service.update(webhook_id, changes, settings.policy, settings.vault)
    return response.success(changed, message=UPDATED_MESSAGE)


@blueprint.delete("/<id>")
@operation("Failed to delete webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
@documented(Success(None, message=DELETED_MESSAGE))
def delete_webhook(id: str) -> Response:
    """Delete an endpoint with its deliveries."""
    service.delete(parse_id(id))
    return response.success("null", message=DELETED_MESSAGE)


@blueprint.post("/<id>/rotate-secret")
@operation("Failed to rotate webhook secret", Scope.WEBHOOKS_MANAGE, subject="webhook")
@documented(Success(answers.ENDPOINT_WITH_SECRET, changes=answers.ROTATED))
@_idempotent
def rotate_secret(id: str) -> Response:
    """Replace the secret of an endpoint; the previous one stays valid for a day."""
    return response.success(service.rotate_secret(parse_id(id), _settings().vault))


@blueprint.post("/<id>/test")
@operation("Failed to test webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
@documented(
    Success(answers.DELIVERY, 202, changes=answers.TEST_DELIVERY), raises=(WebhookInactive(None),)
)
@_idempotent
def test_webhook(id: str) -> Response:
    """Send an endpoint a test event."""
    return response.success(service.send_test(parse_id(id)), status=202)


@blueprint.get("/<id>/deliveries")
@operation("Failed to list webhook deliveries", Scope.WEBHOOKS_MANAGE, subject="webhook")
@documented(
    Success(answers.DELIVERY, is_page=True),
    query=schemas.DELIVERIES,
    raises=(pagination.INVALID,),
)
def list_deliveries(id: str) -> Response:
    """List the deliveries of an endpoint with their attempts, newest first."""
    webhook_id, asked = parse_id(id), query(schemas.DELIVERIES)
    name, limit, before = f"deliveries {webhook_id}", asked["limit"], None
    if "cursor" in asked:
        before = pagination.decode(asked["cursor"], name, (datetime, UUID))
    found = service.list_deliveries(webhook_id, asked.get("status"), before, limit + 1)
    return pagination.page(name, found.rows, limit, is_cut=found.is_cut)


@job_blueprint.get("/<id>/deliveries")
@operation("Failed to list webhook deliveries", Scope.WEBHOOKS_MANAGE, subject="job")
@documented(Success(answers.DELIVERY, is_list=True))
def list_job_deliveries(id: str) -> Response:
    """List the newest deliveries of a job with their attempts, newest event first."""
    return response.success(f"[{','.join(service.list_job_deliveries(parse_id(id)))}]")


@blueprint.post("/<id>/deliveries/<delivery_id>/redeliver")
@operation("Failed to redeliver webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
@documented(
    Success(answers.DELIVERY, 202, changes=answers.PENDING),
    raises=(DeliveryNotFound(), WebhookInactive(None)),
)
@_idempotent
def redeliver(id: str, delivery_id: str) -> Response:
    """Send a delivery again."""
    webhook_id, delivery = parse_id(id), parse_id(delivery_id, "delivery_id")
    return response.success(service.redeliver(webhook_id, delivery), status=202)


@blueprint.post("/<id>/redeliver")
@operation("Failed to redeliver webhooks", Scope.WEBHOOKS_MANAGE, subject="webhook")
@documented(
    Success(answers.REDELIVERY_PROGRESS, 202),
    body=Body(schemas.REDELIVER, {"since": {"failed_since": "2024-01-01T00:00:00.000Z"}}),
    raises=(WebhookInactive(None),),
)
@_idempotent
def redeliver_failed(id: str) -> Response:
    """Send failed deliveries again, in steps; `remaining` is whether a further call is needed."""
    webhook_id, asked = parse_id(id), schemas.REDELIVER.parse(object_of(json_body()))
    progress = service.redeliver_failed(webhook_id, asked["failed_since"])
    answer = {
        "redelivered": progress.deliveries,
        "remaining": progress.position is not None,
    }
    return response.success(json.dumps(answer), status=202)


@blueprint.post("/<id>/replay")
@operation("Failed to replay webhooks", Scope.WEBHOOKS_MANAGE, subject="webhook")
@documented(
    Success(answers.REPLAY_PROGRESS, 202),
    body=Body(schemas.REPLAY, {"day": answers.REPLAYED_DAY}),
    raises=(InvalidInput("Invalid to: must not be before from"), WebhookInactive(None)),
)
@_idempotent
def replay(id: str) -> Response:
    """Send the status changes of a period again, in steps; the next call takes `next_cursor`."""
    webhook_id = parse_id(id)
    progress = service.replay(webhook_id, *schemas.parse_replay(webhook_id, json_body()))
    name, remaining = schemas.replay_cursor(webhook_id), progress.position is not None
    answer = {
        "replayed": progress.deliveries,
        "remaining": remaining,
        "next_cursor": pagination.encode(name, progress.position) if remaining else None,
    }
    return response.success(json.dumps(answer), status=202)
