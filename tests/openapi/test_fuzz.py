"""Generated requests: no operation fails, and every answer is as the document says."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.fuzzing import FuzzedService, fuzzed_document, fuzzed_service

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BOUNDED = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

API = schemathesis.openapi.from_dict(fuzzed_document())
WITHOUT_COVERAGE = schemathesis.openapi.from_dict(fuzzed_document())
WITHOUT_COVERAGE.config.phases.coverage.enabled = False
"""For further callers: the coverage phase sends some 200 requests to each operation."""


@pytest.fixture(scope="module")
def fuzzed(server_url: str) -> Iterator[FuzzedService]:
    """A service with keys, and the callers."""
    with fuzzed_service(server_url) as fuzzed:
        yield fuzzed


def check(case: Case[Any], fuzzed: FuzzedService, caller: str) -> Response:
    """Send the request, and check that the document has its answer."""
    answer = case.call(fuzzed.service.url, fuzzed.session, headers=dict(fuzzed.callers[caller]))
    case.validate_response(answer, checks=CHECKS)
    assert answer.headers["x-request-id"]
    return answer


@API.parametrize()
@settings(BOUNDED, max_examples=4)
def test_requests_of_an_administrator(case: Case[Any], fuzzed: FuzzedService) -> None:
    answer = check(case, fuzzed, "administrator")
    assert answer.status_code not in (401, 403)


@WITHOUT_COVERAGE.parametrize()
@settings(BOUNDED, max_examples=4)
def test_requests_of_a_customer(case: Case[Any], fuzzed: FuzzedService) -> None:
    answer = check(case, fuzzed, "customer")
    assert answer.status_code != 401


@API.parametrize()
@settings(BOUNDED, max_examples=2)
def test_requests_without_key(case: Case[Any], fuzzed: FuzzedService) -> None:
    answer = check(case, fuzzed, "anonymous")
    is_open = "401" not in case.operation.definition.raw["responses"]
    assert is_open or answer.status_code in (401, 405) or answer.request.method == "OPTIONS"


@pytest.mark.parametrize("caller", ["anonymous", "customer", "administrator"])
def test_sequences_of_requests(fuzzed: FuzzedService, caller: str) -> None:
    class Sequences(API.as_state_machine()):  # type: ignore[misc]  # made from the document
        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:  # noqa: ARG002
            return {
                "base_url": fuzzed.service.url,
                "session": fuzzed.session,
                "headers": dict(fuzzed.callers[caller]),
            }

        def validate_response(self, response: Any, case: Case[Any], **options: Any) -> None:
            case.validate_response(response, checks=CHECKS, transport_kwargs=options)

    Sequences.run(settings=settings(BOUNDED, max_examples=8, stateful_step_count=6))
