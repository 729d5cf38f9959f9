"""Which exception gets which answer: the one table."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from app import errors
from app.http.operation import failure_text
from app.http.response import failure
from app.observability.failure_log import log_failure

log = logging.getLogger(__name__)

LISTED_FAULTS = 20
"""Faults that `details` lists before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A failure's status, texts and headers."""

    status: int
    error: str
    details: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _invalid_input(error: errors.InvalidInput) -> Answer:
    first, *rest = error.faults
    listed = rest[:LISTED_FAULTS]
    if len(rest) > LISTED_FAULTS:
        listed.append(f"and {len(rest) - LISTED_FAULTS} more")
    return Answer(400, first, "; ".join(listed))


def _media_type(error: errors.UnsupportedMediaType) -> Answer:
    headers = {"Accept-Patch": error.expected} if "merge-patch" in error.expected else {}
    return Answer(415, "Unsupported media type", f"Content-Type must be {error.expected}", headers)


def _not_authenticated(error: errors.NotAuthenticated) -> Answer:
    return Answer(
        401, "Not authenticated", error.reason, {"WWW-Authenticate": 'Bearer realm="scrape-jobs"'}
    )


def _transition(error: errors.TransitionRefused) -> Answer:
    details = "Maximum retries reached ({} of {})".format(*error.retries) if error.retries else None
    return Answer(400, f"Cannot transition from '{error.current}' to '{error.wanted}'", details)


def _too_large(error: errors.DocumentTooLarge) -> Answer:
    place = "" if error.index is None else f"[{error.index}]."
    return Answer(413, f"Invalid {place}{error.field}: must hold at most {error.limit // 1024} KiB")


ANSWERS: Mapping[type[errors.ScrapeJobError], Callable[[Any], Answer]] = {
    errors.InvalidInput: _invalid_input,
    errors.InvalidJSON: lambda error: Answer(
        400, "Invalid body: must be a JSON document", error.reason
    ),
    errors.UnsupportedMediaType: _media_type,
    errors.UnsupportedContentEncoding: lambda _: Answer(
        415, "Unsupported content encoding", "A body must come as it is, without Content-Encoding"
    ),
    errors.NotAuthenticated: _not_authenticated,
    errors.NotAllowed: lambda error: Answer(
        403, "Not allowed", f"This needs the scope {' or '.join(error.scopes)}"
    ),
    errors.TooManyRequests: lambda error: Answer(
        429, "Too many requests", f"At most {error.amount} {error.kind} a minute"
    ),
    errors.KeyNotFound: lambda _: Answer(404, "Key not found"),
    errors.JobNotFound: lambda _: Answer(404, "Job not found"),
    errors.TransitionRefused: _transition,
    errors.NotCancellable: lambda error: Answer(
        409, "Job not found or cannot be cancelled", f"Job is already {error.current}"
    ),
    errors.VersionMismatch: lambda _: Answer(412, "Job was modified"),
    errors.LeaseLost: lambda error: Answer(409, "Lease lost", error.reason),
    errors.DocumentTooLarge: _too_large,
    errors.IdempotencyKeyReused: lambda _: Answer(
        422, "Idempotency-Key was used with a different request"
    ),
    errors.IdempotencyKeyInUse: lambda _: Answer(
        409,
        "Idempotency-Key is in use",
        "The first request with it is still running",
        {"Retry-After": "1"},
    ),
    errors.AnswerUnreadable: lambda _: Answer(
        500,
        failure_text(),
        "The first answer cannot be read: SCRAPE_JOBS_SECRETS_KEY lacks its key",
    ),
    errors.WebhookNotFound: lambda _: Answer(404, "Webhook not found"),
    errors.WebhookLimitReached: lambda error: Answer(
        409,
        "Webhook limit reached",
        f"A customer may have at most {error.limit} webhooks; delete one first",
    ),
    errors.DeliveryNotFound: lambda _: Answer(404, "Delivery not found"),
    errors.WebhookInactive: lambda error: Answer(
        409, "Webhook is not active", error.reason or "Set active to true first"
    ),
    errors.NotReady: lambda error: Answer(503, "Not ready", error.reason),
    errors.DatabaseFailure: lambda error: Answer(500, failure_text(), error.details),
    errors.DatabaseUnavailable: lambda error: Answer(500, failure_text(), error.details),
    errors.DatabaseReadOnly: lambda error: Answer(500, failure_text(), error.details),
    errors.DatabaseTimeout: lambda error: Answer(500, failure_text(), error.details),
    errors.LockTimeout: lambda error: Answer(
        500, failure_text(), error.details, {"Retry-After": "1"}
    ),
    errors.DatabaseForbids: lambda error: Answer(500, failure_text(), error.details),
}
"""Every exception of the family, by its own class; a test proves that none is missing."""

_HTTP_TEXTS: Mapping[int, tuple[str, str | None]] = {
    400: ("Bad request", None),
    404: ("Not found", "There is no such route"),
    405: ("Method not allowed", None),
    413: ("Request body too large", "A body may have at most 1 MiB"),
}


def register(app: Flask) -> None:
    """Make `app` answer every exception in the common form."""
    app.register_error_handler(errors.ScrapeJobError, answer)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unexpected)


def answer(error: errors.ScrapeJobError) -> Response:
    """Return the answer that tells of `error`."""
    form = ANSWERS[type(error)](error)
    if isinstance(error, errors.DatabaseFailure):
        log_failure(
            log, logging.ERROR, "database failure: %s", error.details, cause=error.__cause__
        )
    return failure(form.status, form.error, form.details, form.headers)


def _answer_http(error: HTTPException) -> Response:
    status = error.code or 500
    if status >= 500:
        return _answer_unexpected(error)
    text, details = _HTTP_TEXTS.get(status, (error.name.capitalize(), None))
    headers = {
        name: value
        for name, value in error.get_headers()
        if name in ("Allow", "Retry-After", "Location")
    }
    return failure(status, text, details, headers)


def _answer_unexpected(error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    return failure(500, failure_text(), "Internal error")
