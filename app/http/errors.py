"""The answer to each exception, in one table."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from app import errors
from app.http.context import current_context
from app.http.operation import Operation
from app.http.response import failure
from app.observability.failure_log import log_failure

log = logging.getLogger(__name__)

MAX_LISTED_FAULTS = 20
"""Maximum number of faults that `details` lists; the others are counted."""

_SERVICE_FAILURE = "Internal server error"
"""The ``error`` of a failure of the service itself. Endpoints have a text of their own for it."""


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """The status, texts and headers of an answer to an exception."""

    status: int
    error: str
    details: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _invalid_input(error: errors.InvalidInput) -> ErrorResponse:
    first, *rest = error.faults
    listed = rest[:MAX_LISTED_FAULTS]
    if len(rest) > MAX_LISTED_FAULTS:
        listed.append(f"and {len(rest) - MAX_LISTED_FAULTS} more")
    return ErrorResponse(400, first, "; ".join(listed))


def _media_type(error: errors.UnsupportedMediaType) -> ErrorResponse:
    headers = {"Accept-Patch": error.expected} if "merge-patch" in error.expected else {}
    return ErrorResponse(
        415, "Unsupported media type", f"Content-Type must be {error.expected}", headers
    )


def _not_authenticated(error: errors.NotAuthenticated) -> ErrorResponse:
    return ErrorResponse(
        401, "Not authenticated", error.reason, {"WWW-Authenticate": 'Bearer realm="scrape-jobs"'}
    )


def _transition(error: errors.TransitionRefused) -> ErrorResponse:
    details = "Maximum retries reached ({} of {})".format(*error.retries) if error.retries else None
    return ErrorResponse(
        400, f"Cannot transition from '{error.current}' to '{error.wanted}'", details
    )


def _too_large(error: errors.DocumentTooLarge) -> ErrorResponse:
    place = "" if error.index is None else f"[{error.index}]."
    return ErrorResponse(
        413, f"Invalid {place}{error.field}: must hold at most {error.limit // 1024} KiB"
    )


def _database_failure(
    error: errors.DatabaseFailure, headers: Mapping[str, str] = MappingProxyType({})
) -> ErrorResponse:
    return ErrorResponse(500, _SERVICE_FAILURE, error.details, headers)


ERROR_RESPONSES: Mapping[type[errors.ScrapeJobError], Callable[[Any], ErrorResponse]] = {
    errors.InvalidInput: _invalid_input,
    errors.InvalidJSON: lambda error: ErrorResponse(
        400, "Invalid body: must be a JSON document", error.reason
    ),
    errors.UnsupportedMediaType: _media_type,
    errors.UnsupportedContentEncoding: lambda _: ErrorResponse(
        415, "Unsupported content encoding", "A body must come as it is, without Content-Encoding"
    ),
    errors.NotAuthenticated: _not_authenticated,
    errors.NotAllowed: lambda error: ErrorResponse(
        403, "Not allowed", f"This needs the scope {' or '.join(error.scopes)}"
    ),
    errors.TooManyRequests: lambda error: ErrorResponse(
        429, "Too many requests", f"At most {error.amount} {error.kind} a minute"
    ),
    errors.KeyNotFound: lambda _: ErrorResponse(404, "Key not found"),
    errors.JobNotFound: lambda _: ErrorResponse(404, "Job not found"),
    errors.TransitionRefused: _transition,
    errors.NotCancellable: lambda error: ErrorResponse(
        409, "Job not found or cannot be cancelled", f"Job is already {error.current}"
    ),
    errors.VersionMismatch: lambda _: ErrorResponse(412, "Job was modified"),
    errors.LeaseLost: lambda error: ErrorResponse(409, "Lease lost", error.reason),
    errors.DocumentTooLarge: _too_large,
    errors.IdempotencyKeyReused: lambda _: ErrorResponse(
        422, "Idempotency-Key was used with a different request"
    ),
    errors.IdempotencyKeyInUse: lambda _: ErrorResponse(
        409,
        "Idempotency-Key is in use",
        "The first request with it is still running",
        {"Retry-After": "1"},
    ),
    errors.StoredResponseUnreadable: lambda _: ErrorResponse(
        500,
        _SERVICE_FAILURE,
        "The first answer cannot be read: SCRAPE_JOBS_SECRETS_KEY lacks its key",
    ),
    errors.WebhookNotFound: lambda _: ErrorResponse(404, "Webhook not found"),
    errors.WebhookLimitReached: lambda error: ErrorResponse(
        409,
        "Webhook limit reached",
        f"A customer may have at most {error.limit} webhooks; delete one first",
    ),
    errors.DeliveryNotFound: lambda _: ErrorResponse(404, "Delivery not found"),
    errors.WebhookInactive: lambda error: ErrorResponse(
        409, "Webhook is not active", error.reason or "Set active to true first"
    ),
    errors.TooManyStreams: lambda error: ErrorResponse(
        503,
        "Too many event streams",
        f"A process serves at most {error.limit} at a time; ask for the jobs meanwhile",
        {"Retry-After": "30"},
    ),
    errors.ProcessStopping: lambda _: ErrorResponse(
        503,
        "Service is stopping",
        "Another process serves event streams in a moment",
        {"Retry-After": "1"},
    ),
    errors.NotReady: lambda error: ErrorResponse(503, "Not ready", error.reason),
    errors.DatabaseFailure: _database_failure,
    errors.DatabaseUnavailable: _database_failure,
    errors.DatabaseReadOnly: _database_failure,
    errors.DatabaseTimeout: _database_failure,
    errors.LockTimeout: lambda error: _database_failure(error, {"Retry-After": "1"}),
    errors.DatabaseForbids: _database_failure,
    errors.NotTried: _database_failure,
}
"""Every subclass of ScrapeJobError has an entry of its own; a test proves it."""

_KEPT_HEADERS = ("Allow", "Retry-After", "Location")
"""Headers of an exception of Werkzeug that the answer keeps."""

_HTTP_TEXTS: Mapping[int, tuple[str, str | None]] = {
    400: ("Bad request", None),
    404: ("Not found", "There is no such route"),
    405: ("Method not allowed", None),
    413: ("Request body too large", "A body may have at most 1 MiB"),
}


def register(app: Flask) -> None:
    """Make `app` answer every exception in the common form of failures."""
    app.register_error_handler(errors.ScrapeJobError, error_response)
    app.register_error_handler(HTTPException, http_error_response)
    app.register_error_handler(Exception, unexpected_error_response)


def error_response(error: errors.ScrapeJobError) -> Response:
    """Return the answer to `error`.

    A view may return it instead of raising `error`: then an idempotent view keeps its work and
    its answer, which an exception would roll back.
    """
    if isinstance(error, errors.DatabaseFailure):
        log_failure(
            log, logging.ERROR, "database failure: %s", error.details, cause=error.__cause__
        )
    return _response(describe(error, current_context().operation))


def describe(
    error: errors.ScrapeJobError | HTTPException, operation: Operation | None
) -> ErrorResponse:
    """Return the status, texts and headers of the answer to `error`.

    Args:
        error: The exception.
        operation: The declaration of the endpoint, which has the text of a failure of the service
            itself. None if there is no endpoint.
    """
    if isinstance(error, errors.ScrapeJobError):
        return _with_failure_text(ERROR_RESPONSES[type(error)](error), operation)
    status = error.code or 500
    text, details = _HTTP_TEXTS.get(status, (error.name.capitalize(), None))
    headers = {name: value for name, value in error.get_headers() if name in _KEPT_HEADERS}
    return ErrorResponse(status, text, details, headers)


def _with_failure_text(answer: ErrorResponse, operation: Operation | None) -> ErrorResponse:
    """Return the answer with the endpoint's text, if it reports a failure of the service."""
    if operation is None or answer.status != 500:
        return answer
    return replace(answer, error=operation.failure)


def _response(answer: ErrorResponse) -> Response:
    return failure(answer.status, answer.error, answer.details, answer.headers)


def http_error_response(error: HTTPException) -> Response:
    """Return the answer to an exception of Werkzeug."""
    if (error.code or 500) >= 500:
        return unexpected_error_response(error)
    return _response(describe(error, current_context().operation))


def unexpected_error_response(error: Exception) -> Response:
    """Log an exception that the service does not expect, and return the answer to it."""
    log.error("unexpected error", exc_info=error)
    answer = ErrorResponse(500, _SERVICE_FAILURE, "Internal error")
    return _response(_with_failure_text(answer, current_context().operation))
