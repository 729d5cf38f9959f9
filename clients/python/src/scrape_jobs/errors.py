"""Exceptions of the client: one class for each kind of failure."""

from collections.abc import Mapping
from typing import Any


class ScrapeJobsError(Exception):
    """The base class of all exceptions of this package."""


class ConfigurationError(ScrapeJobsError):
    """The address or the key of the service is missing or invalid."""


class ConnectionFailed(ScrapeJobsError):
    """The service sent no answer, and the attempts are used up."""


class DeadlineExceeded(ScrapeJobsError):
    """The deadline passed before the job ended."""


class RepeatedCursor(ScrapeJobsError):
    """The service returned the same page twice; following its cursor would never end."""


class APIError(ScrapeJobsError):
    """The service answered with a failure.

    Attributes:
        status: The HTTP status code.
        error: The `error` of the answer.
        details: The `details` of the answer, or None.
        request_id: The id of the request, which the log of the service contains.
        retry_after: Seconds after which the service allows the next attempt, or None.
        attempts: How many attempts the request took.
    """

    attempts: int = 1

    def __init__(
        self,
        status: int,
        error: str,
        details: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.error = error
        self.details = details
        self.request_id = request_id
        self.retry_after = retry_after
        text = f"{status} {error}" + (f" ({details})" if details else "")
        super().__init__(f"{text} [request {request_id}]" if request_id else text)


class InvalidRequest(APIError):
    """A value of the request is invalid (400, 413, 415 or 422)."""


class TransitionRefused(InvalidRequest):
    """The job's status does not allow the requested status, or no retries are left (400)."""


class NotAuthenticated(APIError):
    """The key is missing, unknown, expired or revoked (401)."""


class NotAllowed(APIError):
    """The key lacks the required scope (403)."""


class NotFound(APIError):
    """The job, webhook or route does not exist for this key (404)."""


class Conflict(APIError):
    """The resource's state does not allow the request (409)."""


class LeaseLost(Conflict):
    """The job is no longer leased under this token (409). Stop working on it."""


class JobModified(APIError):
    """The job has another version than `if_match` names (412)."""


class TooManyRequests(APIError):
    """The rate limit is reached (429)."""


class ServerError(APIError):
    """The service or its database failed (5xx)."""


class UnexpectedAnswer(APIError):
    """The answer is none of the service's: a redirection, or a page of a proxy or another site."""


_BY_STATUS: Mapping[int, type[APIError]] = {
    400: InvalidRequest,
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: JobModified,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: TooManyRequests,
}


def api_error(
    status: int, document: Any, request_id: str | None, retry_after: float | None
) -> APIError:
    """Return the exception for an answer.

    Args:
        status: The HTTP status code.
        document: The JSON document of the answer, or None if there is none. A proxy may have sent
            something else than the service's form of failures.
        request_id: The X-Request-ID of the answer.
        retry_after: The Retry-After of the answer in seconds.
    """
    failure = document if isinstance(document, dict) else {}
    error, details = str(failure.get("error") or "No details"), failure.get("details")
    kind = _kind(status, error)
    return kind(status, error, None if details is None else str(details), request_id, retry_after)


def _kind(status: int, error: str) -> type[APIError]:
    if status == 409 and error == "Lease lost":
        return LeaseLost
    if status == 400 and error.startswith("Cannot transition"):
        return TransitionRefused
    return ServerError if status >= 500 else _BY_STATUS.get(status, APIError)
