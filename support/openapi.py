"""An OpenAPI document of the API's requests, made from the schemas of the endpoints.

It does not describe answers: tests generate valid and almost valid requests from it.
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
from app.jobs.bulk_schemas import BULK_CANCEL, BULK_RETRY, BodyFilterSchema, Filter, Ids
from app.jobs.schemas import Domain
from app.live import schemas as live
from app.queue import schemas as queue
from app.statistics import schemas as statistics
from app.webhooks import schemas as webhooks
from app.webhooks.schemas import Target

KNOWN_IDS = [f"0190f3a0-0000-7000-8000-{number:012x}" for number in range(1, 41)]
"""Ids that paths are called with, beside random ones: each names a job and a webhook."""

JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class EndpointInput:
    """The query and the body that an endpoint accepts.

    With `batches` also arrays of bodies. An `endless` response has no end: generated requests ask
    for its head only.
    """

    query: Schema | None = None
    body: Schema | None = None
    media_type: str = JSON
    batches: bool = False
    endless: bool = False


JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"
ENDPOINTS: Mapping[tuple[str, str], EndpointInput] = {
    ("GET", JOBS): EndpointInput(jobs.LIST),
    ("POST", JOBS): EndpointInput(body=jobs.CREATE, batches=True),
    ("GET", JOBS + "/events"): EndpointInput(live.LIST_STREAM, endless=True),
    ("GET", JOBS + "/<id>/events"): EndpointInput(live.JOB_STREAM, endless=True),
    ("POST", JOBS + "/cancel"): EndpointInput(body=BULK_CANCEL),
    ("POST", JOBS + "/retry"): EndpointInput(body=BULK_RETRY),
    ("GET", JOBS + "/<id>"): EndpointInput(jobs.SHOW),
    ("PUT", JOBS + "/<id>"): EndpointInput(body=jobs.UPDATE),
    ("PATCH", JOBS + "/<id>"): EndpointInput(body=jobs.PATCH, media_type=MERGE_PATCH),
    ("DELETE", JOBS + "/<id>"): EndpointInput(jobs.CANCEL),
    ("GET", JOBS + "/<id>/history"): EndpointInput(jobs.HISTORY),
    ("GET", JOBS + "/<id>/queue"): EndpointInput(),
    ("GET", JOBS + "/<id>/deliveries"): EndpointInput(),
    ("POST", JOBS + "/<id>/retry"): EndpointInput(body=queue.RETRY),
    ("POST", JOBS + "/<id>/release"): EndpointInput(body=queue.EMPTY),
    ("POST", JOBS + "/<id>/heartbeat"): EndpointInput(body=queue.EMPTY),
    ("POST", JOBS + "/next"): EndpointInput(body=queue.NEXT),
    ("GET", JOBS + "/next"): EndpointInput(queue.UPCOMING),
    ("GET", JOBS + "/stats"): EndpointInput(statistics.STATISTICS),
    ("POST", HOOKS): EndpointInput(body=webhooks.NEW_ENDPOINT),
    ("GET", HOOKS): EndpointInput(webhooks.PAGE),
    ("GET", HOOKS + "/<id>"): EndpointInput(),
    ("PUT", HOOKS + "/<id>"): EndpointInput(body=webhooks.EndpointSchema()),
    ("DELETE", HOOKS + "/<id>"): EndpointInput(),
    ("POST", HOOKS + "/<id>/rotate-secret"): EndpointInput(),
    ("POST", HOOKS + "/<id>/test"): EndpointInput(),
    ("GET", HOOKS + "/<id>/deliveries"): EndpointInput(webhooks.DELIVERIES),
    ("POST", HOOKS + "/<id>/deliveries/<delivery_id>/redeliver"): EndpointInput(),
    ("POST", HOOKS + "/<id>/redeliver"): EndpointInput(body=webhooks.REDELIVER),
    ("POST", HOOKS + "/<id>/replay"): EndpointInput(body=webhooks.REPLAY),
    ("GET", "/metrics"): EndpointInput(),
    ("GET", "/healthz"): EndpointInput(),
    ("GET", "/readyz"): EndpointInput(),
}
"""All endpoints of the service, by method and route."""

VERSIONS = {"anyOf": [{"enum": ["*", '"1"', 'W/"2", "1"']}, {"type": "string"}]}
HEADERS: Mapping[str, Mapping[str, Any]] = {
    "GET": {"If-None-Match": VERSIONS},
    "POST": {},
    "PUT": {"If-Match": VERSIONS},
    "PATCH": {"If-Match": VERSIONS},
    "DELETE": {"If-Match": VERSIONS},
}
"""The headers of requests with each method, beside those of all requests."""


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, rule), accepted in ENDPOINTS.items():
        path = rule.replace("<", "{").replace(">", "}")
        verb = "head" if accepted.endless else method.lower()
        paths.setdefault(path, {})[verb] = _operation(method, path, accepted)
    return {"openapi": "3.1.0", "info": {"title": "Scrape Job API", "version": "1"}, "paths": paths}


def _operation(method: str, path: str, accepted: EndpointInput) -> dict[str, Any]:
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
    if accepted.query is not None:
        parameters += [
            _parameter(name, "query", value) for name, value in _properties(accepted.query).items()
        ]
    operation: dict[str, Any] = {
        "parameters": parameters,
        "responses": {"default": {"description": "anything"}},
    }
    if accepted.body is not None:
        schema = _object(accepted.body)
        if accepted.batches:
            schema = {
                "anyOf": [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": 5}]
            }
        operation["requestBody"] = {
            "content": {accepted.media_type: {"schema": schema}},
            "required": True,
        }
    return operation


def _parameter(name: str, place: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _properties(schema: Schema) -> dict[str, Any]:
    """Return the properties of `schema` without cursors.

    A generated cursor is always refused, and the other parameters would have no effect.
    """
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
        case Ids():
            return {"type": "array", "items": {"enum": KNOWN_IDS}, "minItems": 1, "maxItems": 5}
        case Filter():
            return {**_object(BodyFilterSchema()), "minProperties": 1}
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
