"""The webhooks of the OpenAPI document: the requests that the service itself sends."""

from collections.abc import Mapping
from typing import Any

from app.http.response import JSON
from app.webhooks.answers import MESSAGE, TEST_MESSAGE
from app.webhooks.schemas import DELIVERY_ID

_HEADERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "webhook-id": (
        "The id of the delivery, the same for each attempt: ignore one that you know already.",
        {"type": "string", "format": "uuid", "examples": [DELIVERY_ID]},
    ),
    "webhook-timestamp": (
        "The time of the attempt, in seconds since 1970.",
        {"type": "integer", "examples": [1704112200]},
    ),
    "webhook-signature": (
        "`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`; two, separated by a space, while"
        " the secret is rotated. See https://www.standardwebhooks.com.",
        {"type": "string", "examples": ["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="]},
    ),
}

_RESPONSES = {
    "2XX": {"description": "Within 10 seconds: delivered."},
    "410": {"description": "Disables the endpoint; its deliveries wait."},
    "default": {
        "description": (
            "Anything else, redirects too: sent again after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and"
            " 10 h, and not before a `Retry-After` of up to an hour."
        )
    },
}


def messages() -> dict[str, Any]:
    """Return the webhooks. The form of their body is a component that the deliveries add."""
    return {
        "jobStatusChanged": _message(
            "The status of a job has changed",
            "Sent at least once, in order per job, to each endpoint that wants the change.",
            MESSAGE.example,
        ),
        "webhookTest": _message(
            "A test of an endpoint",
            "`POST /api/webhooks/{id}/test` sends it. Its job does not exist.",
            TEST_MESSAGE,
        ),
    }


def _message(summary: str, description: str, example: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{MESSAGE.title}"}
    return {
        "post": {
            "summary": summary,
            "description": description,
            "tags": ["webhooks"],
            "security": [],
            "parameters": [
                {"name": name, "in": "header", "required": True, "description": text, "schema": of}
                for name, (text, of) in _HEADERS.items()
            ],
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": schema, "examples": {"message": {"value": example}}}},
            },
            "responses": _RESPONSES,
        }
    }
