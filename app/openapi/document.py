"""The OpenAPI document of an application, made from the declarations beside its routes."""

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from marshmallow import Schema

from app import __version__
from app.http.documentation import Documentation, Header, documentation_of
from app.http.operation import Operation, operation_of
from app.openapi.defaults import describe_defaults
from app.openapi.examples import add_examples
from app.openapi.failures import FAILURE_SCHEMA
from app.openapi.links import add_links
from app.openapi.messages import messages
from app.openapi.operations import PAGINATION_SCHEMA, SECURITY_SCHEME, operation_object
from app.openapi.sharing import share_responses

PAGE_BLUEPRINTS = frozenset({"documentation", "monitor", "monitor_files", "sign_in"})
"""The blueprints of pages for people, which the document leaves out."""

_PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>")

_DESCRIPTION = """\
The one place for the state of scrape jobs: create, update, cancel and list jobs, hand them to
workers, and learn of each change by a webhook.

Every answer has `success`: true with `data`, or false with `error` and often `details`. Times are
UTC with milliseconds. An unknown route is a 404 and a wrong method a 405, in the same form. Each
GET route answers HEAD, too.
"""

_SECURITY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, made by `flask keys create`. Each operation names its scopes. The"
    " pages of the monitor send the cookie of a session instead.",
}


class UndocumentedRoute(LookupError):
    """A route lacks `@documented` or `@operation`."""


class DocumentedRoute(NamedTuple):
    """A method of a route, with the declarations beside its view."""

    path: str
    method: str
    tag: str
    ids: Sequence[str]
    view: Callable[..., object]
    operation: Operation
    documentation: Documentation


def document(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document of `app`. Raises UndocumentedRoute."""
    spec = APISpec(
        "Scrape Job API",
        __version__,
        "3.1.0",
        info={"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/"}],
        plugins=[MarshmallowPlugin(schema_name_resolver=_schema_name)],
    )
    spec.components.schema("Failure", dict(FAILURE_SCHEMA))
    spec.components.schema("Pagination", dict(PAGINATION_SCHEMA))
    spec.components.security_scheme(SECURITY_SCHEME, _SECURITY)
    tags: dict[str, str] = {}
    for route in documented_routes(app):
        made = operation_object(
            route.view, route.operation, route.documentation, route.method, route.ids
        )
        made["tags"] = [route.tag]
        tags.setdefault(route.tag, inspect.getdoc(sys.modules[route.view.__module__]) or "")
        path = _PLACEHOLDER.sub(r"{\1}", route.path)
        spec.path(path, operations={route.method.lower(): _with_components(spec, made)})
    for tag, text in tags.items():
        spec.tag({"name": tag, "description": text.partition("\n")[0]})
    spec.options["webhooks"] = messages()
    # A copy, because parts are shared with the fields of the schemas.
    complete: dict[str, Any] = json.loads(json.dumps(spec.to_dict()))
    describe_defaults(complete)
    add_examples(complete)
    add_links(complete)
    share_responses(complete)
    return complete


def documented_routes(app: Flask) -> Iterator[DocumentedRoute]:
    """Yield the routes that the document describes. Raises UndocumentedRoute."""
    # Jobs come first, and monitoring last.
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: not rule.rule.startswith("/api")):
        blueprint = rule.endpoint.rpartition(".")[0]
        if blueprint in PAGE_BLUEPRINTS:
            continue
        view = app.view_functions[rule.endpoint]
        operation, documentation = operation_of(view), documentation_of(view)
        if operation is None or documentation is None:
            raise UndocumentedRoute(rule.rule)
        ids = _PLACEHOLDER.findall(rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield DocumentedRoute(rule.rule, method, blueprint, ids, view, operation, documentation)


def _schema_name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return getattr(schema, "title", "") or kind.__name__.removesuffix("Schema")


def _with_components(spec: APISpec, operation: dict[str, Any]) -> dict[str, Any]:
    """Replace the headers of `operation` by the names of components, and register these."""
    operation["parameters"] = [
        _header(spec, item, "parameter") if isinstance(item, Header) else item
        for item in operation["parameters"]
    ]
    for response in operation["responses"].values():
        response["headers"] = {
            header.name: _header(spec, header, "header") for header in response["headers"]
        }
    return operation


def _header(spec: APISpec, header: Header, kind: str) -> str:
    """Return the name of the component for `header`, which is a parameter or a response header."""
    described = {"description": header.description, "schema": dict(header.schema)}
    if kind == "parameter" and header.name not in spec.components.parameters:
        spec.components.parameter(header.name, "header", described)
    elif kind == "header" and header.name not in spec.components.headers:
        spec.components.header(header.name, {**described, "required": header.is_always_sent})
    return header.name
