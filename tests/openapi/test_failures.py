"""Failures that take seconds are what the document says; all operations fail at the same time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app import database
from app.config import Settings
from app.idempotency import keys
from support.application import application, close
from support.example_api import ExampleApi
from support.openapi import NO_DATABASE, Call, Operation, described

OPERATIONS = described().operations.values()
THREADS = 40
"""More than there are operations."""


def failing(status: int, name: str) -> list[Operation]:
    """Return the operations with this example of a failure."""
    return [
        operation
        for operation in OPERATIONS
        if status in operation.responses and name in operation.examples(status)
    ]


def at_once(app: Flask, requests: Sequence[tuple[Operation, Call]]) -> Iterator[TestResponse]:
    """Yield the answers to requests that are sent at the same time; each must be documented."""
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = pool.map(lambda request: request[1].send(app.test_client()), requests)
        for (operation, _), answer in zip(requests, answers, strict=True):
            operation.check(answer)
            yield answer


def requests_to(operations: Sequence[Operation], key: str | None) -> list[tuple[Operation, Call]]:
    """Return the request of the examples to each operation, with a lease token."""
    made = [(operation, operation.call()) for operation in operations]
    for _, call in made:
        call.headers["X-Lease-Token"] = "none"
        if key is not None:
            call.headers["Authorization"] = f"Bearer {key}"
    return made


@pytest.fixture(scope="module")
def parallel_api(module_api: ExampleApi) -> Iterator[ExampleApi]:
    """The application with a connection for each operation."""
    api = ExampleApi(module_api.url, threads=THREADS)
    yield api
    close(api.app)


@pytest.mark.parametrize("auth", ["off", "keys"])
def test_failures_without_database(api: ExampleApi, auth: str) -> None:
    operations = failing(500, "database-unavailable") + failing(503, "database-unavailable")
    if auth == "off":  # metrics show then that the database does not answer
        operations = [operation for operation in operations if operation.id != "metrics"]
    settings = Settings(
        auth=auth, database_url=NO_DATABASE, threads=THREADS, webhook_allow=("example.com",)
    )
    with application(settings) as app:
        answers = at_once(app, requests_to(operations, api.key))
        for operation, answer in zip(operations, answers, strict=True):
            example = operation.examples(answer.status_code)["database-unavailable"]
            assert answer.get_json() == example, operation
    assert len(operations) > 20


def test_failures_by_locks(api: ExampleApi, parallel_api: ExampleApi) -> None:
    operations = failing(500, "lock-timeout")
    api.job("running")
    api.delivery()
    with api.connection() as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE scrape_jobs, webhook_endpoints, webhook_deliveries")
        answers = at_once(parallel_api.app, requests_to(operations, parallel_api.key))
        for operation, answer in zip(operations, answers, strict=True):
            assert answer.status_code == 500, operation
            assert answer.get_json() == operation.examples(500)["lock-timeout"]
            assert answer.headers["Retry-After"] == "1"
    assert len(operations) > 10


def test_streams_past_the_limit(api: ExampleApi) -> None:
    operations = [operation for operation in OPERATIONS if operation.is_endless]
    api.job("running")
    with ExitStack() as streams:
        for _ in range(Settings().streams):
            stream = api.send(described().operations["streamJobs"].call())
            assert stream.status_code == 200
            streams.callback(stream.close)
        for operation in operations:
            answer = api.send(operation.call())
            operation.check(answer)
            assert answer.status_code == 503
            assert answer.get_json() in operation.examples(503).values()
            assert answer.headers["Retry-After"] == "30"
    assert operations


def test_idempotency_keys_in_use(api: ExampleApi, parallel_api: ExampleApi) -> None:
    operations = failing(409, "idempotency-key-is-in-use")
    requests = requests_to(operations, parallel_api.key)
    for operation, call in requests:
        call.headers["Idempotency-Key"] = operation.id
    with api.app.app_context(), database.transaction():
        for operation in operations:  # as a first request that is still running
            assert keys.claim(parallel_api.key_id, operation.id, "00") is None
        for operation, answer in zip(operations, at_once(parallel_api.app, requests), strict=True):
            assert answer.status_code == 409, operation
            assert answer.get_json() == operation.examples(409)["idempotency-key-is-in-use"]
            assert answer.headers["Retry-After"] == "1"
    assert len(operations) > 10
