"""The OpenAPI document in tests: its operations, its schemas, and requests by its examples."""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import jsonschema_rs
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.config import Settings
from app.factory import create_app
from app.openapi.document import document, documented_routes
from app.openapi.operations import operation_id

NO_DATABASE = "postgresql://127.0.0.1:1/none"
"""The URL of a database that does not exist."""


@dataclass
class Call:
    """A request by the document. `ids` replace the examples of the path."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str | None = None
    body: bytes = b""

    def send(self, client: FlaskClient) -> TestResponse:
        return client.open(
            self.path,
            method=self.method,
            query_string=self.query,
            headers=self.headers,
            data=self.body,
            content_type=self.media_type,
        )

    def with_json(self, body: Any) -> "Call":
        """Take another body."""
        self.body = json.dumps(body).encode()
        return self


class Operation:
    """An operation of the document."""

    def __init__(self, described: "Described", path: str, method: str) -> None:
        self.described = described
        self.path, self.method = path, method.upper()
        self.object: dict[str, Any] = described.document["paths"][path][method]
        self.id: str = self.object["operationId"]
        self.is_endless = described.documentation[self.id].is_endless

    def __repr__(self) -> str:
        return self.id

    @cached_property
    def parameters(self) -> list[dict[str, Any]]:
        return [self.described.resolve(found) for found in self.object["parameters"]]

    @cached_property
    def responses(self) -> dict[int, dict[str, Any]]:
        responses = self.object["responses"].items()
        return {int(status): self.described.resolve(found) for status, found in responses}

    @property
    def bodies(self) -> dict[str, Any]:
        """The examples of the body, by name."""
        content = self.object.get("requestBody", {}).get("content", {})
        return {
            name: example["value"]
            for one in content.values()
            for name, example in one["examples"].items()
        }

    def examples(self, status: int) -> dict[str, Any]:
        """Return the examples of the response bodies with `status`, by name."""
        content = self.responses[status].get("content", {}).get("application/json", {})
        return {name: example["value"] for name, example in content.get("examples", {}).items()}

    def call(self, name: str = "") -> Call:
        """Return the request of the examples, with the body of this name, or the first one."""
        path = self.path
        for parameter in self.parameters:
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        call = Call(self.method, path)
        if self.bodies:
            (call.media_type,) = self.object["requestBody"]["content"]
            call.with_json(self.bodies.get(name, next(iter(self.bodies.values()))))
        return call

    def check(self, answer: TestResponse) -> None:
        """Check that the document has this answer: its status, headers, media type and body."""
        assert answer.status_code in self.responses, (self.id, answer.status_code, answer.text)
        response = self.responses[answer.status_code]
        for name, header in response["headers"].items():
            resolved = self.described.resolve(header)
            assert name in answer.headers or not resolved["required"], (self.id, name)
        if "content" not in response:
            assert answer.data == b""
            return
        ((media_type, content),) = response["content"].items()
        assert media_type in (answer.headers["Content-Type"], answer.mimetype)
        if media_type == "application/json":
            self.described.validate(content["schema"], answer.get_json())


class Described:
    """The document of an application."""

    def __init__(self, app: Flask) -> None:
        self.document = document(app)
        self.documentation = {
            operation_id(route.view): route.documentation for route in documented_routes(app)
        }
        self._closed = closed(self.document)

    @cached_property
    def operations(self) -> dict[str, Operation]:
        """The operations by their ids."""
        found = [
            Operation(self, path, method)
            for path, item in self.document["paths"].items()
            for method in item
        ]
        return {operation.id: operation for operation in found}

    def resolve(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return the component that `found` refers to, or `found` itself."""
        value: Any = found
        if "$ref" in found:
            value = self.document
            for part in found["$ref"].removeprefix("#/").split("/"):
                value = value[part]
        return dict(value)

    def validate(self, schema: Mapping[str, Any], value: Any) -> None:
        """Check that `value` is valid by `schema`, and has no field that the document lacks."""
        whole = {**closed(schema), "components": self._closed["components"]}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)


def closed(node: Any) -> Any:
    """Return a copy in which objects with named properties have no others.

    The document leaves answers open, because later versions may add fields.
    """
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    copied = {name: closed(value) for name, value in node.items()}
    if copied.get("type") == "object" and isinstance(copied.get("properties"), dict):
        copied.setdefault("additionalProperties", False)
    return copied


_VOLATILE = {
    "<id>": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "<time>": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
    "<secret>": re.compile(r"whsec_[A-Za-z0-9+/=]+"),
    "<key>": re.compile(r"[a-z0-9]{12}"),
    "<token>": re.compile(r"[A-Za-z0-9_-]{32}"),
}


def folded(value: Any) -> Any:
    """Return `value` without what differs in each run: ids, times, secrets."""
    if isinstance(value, dict):
        return {name: folded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [folded(one) for one in value]
    if isinstance(value, str):
        for name, pattern in _VOLATILE.items():
            if pattern.fullmatch(value):
                return name
    return copy.copy(value)


@cache
def described() -> Described:
    """Return the document of an application that has no database."""
    return Described(create_app(Settings(auth="off", database_url=NO_DATABASE)))
