"""One operation of the OpenAPI document, from the declarations beside its route."""

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from marshmallow import Schema

from app.http.documentation import Body, Content, Documentation, Header, Success
from app.http.documented_headers import (
    ANSWERED_REQUEST_ID,
    IDEMPOTENCY_KEY,
    RATE_LIMITS,
    REPLAYED,
    REQUEST_ID,
)
from app.http.fields import StrictSchema
from app.http.operation import Operation
from app.http.pagination import DEFAULT_LIMIT, MAX_LIMIT
from app.http.response import JSON
from app.jobs.schemas import JOB_ID
from app.openapi.failures import failures_of, responses_of
from app.webhooks.schemas import DELIVERY_ID, WEBHOOK_ID

SECURITY_SCHEME = "apiKey"

_IDS = {"job": JOB_ID, "webhook": WEBHOOK_ID, "delivery": DELIVERY_ID}
"""The ids of the examples, by what they name."""

_HAS_MORE = {"type": "boolean", "description": "Whether more jobs match the filter."}

PAGINATION_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "The place of a page in its list.",
    "properties": {
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        "next_cursor": {"type": ["string", "null"], "description": "The cursor of the next page."},
        "has_more": {"type": "boolean", "description": "Whether there are more rows now."},
    },
    "required": ["limit", "next_cursor", "has_more"],
}


def operation_object(
    view: Callable[..., object],
    operation: Operation,
    documentation: Documentation,
    method: str,
    ids: Sequence[str],
) -> dict[str, Any]:
    """Return the OpenAPI operation of a route.

    Schemas of marshmallow are left for apispec to resolve, and headers for `app.openapi.document`.

    Args:
        view: The view; its name and its docstring name and describe the operation.
        operation: Its declaration of access.
        documentation: Its documentation.
        method: The HTTP method.
        ids: The names of the ids in its path.
    """
    summary, _, description = (inspect.getdoc(view) or "").partition("\n")
    made = {
        "operationId": operation_id(view),
        "summary": summary.rstrip("."),
        "description": "\n\n".join(filter(None, [description.strip(), _access_text(operation)])),
        "security": _security(operation),
        "parameters": _parameters(operation, documentation, method, ids),
        "responses": _responses(operation, documentation, method, ids),
    }
    if documentation.body is not None:
        made["requestBody"] = _request_body(documentation.body)
    return made


def operation_id(view: Callable[..., object]) -> str:
    """Return the name of a view in camel case, the name of the function in generated clients."""
    return re.sub(r"_(\w)", lambda found: found[1].upper(), view.__name__)


def _access_text(operation: Operation) -> str:
    if operation.is_open:
        return "Needs no API key."
    scopes = " or ".join(f"`{scope}`" for scope in operation.scopes)
    lease = f", or `{operation.with_lease}` with a lease token" if operation.with_lease else ""
    return f"Needs the scope {scopes}{lease}."


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    """Return the requirements, of which a request needs one."""
    leased = [operation.with_lease] if operation.with_lease else []
    return [{SECURITY_SCHEME: [str(scope)]} for scope in (*operation.scopes, *leased)]


def _parameters(
    operation: Operation, documentation: Documentation, method: str, ids: Sequence[str]
) -> list[Any]:
    headers = [*documentation.headers, *([IDEMPOTENCY_KEY] if method == "POST" else [])]
    query = [{"in": "query", "schema": documentation.query}] if documentation.query else []
    return [
        *(_path_parameter(name, operation) for name in ids),
        *query,
        *headers,
        REQUEST_ID,
    ]


def _path_parameter(name: str, operation: Operation) -> dict[str, Any]:
    subject = operation.subject if name == "id" else name.removesuffix("_id")
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": f"The id of the {subject}.",
        "schema": {"type": "string", "format": "uuid"},
        **({"example": _IDS[subject]} if subject in _IDS else {}),
    }


def _request_body(body: Body) -> dict[str, Any]:
    schema: Any = body.schema if body.echoes is None else _with_echoes(body.schema, body.echoes)
    if body.max_batch is not None:
        many = {"type": "array", "items": schema, "minItems": 1, "maxItems": body.max_batch}
        schema = {"anyOf": [schema, many]}
    examples = {name: {"value": value} for name, value in body.examples.items()}
    return {
        "required": not body.is_optional,
        "content": {body.media_type: {"schema": schema, "examples": examples}},
    }


def _with_echoes(schema: Schema, echoes: Schema) -> Schema:
    """Return `schema` with the other fields of `echoes` as read-only ones."""
    added: dict[str, Any] = {
        name: copy.deepcopy(field)
        for name, field in echoes.fields.items()
        if name not in schema.fields
    }
    for field in added.values():
        field.dump_only, field.required = True, False
    title = getattr(schema, "title", type(schema).__name__)
    made = StrictSchema.from_dict({**added, **schema.fields}, name=title)
    return made()


def _responses(
    operation: Operation, documentation: Documentation, method: str, ids: Sequence[str]
) -> dict[str, Any]:
    on_success = [*([REPLAYED] if method == "POST" else []), *RATE_LIMITS]
    found: dict[int, dict[str, Any]] = {}
    for answer in documentation.answers:
        _add_answer(found, answer, [*answer.headers, *on_success])
    found |= responses_of(failures_of(operation, documentation, method, ids), operation)
    for response in found.values():
        headers = [*response["headers"], ANSWERED_REQUEST_ID]
        if operation.is_open:
            headers = [header for header in headers if header not in RATE_LIMITS]
        response["headers"] = headers
    return {str(status): response for status, response in found.items()}


def _add_answer(
    found: dict[int, dict[str, Any]], answer: Success | Content, headers: list[Header]
) -> None:
    """Add `answer` to the responses by status; answers of the same status are alternatives."""
    if isinstance(answer, Content):
        content = {"schema": answer.schema, "example": answer.example}
        found[answer.status] = {
            "description": answer.description,
            "headers": headers,
            **({"content": {answer.media_type: content}} if answer.media_type else {}),
        }
        return
    example = {answer.name: {"value": _success_example(answer)}}
    if answer.status not in found:
        found[answer.status] = {
            "description": HTTPStatus(answer.status).phrase,
            "headers": headers,
            "content": {JSON: {"schema": _envelope(answer), "examples": example}},
        }
        return
    content = found[answer.status]["content"][JSON]
    content["schema"] = {"anyOf": [content["schema"], _envelope(answer)]}
    content["examples"] |= example


def _envelope(answer: Success) -> dict[str, Any]:
    data: Any = {"type": "null"} if answer.data is None else answer.data
    if answer.is_list or answer.is_page:
        data = {"type": "array", "items": data}
    properties = {"success": {"type": "boolean", "const": True}, "data": data}
    if answer.message is not None:
        properties["message"] = {"type": "string", "const": answer.message}
    if answer.is_page:
        properties["pagination"] = {"$ref": "#/components/schemas/Pagination"}
    if answer.counts is not None:
        properties |= {"counts": answer.counts, "has_more": _HAS_MORE}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _success_example(answer: Success) -> dict[str, Any]:
    example: dict[str, Any] = {"success": True, "data": answer.example()}
    if answer.message is not None:
        example["message"] = answer.message
    if answer.is_page:
        example["pagination"] = {"limit": DEFAULT_LIMIT, "next_cursor": None, "has_more": False}
    if answer.counts is not None:
        example |= {"counts": dict(answer.counts.example), "has_more": False}
    return example
