"""The failures of an endpoint, as responses of the OpenAPI document."""

import re
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from app.config import Settings
from app.errors import (
    DatabaseFailure,
    DatabaseUnavailable,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidJSON,
    JobNotFound,
    LockTimeout,
    NotAllowed,
    NotAuthenticated,
    ScrapeJobError,
    TooManyRequests,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
    WebhookNotFound,
)
from app.http.documentation import Documentation
from app.http.documented_headers import ACCEPT_PATCH, AUTHENTICATE, RATE_LIMITS, RETRY_AFTER
from app.http.errors import ERROR_RESPONSES, ErrorResponse, describe
from app.http.operation import Operation, RateLimitClass
from app.http.response import JSON

Failure = ScrapeJobError | HTTPException

_NOT_FOUND: Mapping[str, Failure] = {"job": JobNotFound(), "webhook": WebhookNotFound()}

_DEFAULTS = Settings()
_RATE_LIMITS = {
    RateLimitClass.READS: _DEFAULTS.rate_limit_reads,
    RateLimitClass.UPDATES: _DEFAULTS.rate_limit_updates,
    RateLimitClass.CREATIONS: _DEFAULTS.rate_limit_creations,
    RateLimitClass.JOB_UPDATES: _DEFAULTS.rate_limit_job,
}

_HEADERS = {header.name: header for header in (ACCEPT_PATCH, AUTHENTICATE, RETRY_AFTER)}

_REFUSED_BEFORE_LIMITS = (401, 403)
"""Requests that are refused with these do not count against a rate limit."""

_FAILURE_DETAILS = sorted(
    kind.details
    for kind in ERROR_RESPONSES
    if issubclass(kind, DatabaseFailure) and kind is not DatabaseFailure
)


def failures_of(
    operation: Operation, documentation: Documentation, method: str, ids: Sequence[str]
) -> list[Failure]:
    """Return an exception for each failure of an endpoint.

    Args:
        operation: The endpoint's declaration.
        documentation: Its documentation.
        method: The HTTP method.
        ids: The names of the ids in its path.
    """
    return [
        *(InvalidInput(f"Invalid {name}: must be a UUID") for name in ids),
        *_failures_of_reading(documentation, method),
        *documentation.raises,
        *_failures_of_subject(operation),
        *_failures_of_access(operation, method),
    ]


def _failures_of_reading(documentation: Documentation, method: str) -> Iterator[Failure]:
    if documentation.query is not None:
        yield InvalidInput("Unknown field: verbose")
    if documentation.body is not None:
        yield InvalidJSON("Expecting value at line 1, column 1")
        yield UnsupportedMediaType(documentation.body.media_type)
    if method == "POST":
        yield InvalidInput("Invalid Idempotency-Key: must be 1 to 255 visible ASCII characters")
        yield IdempotencyKeyInUse()
        yield IdempotencyKeyReused()
    if documentation.body is not None or method == "POST":
        yield RequestEntityTooLarge()
        yield UnsupportedContentEncoding()


def _failures_of_subject(operation: Operation) -> Iterator[Failure]:
    if operation.subject is not None:
        yield _NOT_FOUND[operation.subject]


def _failures_of_access(operation: Operation, method: str) -> Iterator[Failure]:
    if operation.is_open:
        return
    yield NotAuthenticated("Send a key: Authorization: Bearer <key>")
    yield NotAllowed(operation.scopes)
    rate_limit_class = operation.rate_limit_class(method)
    yield TooManyRequests(_RATE_LIMITS[rate_limit_class], rate_limit_class)
    yield DatabaseUnavailable()
    if method != "GET":
        yield LockTimeout()


def responses_of(failures: Sequence[Failure], operation: Operation) -> dict[int, dict[str, Any]]:
    """Return the responses of an endpoint's failures by status, with an example of each text."""
    answers: dict[int, list[ErrorResponse]] = defaultdict(list)
    for failure in failures:
        answer = describe(failure, operation)
        answers[answer.status].append(answer)
    return {status: _response(status, found) for status, found in sorted(answers.items())}


def _response(status: int, answers: Sequence[ErrorResponse]) -> dict[str, Any]:
    names = {name for answer in answers for name in answer.headers}
    if status == 429:
        names.add(RETRY_AFTER.name)  # the rate limiter adds it
    limits = () if status in _REFUSED_BEFORE_LIMITS else RATE_LIMITS
    schema = {"$ref": "#/components/schemas/Failure"}
    examples: dict[str, Any] = {}
    for answer in answers:
        examples[_name(answer, examples)] = {"value": _body(answer)}
    return {
        "description": _description(status),
        "headers": [*(_HEADERS[name] for name in sorted(names)), *limits],
        "content": {JSON: {"schema": schema, "examples": examples}},
    }


def _description(status: int) -> str:
    phrase = HTTPStatus(status).phrase
    if status != 500:
        return phrase
    return f"{phrase}: `details` is {', '.join(_FAILURE_DETAILS)}, or Internal error."


def _body(answer: ErrorResponse) -> dict[str, Any]:
    body = {"success": False, "error": answer.error}
    return {**body, "details": answer.details} if answer.details else body


def _name(answer: ErrorResponse, taken: Container[str]) -> str:
    """Return a new name for an example, such as ``job-not-found``; of a failure, by its details."""
    details = answer.details or ""
    name = _hyphenated(details if answer.status >= 500 else answer.error)
    return name if name not in taken else _hyphenated(f"{answer.error} {details}")


def _hyphenated(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


FAILURE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "Every failure has this form.",
    "properties": {
        "success": {"type": "boolean", "const": False},
        "error": {"type": "string", "description": "What went wrong, in one sentence."},
        "details": {"type": "string", "description": "More, where there is more to say."},
    },
    "required": ["success", "error"],
    "additionalProperties": False,
}
