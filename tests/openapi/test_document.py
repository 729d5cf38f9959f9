"""The OpenAPI document: complete, valid, and made of the declarations beside the routes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from app.api_keys.scopes import Scope
from app.config import Settings
from app.http.operation import operation
from app.jobs.answers import JOB
from app.jobs.representation import FIELDS
from app.openapi.document import PAGE_BLUEPRINTS, UndocumentedRoute, document
from support.application import application
from support.openapi import NO_DATABASE, described

DOCUMENT = described().document
OPERATIONS = described().operations
IDS = {
    "cancelJob", "cancelJobs", "claimJobs", "createJobs", "createWebhook", "deleteWebhook",
    "getJob", "getOpenApi", "getPosition", "getWebhook", "healthz", "heartbeat", "jobHistory",
    "listDeliveries", "listJobDeliveries", "listJobs", "listUpcomingJobs", "listWebhooks",
    "metrics", "patchJob", "readyz", "redeliver", "redeliverFailed", "releaseJob", "replay",
    "retryJob", "retryJobs", "rotateSecret", "showStatistics", "streamJob", "streamJobs",
    "testWebhook", "updateJob", "updateWebhook",
}  # fmt: skip
"""The ids of all operations. They are the names of functions in generated clients: keep them."""


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in a part of the document."""
    if isinstance(node, dict):
        yield node
    for value in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from objects(value)


def test_document_is_valid() -> None:
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1")


def test_document_has_every_route(app: Flask) -> None:
    served = {
        (re.sub(r"<(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint.rpartition(".")[0] not in PAGE_BLUEPRINTS
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}


def test_undocumented_route_is_refused() -> None:
    with application(Settings(auth="off", database_url=NO_DATABASE)) as app:

        @app.get("/new")
        @operation("Failed to do the new", Scope.JOBS_READ)
        def new() -> Response:
            raise NotImplementedError

        with pytest.raises(UndocumentedRoute, match="/new"):
            document(app)


def test_operation_ids_are_stable() -> None:
    assert set(OPERATIONS) == IDS


def test_every_operation_is_explained() -> None:
    tags = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert all(tags.values())
    for described_operation in OPERATIONS.values():
        assert described_operation.object["summary"]
        assert described_operation.object["description"]
        assert set(described_operation.object["tags"]) <= tags.keys()


def test_everything_has_an_example() -> None:
    headers = DOCUMENT["components"]["headers"].values()
    parameters = [one for found in OPERATIONS.values() for one in found.parameters]
    assert all(one["schema"]["examples"] for one in (*headers, *parameters))
    contents = [one for one in objects(DOCUMENT["paths"]) if "schema" in one and "name" not in one]
    assert len(contents) > 80
    assert all("example" in one or one["examples"] for one in contents)


def test_every_example_is_valid() -> None:
    components = {**DOCUMENT["components"]["parameters"], **DOCUMENT["components"]["headers"]}
    parameters = [one for found in OPERATIONS.values() for one in found.parameters]
    for one in (*components.values(), *parameters):
        for example in one["schema"]["examples"]:
            described().validate(one["schema"], example)
    for content in objects(DOCUMENT):
        if "schema" in content and isinstance(content.get("examples"), dict):
            for example in content["examples"].values():
                described().validate(content["schema"], example["value"])


def test_envelopes_have_a_constant_success() -> None:
    for found in OPERATIONS.values():
        for status, response in found.responses.items():
            schema = response.get("content", {}).get("application/json", {}).get("schema", {})
            for option in schema.get("anyOf", [schema]):
                properties = described().resolve(option).get("properties", {})
                if properties:
                    assert properties["success"] == {"type": "boolean", "const": status < 400}


@pytest.mark.parametrize("schema", ["Job", "NewJob", "UpdateJob", "PatchJob", "ClaimedJob"])
def test_documents_of_jobs_are_free_objects(schema: str) -> None:
    properties = DOCUMENT["components"]["schemas"][schema]["properties"]
    for name in {"config", "metadata", "stats"} & properties.keys():
        assert properties[name]["type"] == "object"
        assert properties[name]["additionalProperties"] is True


def test_creations_link_to_what_is_created() -> None:
    links = OPERATIONS["createJobs"].responses[201]["links"]
    assert {"getJob", "updateJob", "cancelJob", "jobHistory", "retryJob"} <= links.keys()
    assert links["getJob"]["parameters"] == {"id": "$response.body#/data/id"}


def test_optional_fields_of_bodies_have_no_default() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert all("default" not in schema for schema in objects(schemas))
    assert "By default 5." in schemas["NewJob"]["properties"]["priority"]["description"]


def test_every_field_of_a_job_is_described() -> None:
    assert tuple(JOB.fields) == FIELDS


def test_every_operation_names_its_scopes(app: Flask) -> None:
    named = {
        scope
        for found in OPERATIONS.values()
        for option in found.object["security"]
        for scope in option["apiKey"]
    }
    assert named == set(Scope) - {Scope.ALL}
    assert OPERATIONS["updateJob"].object["security"] == [
        {"apiKey": ["jobs:write"]},
        {"apiKey": ["queue:work"]},
    ]
    assert OPERATIONS["healthz"].object["security"] == []


def test_document_is_served_to_everyone(client: FlaskClient) -> None:
    answer = client.get("/api/openapi.json")
    assert answer.get_json() == DOCUMENT
    assert answer.headers["Cache-Control"] == "no-cache"
    headers = {"If-None-Match": answer.headers["ETag"]}
    assert client.get("/api/openapi.json", headers=headers).status_code == 304


def test_command_writes_the_document(app: Flask, folder: Path) -> None:
    runner = app.test_cli_runner()
    assert json.loads(runner.invoke(args=["openapi"]).output) == DOCUMENT
    file = folder / "openapi.json"
    result = runner.invoke(args=["openapi", "--output", str(file)])
    assert (result.exit_code, result.output) == (0, "")
    assert json.loads(file.read_text()) == DOCUMENT
