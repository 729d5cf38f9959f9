"""What the API takes, as an OpenAPI document made from the schemas that the endpoints check
requests with.

It says nothing of answers: it is for tests that send what the endpoints take, and what is almost
that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields

from app.http.fields import (
    Choice,
    Choices,
    Document,
    Id,
    ListOf,
    ListOfInQuery,
    Pattern,
    StrictBoolean,
    Timestamp,
    WholeNumber,
)
from app.http.pagination import Cursor
from app.jobs import schemas as jobs
from app.jobs.schemas import Domain
from app.queue import schemas as queue
from app.statistics import schemas as statistics
from app.webhooks import schemas as webhooks
from app.webhooks.schemas import Target

KNOWN_IDS = [f"0190f3a0-0000-7000-8000-{number:012x}" for number in range(1, 41)]
"""Ids that every path is tried with, beside others: each of a job, and of a webhook."""

JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Takes:
    """What one endpoint takes: a query, a body (of `media_type`, and an array of them where it
    takes `batches`)."""

    query: Schema | None = None
    body: Schema | None = None
    media_type: str = JSON
    batches: bool = False


JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"
ENDPOINTS: Mapping[tuple[str, str], Takes] = {
    ("GET", JOBS): Takes(jobs.LIST),
    ("POST", JOBS): Takes(body=jobs.CREATE, batches=True),
    ("GET", JOBS + "/<id>"): Takes(),
    ("PUT", JOBS + "/<id>"): Takes(body=jobs.UPDATE),
    ("PATCH", JOBS + "/<id>"): Takes(body=jobs.PATCH, media_type=MERGE_PATCH),
    ("DELETE", JOBS + "/<id>"): Takes(jobs.CANCEL),
    ("GET", JOBS + "/<id>/history"): Takes(jobs.HISTORY),
    ("GET", JOBS + "/<id>/queue"): Takes(),
    ("POST", JOBS + "/<id>/retry"): Takes(body=queue.RETRY),
    ("POST", JOBS + "/<id>/release"): Takes(body=queue.EMPTY),
    ("POST", JOBS + "/<id>/heartbeat"): Takes(body=queue.EMPTY),
    ("POST", JOBS + "/next"): Takes(body=queue.NEXT),
    ("GET", JOBS + "/next"): Takes(queue.UPCOMING),
    ("GET", JOBS + "/stats"): Takes(statistics.STATISTICS),
    ("POST", HOOKS): Takes(body=webhooks.NEW_ENDPOINT),
    ("GET", HOOKS): Takes(webhooks.PAGE),
    ("GET", HOOKS + "/<id>"): Takes(),
    ("PUT", HOOKS + "/<id>"): Takes(body=webhooks.EndpointSchema()),
    ("DELETE", HOOKS + "/<id>"): Takes(),
    ("POST", HOOKS + "/<id>/rotate-secret"): Takes(),
    ("POST", HOOKS + "/<id>/test"): Takes(),
    ("GET", HOOKS + "/<id>/deliveries"): Takes(webhooks.DELIVERIES),
    ("POST", HOOKS + "/<id>/deliveries/<delivery_id>/redeliver"): Takes(),
    ("POST", HOOKS + "/<id>/redeliver"): Takes(body=webhooks.REDELIVER),
    ("POST", HOOKS + "/<id>/replay"): Takes(body=webhooks.REPLAY),
    ("GET", "/metrics"): Takes(),
    ("GET", "/healthz"): Takes(),
    ("GET", "/readyz"): Takes(),
}
"""Every endpoint of the service, by its method and route."""

VERSIONS = {"anyOf": [{"enum": ["*", '"1"', 'W/"2", "1"']}, {"type": "string"}]}
HEADERS: Mapping[str, Mapping[str, Any]] = {
    "GET": {"If-None-Match": VERSIONS},
    "POST": {},
    "PUT": {"If-Match": VERSIONS},
    "PATCH": {"If-Match": VERSIONS},
    "DELETE": {"If-Match": VERSIONS},
}
"""What may stand in the headers of each method's requests, beside what may in all."""


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, rule), takes in ENDPOINTS.items():
        path = rule.replace("<", "{").replace(">", "}")
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, takes)
    return {"openapi": "3.1.0", "info": {"title": "Scrape Job API", "version": "1"}, "paths": paths}


def _operation(method: str, path: str, takes: Takes) -> dict[str, Any]:
    one_of_many = {"anyOf": [{"enum": KNOWN_IDS}, {"type": "string", "format": "uuid"}]}
    parameters = [
        _parameter(name, "path", one_of_many)
        for name in ("id", "delivery_id")
        if f"{{{name}}}" in path
    ]
    headers = {"X-Request-ID": {"type": "string"}, **HEADERS[method]}
    if path.endswith(("/heartbeat", "/release")):
        headers["X-Lease-Token"] = {"type": "string", "format": "uuid"}
    parameters += [_parameter(name, "header", value) for name, value in headers.items()]
    if takes.query is not None:
        parameters += [
            _parameter(name, "query", value) for name, value in _properties(takes.query).items()
        ]
    operation: dict[str, Any] = {
        "parameters": parameters,
        "responses": {"default": {"description": "anything"}},
    }
    if takes.body is not None:
        schema = _object(takes.body)
        if takes.batches:
            schema = {
                "anyOf": [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": 5}]
            }
        operation["requestBody"] = {
            "content": {takes.media_type: {"schema": schema}},
            "required": True,
        }
    return operation


def _parameter(name: str, place: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _properties(schema: Schema) -> dict[str, Any]:
    """Return what `schema` takes, but for cursors: a guessed one is refused, and hides what the
    others would do."""
    named = {field.data_key or name: field for name, field in schema.load_fields.items()}
    return {name: _value(field) for name, field in named.items() if not isinstance(field, Cursor)}


def _object(schema: Schema) -> dict[str, Any]:
    required = [
        field.data_key or name for name, field in schema.load_fields.items() if field.required
    ]
    return {
        "type": "object",
        "properties": _properties(schema),
        "required": required,
        "additionalProperties": False,
    }


def _value(field: fields.Field[Any]) -> dict[str, Any]:
    schema = _kind(field)
    return {"anyOf": [schema, {"type": "null"}]} if field.allow_none else schema


def _kind(field: fields.Field[Any]) -> dict[str, Any]:
    match field:
        case WholeNumber():
            return {"type": "integer", "minimum": field.low, "maximum": field.high}
        case Document():
            return {"type": "object"}
        case Id():
            return {"type": "string", "format": "uuid"}
        case Timestamp():
            return {"type": "string", "format": "date-time"}
        case statistics.TimeZone():
            return {"enum": ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]}
        case Choices():
            return {"enum": [*field.choices, ",".join(field.choices)]}
        case Choice():
            return {"enum": list(field.choices)}
        case StrictBoolean():
            return {"type": "boolean"}
        case ListOfInQuery():
            return _kind(field.item)
        case ListOf():
            return {"type": "array", "items": _kind(field.item), "minItems": 1, "maxItems": 5}
        case Domain():
            return {"type": "string", "format": "hostname"}
        case Target():
            return {
                "enum": [
                    "http://93.184.216.34/hook",
                    "https://[2606:2800:21f:cb07::1]/hook",
                    "http://127.0.0.1/",
                ]
            }
        case Pattern():
            return {"type": "string", "pattern": "^[a-z]{1,9}$"}
        case _:
            return {"type": "string"}
