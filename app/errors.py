"""Exceptions of the service.

They do not depend on HTTP: the table in `app.http.errors` maps each of them to an answer.
"""

from collections.abc import Sequence


class ScrapeJobError(Exception):
    """Base class of all exceptions that the service raises on purpose."""


class InvalidInput(ScrapeJobError):
    """One or more values of the request are invalid.

    `faults` has at least one sentence such as ``Invalid retry_count: must be a non-negative
    integer``, in the order of the document's fields.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults: Sequence[str] = faults


class InvalidJSON(ScrapeJobError):
    """The body is not a JSON document that can be stored; `reason` is safe to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnsupportedMediaType(ScrapeJobError):
    """The body does not have the media type `expected`."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


class UnsupportedContentEncoding(ScrapeJobError):
    """The body is compressed or otherwise encoded."""


class NotAuthenticated(ScrapeJobError):
    """The request has no valid API key; `reason` is safe to show.

    `key_id` is the id of a revoked or expired key, for the log only.
    """

    def __init__(self, reason: str, key_id: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.key_id = key_id


class NotAllowed(ScrapeJobError):
    """The caller lacks the scope: it needs one of `scopes`."""

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(scopes)
        self.scopes = scopes


class TooManyRequests(ScrapeJobError):
    """The caller, or the job, has reached the limit of `amount` requests of a `kind` a minute."""

    def __init__(self, amount: int, kind: str) -> None:
        super().__init__(amount, kind)
        self.amount = amount
        self.kind = kind


class KeyNotFound(ScrapeJobError):
    """The API key does not exist or is no longer valid."""


class JobNotFound(ScrapeJobError):
    """The job does not exist, or the caller may not see it."""


class TransitionRefused(ScrapeJobError):
    """The job cannot change from the status `current` to `wanted`.

    `retries` is ``(retry_count, max_retries)`` if no retry is left, else None.
    """

    def __init__(self, current: str, wanted: str, retries: tuple[int, int] | None = None) -> None:
        super().__init__(current, wanted, retries)
        self.current = current
        self.wanted = wanted
        self.retries = retries


class NotCancellable(ScrapeJobError):
    """The job has the final status `current` and cannot be cancelled."""

    def __init__(self, current: str) -> None:
        super().__init__(current)
        self.current = current


class VersionMismatch(ScrapeJobError):
    """The job has a newer version than the caller named."""


class LeaseLost(ScrapeJobError):
    """The job is not leased under this token; `reason` adds details, or is None."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class DocumentTooLarge(ScrapeJobError):
    """The JSON document `field` would have more than `limit` bytes.

    `index` is the position of its job in an array of jobs, or None.
    """

    def __init__(self, field: str, limit: int, index: int | None = None) -> None:
        super().__init__(field, limit, index)
        self.field = field
        self.limit = limit
        self.index = index


class StoredResponseUnreadable(ScrapeJobError):
    """The stored response of the idempotency key is encrypted with a secret that is missing."""


class IdempotencyKeyReused(ScrapeJobError):
    """The idempotency key was used with a different request."""


class IdempotencyKeyInUse(ScrapeJobError):
    """The first request with this idempotency key is still running."""


class WebhookNotFound(ScrapeJobError):
    """The webhook endpoint does not exist, or the caller may not see it."""


class WebhookLimitReached(ScrapeJobError):
    """The customer has `limit` webhook endpoints, the maximum."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class DeliveryNotFound(ScrapeJobError):
    """The webhook endpoint has no such delivery."""


class WebhookInactive(ScrapeJobError):
    """The webhook endpoint is inactive.

    `reason` says why the service disabled it, or is None if a user did.
    """

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


class TooManyStreams(ScrapeJobError):
    """This process serves `limit` event streams already, the maximum."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class ProcessStopping(ScrapeJobError):
    """This process is about to end, and begins no event stream."""


class NotReady(ScrapeJobError):
    """The service cannot serve requests now; `reason` is safe to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DatabaseFailure(ScrapeJobError):
    """A statement failed in the database; `details` is fixed text, never the driver's."""

    details = "Database error"


class DatabaseUnavailable(DatabaseFailure):
    """No connection could be made, or it broke during the statement."""

    details = "Database unavailable"


class DatabaseReadOnly(DatabaseUnavailable):
    """The server accepts no writes: it is a standby, or set to read-only."""

    details = "Database is read-only"


class DatabaseTimeout(DatabaseFailure):
    """In time, no connection became free, none could be made, or no answer came."""

    details = "Database connection timeout"


class LockTimeout(DatabaseFailure):
    """Another transaction held the row for too long."""

    details = "Lock timeout"


class DatabaseForbids(DatabaseFailure):
    """The database role of DATABASE_URL lacks a privilege."""

    details = "The database role has no right to this"


class NotTried(DatabaseFailure):
    """The time of a request about many jobs was used up before this job."""

    details = "Not tried: the other jobs took too long"
