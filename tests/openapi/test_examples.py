"""Every example of the document is what the service answers, on a real database."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.api_keys.scopes import Scope
from app.http.body import MAX_BYTES
from app.http.documentation import Success
from support.application import close
from support.example_api import ExampleApi
from support.example_situations import prepare, trigger
from support.openapi import Operation, described, folded

DESCRIBED = described()
OPERATIONS = DESCRIBED.operations
SUCCESSES = [
    pytest.param(operation, answer, id=f"{operation.id}-{answer.name}")
    for operation in OPERATIONS.values()
    for answer in DESCRIBED.documentation[operation.id].answers
    if isinstance(answer, Success)
]
BODIES = [
    pytest.param(operation, name, id=f"{operation.id}-{name}")
    for operation in OPERATIONS.values()
    for name in operation.bodies
]
QUERIES = [
    pytest.param(operation, parameter, id=f"{operation.id}-{parameter['name']}")
    for operation in OPERATIONS.values()
    for parameter in operation.parameters
    if parameter["in"] == "query"
]
FAILING = [
    pytest.param(operation, status, example, id=f"{operation.id}-{status}-{name}")
    for operation in OPERATIONS.values()
    for status in operation.responses
    if status >= 400
    for name, example in operation.examples(status).items()
    if status < 500 and example["error"] != "Idempotency-Key is in use"  # see test_failures
]
EXAMPLES = {
    status: [case for case in FAILING if case.values[1] == status]
    for status in (400, 401, 403, 404, 409, 412, 413, 415, 422, 429)
}


def given(*statuses: int) -> Callable[[Any], Any]:
    """Run a test with each documented failure of these statuses."""
    cases = [case for status in statuses for case in EXAMPLES[status]]
    return pytest.mark.parametrize(("operation", "status", "example"), cases)


def assert_answers(operation: Operation, answer: TestResponse, status: int, example: Any) -> None:
    operation.check(answer)
    assert (answer.status_code, answer.get_json()) == (status, example)


@pytest.mark.parametrize(("operation", "success"), SUCCESSES)
def test_successes_are_as_documented(
    api: ExampleApi, operation: Operation, success: Success
) -> None:
    call = operation.call(success.name)
    call.query = dict(success.query)
    prepare(api, operation.id, call)
    answer = api.send(call)
    operation.check(answer)
    assert answer.status_code == success.status
    example = operation.examples(success.status)[success.name]
    assert folded(answer.get_json()) == folded(example)
    assert {header.name for header in success.headers} <= set(answer.headers.keys())


@pytest.mark.parametrize(("operation", "name"), BODIES)
def test_documented_bodies_are_accepted(api: ExampleApi, operation: Operation, name: str) -> None:
    call = operation.call(name)
    prepare(api, operation.id, call)
    answer = api.send(call)
    operation.check(answer)
    assert answer.status_code < 300


@pytest.mark.parametrize(("operation", "parameter"), QUERIES)
def test_documented_parameters_are_accepted(
    api: ExampleApi, operation: Operation, parameter: dict[str, Any]
) -> None:
    call = operation.call()
    (example, *_) = parameter["schema"]["examples"]
    call.query[parameter["name"]] = ",".join(example) if isinstance(example, list) else str(example)
    if parameter["name"] == "timezone":
        call.query["group_by"] = "day"
    prepare(api, operation.id, call)
    with closing(api.send(call)) as answer:
        operation.check(answer)
        assert answer.status_code == 200


@pytest.mark.parametrize("id", ["getJob", "getOpenApi"])
def test_not_modified_is_as_documented(api: ExampleApi, id: str) -> None:
    operation = OPERATIONS[id]
    call = operation.call()
    prepare(api, id, call)
    call.headers["If-None-Match"] = api.send(call).headers["ETag"]
    answer = api.send(call)
    operation.check(answer)
    assert answer.status_code == 304


def test_other_contents_are_as_documented(api: ExampleApi) -> None:
    metrics = api.send(OPERATIONS["metrics"].call())
    OPERATIONS["metrics"].check(metrics)
    (content,) = OPERATIONS["metrics"].responses[200]["content"].values()
    assert content["example"] in metrics.text
    document = api.send(OPERATIONS["getOpenApi"].call())
    OPERATIONS["getOpenApi"].check(document)
    assert document.get_json() == DESCRIBED.document


@pytest.mark.parametrize("operation", [one for one in OPERATIONS.values() if one.is_endless])
def test_streams_begin_as_documented(api: ExampleApi, operation: Operation) -> None:
    call = operation.call()
    prepare(api, operation.id, call)
    with closing(api.send(call)) as answer:
        operation.check(answer)
        beginning = next(answer.iter_encoded()).decode()
    (content,) = operation.responses[200]["content"].values()
    assert beginning.split("\n")[1:] == content["example"].split("\n")[1:]
    assert beginning.startswith("id: ")


@given(400, 404, 409, 412)
def test_refusals_are_as_documented(
    api: ExampleApi, operation: Operation, status: int, example: dict[str, Any]
) -> None:
    call = operation.call()
    trigger(example["error"], operation.id)(api, call)
    assert_answers(operation, api.send(call), status, example)


@given(401)
def test_requests_without_key_are_refused(
    api: ExampleApi, operation: Operation, status: int, example: dict[str, Any]
) -> None:
    assert_answers(operation, api.send(operation.call(), key=None), status, example)


@pytest.fixture(scope="module")
def other_keys(module_api: ExampleApi) -> dict[str, str]:
    """A key with each scope alone."""
    return {scope: module_api.make_key(scope) for scope in Scope if scope is not Scope.ALL}


@given(403)
def test_keys_without_the_scope_are_refused(
    api: ExampleApi,
    other_keys: dict[str, str],
    operation: Operation,
    status: int,
    example: dict[str, Any],
) -> None:
    sufficient = {scope for option in operation.object["security"] for scope in option["apiKey"]}
    call, refused = operation.call(), other_keys.keys() - sufficient
    if Scope.JOBS_CANCEL in example["details"] and Scope.JOBS_CANCEL not in sufficient:
        call.with_json({"status": "cancelled"})
        refused = {Scope.JOBS_WRITE}
    for scope in refused:
        assert_answers(operation, api.send(call, other_keys[scope]), status, example)


@given(413)
def test_large_requests_are_refused(
    api: ExampleApi, operation: Operation, status: int, example: dict[str, Any]
) -> None:
    call = operation.call()
    if example["error"] == "Request body too large":
        call.body = b" " * (MAX_BYTES + 1)
        call.headers["Idempotency-Key"] = "order-4711"
    else:
        trigger(example["error"], operation.id)(api, call)
    assert_answers(operation, api.send(call), status, example)


@given(415)
def test_other_media_types_are_refused(
    api: ExampleApi, operation: Operation, status: int, example: dict[str, Any]
) -> None:
    call = operation.call()
    call.headers["Idempotency-Key"] = "order-4711"
    call.body = call.body or b"{}"
    if example["error"] == "Unsupported media type":
        call.media_type = "text/plain"
    else:
        call.headers["Content-Encoding"] = "gzip"
    assert_answers(operation, api.send(call), status, example)


@given(422)
def test_keys_of_other_requests_are_refused(
    api: ExampleApi, operation: Operation, status: int, example: dict[str, Any]
) -> None:
    call = operation.call()
    prepare(api, operation.id, call)
    call.headers["Idempotency-Key"] = "order-4711"
    assert api.send(call).status_code < 300
    replayed = api.send(call)
    operation.check(replayed)
    assert replayed.headers["Idempotent-Replayed"] == "true"
    call.body += b" "
    assert_answers(operation, api.send(call), status, example)


@pytest.fixture(scope="module")
def limited_apis(module_api: ExampleApi) -> Iterator[dict[bool, ExampleApi]]:
    """Applications that allow one request of each kind a minute; with True, one of each job."""
    few = {"rate_limit_reads": 1, "rate_limit_creations": 1, "rate_limit_job": 1}
    apis = {
        by_job: ExampleApi(module_api.url, **few, rate_limit_updates=9 if by_job else 1)
        for by_job in (False, True)
    }
    yield apis
    for limited in apis.values():
        close(limited.app)


@given(429)
def test_rate_limits_are_as_documented(
    limited_apis: dict[bool, ExampleApi],
    operation: Operation,
    status: int,
    example: dict[str, Any],
) -> None:
    api = limited_apis["one job" in example["details"]]
    api.clear()
    scope = Scope.METRICS_READ if operation.id == "metrics" else Scope.ALL
    key = api.make_key(scope)
    api.send(operation.call(), key).close()
    answer = api.send(operation.call(), key)
    amount = f"At most {answer.headers['RateLimit-Limit']} "
    details = re.sub(r"At most \d+ ", amount, example["details"])
    assert_answers(operation, answer, status, {**example, "details": details})
