"""The webhooks' endpoints."""

import json
from datetime import datetime
from uuid import UUID

from flask import Blueprint, Response
from uuid_utils.compat import uuid7

from app.api_keys.scopes import Scope
from app.http import pagination, response
from app.http.body import json_body
from app.http.fields import object_of, parse_id
from app.http.operation import operation
from app.http.query import query
from app.idempotency.decorator import idempotent
from app.targets import Policy
from app.vault import Vault
from app.webhooks import schemas, service


def blueprint(policy: Policy, vault: Vault, limit: int) -> Blueprint:
    """Return the endpoints of a service that allows targets by `policy` and keeps secrets in
    `vault`.

    A customer may have `limit` webhooks.
    """
    routes = Blueprint("webhooks", __name__, url_prefix="/api/webhooks")

    @routes.post("")
    @operation("Failed to create webhook", Scope.WEBHOOKS_MANAGE)
    @idempotent(vault)
    def create_webhook() -> Response:
        """Make an endpoint; the answer shows its secret, once."""
        webhook_id = uuid7()
        body = object_of(json_body(sanitised=schemas.NEW_ENDPOINT.sanitised))
        created = service.create(webhook_id, schemas.NEW_ENDPOINT.parse(body), policy, vault, limit)
        return response.success(
            created, status=201, headers={"Location": f"{routes.url_prefix}/{webhook_id}"}
        )

    @routes.get("")
    @operation("Failed to list webhooks", Scope.WEBHOOKS_MANAGE)
    def list_webhooks() -> Response:
        """List the endpoints, oldest first."""
        asked = query(schemas.PAGE)
        (after,) = (
            pagination.decode(asked["cursor"], "webhooks", (UUID,))
            if "cursor" in asked
            else (UUID(int=0),)
        )
        return pagination.page("webhooks", service.page(after, asked["limit"] + 1), asked["limit"])

    @routes.get("/<id>")
    @operation("Failed to fetch webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
    def get_webhook(id: str) -> Response:
        """Show an endpoint."""
        return response.success(service.get(parse_id(id)))

    @routes.put("/<id>")
    @operation("Failed to update webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
    def update_webhook(id: str) -> Response:
        """Change an endpoint: what is absent stays."""
        webhook_id, body = parse_id(id), json_body(sanitised=schemas.NEW_ENDPOINT.sanitised)
        changed = service.update(webhook_id, schemas.parse_update(body), policy, vault)
        return response.success(changed, message="Webhook updated successfully")

    @routes.delete("/<id>")
    @operation("Failed to delete webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
    def delete_webhook(id: str) -> Response:
        """Remove an endpoint, with what it is owed."""
        service.delete(parse_id(id))
        return response.success("null", message="Webhook deleted successfully")

    @routes.post("/<id>/rotate-secret")
    @operation("Failed to rotate webhook secret", Scope.WEBHOOKS_MANAGE, subject="webhook")
    @idempotent(vault)
    def rotate_secret(id: str) -> Response:
        """Give an endpoint a new secret, which the answer shows, once; the old one is valid for
        another day."""
        return response.success(service.rotate_secret(parse_id(id), vault))

    @routes.post("/<id>/test")
    @operation("Failed to test webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
    @idempotent(vault)
    def test_webhook(id: str) -> Response:
        """Send an endpoint a test event."""
        return response.success(service.test(parse_id(id)), status=202)

    @routes.get("/<id>/deliveries")
    @operation("Failed to list webhook deliveries", Scope.WEBHOOKS_MANAGE, subject="webhook")
    def list_deliveries(id: str) -> Response:
        """List what an endpoint was sent and is owed, newest first, each with its tries."""
        webhook_id, asked = parse_id(id), query(schemas.DELIVERIES)
        name, limit = f"deliveries {webhook_id}", asked["limit"]
        before = (
            pagination.decode(asked["cursor"], name, (datetime, UUID))
            if "cursor" in asked
            else None
        )
        found = service.deliveries(webhook_id, asked.get("status"), before, limit + 1)
        return pagination.page(name, found.rows, limit, is_cut=found.is_cut)

    @routes.post("/<id>/deliveries/<delivery_id>/redeliver")
    @operation("Failed to redeliver webhook", Scope.WEBHOOKS_MANAGE, subject="webhook")
    @idempotent(vault)
    def redeliver(id: str, delivery_id: str) -> Response:
        """Send a delivery again."""
        return response.success(
            service.redeliver(parse_id(id), parse_id(delivery_id, "delivery_id")), status=202
        )

    @routes.post("/<id>/redeliver")
    @operation("Failed to redeliver webhooks", Scope.WEBHOOKS_MANAGE, subject="webhook")
    @idempotent(vault)
    def redeliver_failed(id: str) -> Response:
        """Send what was given up since a time again, in steps; `remaining` says whether to call
        once more."""
        webhook_id, asked = parse_id(id), schemas.REDELIVER.parse(object_of(json_body()))
        done = service.redeliver_failed(webhook_id, asked["failed_since"])
        answer = {"redelivered": done.deliveries, "remaining": done.position is not None}
        return response.success(json.dumps(answer), status=202)

    @routes.post("/<id>/replay")
    @operation("Failed to replay webhooks", Scope.WEBHOOKS_MANAGE, subject="webhook")
    @idempotent(vault)
    def replay(id: str) -> Response:
        """Send the status changes of a period again, in steps; `next_cursor` says where the next
        call goes on."""
        webhook_id = parse_id(id)
        done = service.replay(webhook_id, *schemas.parse_replay(webhook_id, json_body()))
        name, remaining = schemas.replay_cursor(webhook_id), done.position is not None
        cursor = pagination.encode(name, done.position) if remaining else None
        answer = {"replayed": done.deliveries, "remaining": remaining, "next_cursor": cursor}
        return response.success(json.dumps(answer), status=202)

    return routes
