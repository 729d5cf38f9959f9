"""What can go wrong, as facts. Nothing here knows HTTP: `app.http.errors` says how each is
answered."""

from collections.abc import Sequence


class ScrapeJobError(Exception):
    """The family: everything this service refuses or fails at on purpose."""


class InvalidInput(ScrapeJobError):
    """The request holds values that break the rules.

    `faults` are sentences such as ``Invalid retry_count: must be a non-negative integer``, in the
    order of the document's fields; there is at least one.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults: Sequence[str] = faults


class InvalidJSON(ScrapeJobError):
    """The body is no JSON document that the service can hold; `reason` says why in a few safe
    words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnsupportedMediaType(ScrapeJobError):
    """The body is not of the media type `expected`, which the endpoint takes."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


class UnsupportedContentEncoding(ScrapeJobError):
    """The body is compressed, or otherwise not as it is."""


class NotAuthenticated(ScrapeJobError):
    """Nobody knows who asks; `reason` says why in a few safe words.

    `key_id` is the id of the key where it is one that was valid once, for the log alone.
    """

    def __init__(self, reason: str, key_id: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.key_id = key_id


class NotAllowed(ScrapeJobError):
    """The caller may not do this: it needs one of `scopes`."""

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(scopes)
        self.scopes = scopes


class TooManyRequests(ScrapeJobError):
    """The caller, or the job, has had the `amount` a minute of this `kind` of requests."""

    def __init__(self, amount: int, kind: str) -> None:
        super().__init__(amount, kind)
        self.amount = amount
        self.kind = kind


class KeyNotFound(ScrapeJobError):
    """There is no such key, or it is not valid any more."""


class JobNotFound(ScrapeJobError):
    """There is no such job, as far as the caller may know."""


class TransitionRefused(ScrapeJobError):
    """The job's status does not lead to the wanted one.

    `retries` is ``(retry_count, max_retries)`` where a retry was refused because they are used up,
    else None.
    """

    def __init__(self, current: str, wanted: str, retries: tuple[int, int] | None = None) -> None:
        super().__init__(current, wanted, retries)
        self.current = current
        self.wanted = wanted
        self.retries = retries


class NotCancellable(ScrapeJobError):
    """The job has reached the final status `current` and cannot be cancelled any more."""

    def __init__(self, current: str) -> None:
        super().__init__(current)
        self.current = current


class VersionMismatch(ScrapeJobError):
    """The job was changed since the version that the caller named."""


class LeaseLost(ScrapeJobError):
    """The job is not leased to the bearer of this token; `reason` is what there is more to say, or
    None."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class DocumentTooLarge(ScrapeJobError):
    """The JSON document `field` would be larger than `limit` bytes; `index` is its job's among
    several, or None."""

    def __init__(self, field: str, limit: int, index: int | None = None) -> None:
        super().__init__(field, limit, index)
        self.field = field
        self.limit = limit
        self.index = index


class AnswerUnreadable(ScrapeJobError):
    """What the first request with this key was answered is kept, but encrypted with a key that is
    gone."""


class IdempotencyKeyReused(ScrapeJobError):
    """The idempotency key came before with another request."""


class IdempotencyKeyInUse(ScrapeJobError):
    """The first request with this idempotency key is still running."""


class WebhookNotFound(ScrapeJobError):
    """There is no such webhook endpoint, as far as the caller may know."""


class WebhookLimitReached(ScrapeJobError):
    """The customer has `limit` webhook endpoints already, which is as many as one may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class DeliveryNotFound(ScrapeJobError):
    """There is no such delivery to this endpoint."""


class WebhookInactive(ScrapeJobError):
    """Nothing is sent to this endpoint; `reason` says why the service disabled it, or is None where
    a user did."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


class NotReady(ScrapeJobError):
    """The service cannot do its work yet; `reason` says why in a few safe words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DatabaseFailure(ScrapeJobError):
    """The database did not do its part; `details` is fixed text, never the driver's."""

    details = "Database error"


class DatabaseUnavailable(DatabaseFailure):
    """No connection could be made, or it broke while the statement ran."""

    details = "Database unavailable"


class DatabaseReadOnly(DatabaseUnavailable):
    """The server takes no writes: it is a standby, or was set to read-only."""

    details = "Database is read-only"


class DatabaseTimeout(DatabaseFailure):
    """No connection became free, none could be made, or no answer came, in time."""

    details = "Database connection timeout"


class LockTimeout(DatabaseFailure):
    """Somebody else held the row for too long."""

    details = "Lock timeout"


class DatabaseForbids(DatabaseFailure):
    """The database role that DATABASE_URL names has no right to this."""

    details = "The database role has no right to this"
