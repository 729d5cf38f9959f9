"""One call of the API: builds the request, repeats it if needed, reads the answer."""

import json
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import quote, urlencode

from scrape_jobs.errors import ConnectionFailed, UnexpectedAnswer, api_error
from scrape_jobs.retrying import RetryPolicy, retry_after, send_with_retries
from scrape_jobs.transport import Answer, NoAnswer, Request, Timeout, Transport

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

QueryValue = str | int | float | None


@dataclass(frozen=True, slots=True)
class Result:
    """A successful answer.

    Attributes:
        document: Its JSON document; None for an answer without a body, such as 304.
        etag: Its ETag header, or None.
    """

    status: int
    document: Any
    etag: str | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls the API at one address with one key.

    Attributes:
        base_url: The address of the service, without a slash at its end.
        key: The API key, or None if the service runs without keys.
        timeout: Seconds to connect, and seconds between two parts of an answer.
        retry: When requests are repeated.
    """

    base_url: str
    key: str | None = field(repr=False)
    transport: Transport
    timeout: Timeout
    retry: RetryPolicy

    def with_options(
        self, timeout: Timeout | None = None, retry: RetryPolicy | None = None
    ) -> Self:
        """Return a caller with other options that shares the connections."""
        return replace(self, timeout=timeout or self.timeout, retry=retry or self.retry)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, QueryValue] | None = None,
        body: Any = None,
        media_type: str = JSON,
        headers: Mapping[str, str] | None = None,
        extra_seconds: float = 0,
        deadline: float | None = None,
    ) -> Result:
        """Send a request, repeat it after failures that may pass, and return the answer.

        A POST gets an Idempotency-Key of its own, so that its repetition has no second effect.

        Args:
            method: The HTTP method.
            path: The path and its parts, already quoted.
            query: Query parameters; those with the value None are left out.
            body: The JSON document to send, or None.
            media_type: The media type of the body.
            headers: Further headers.
            extra_seconds: How much longer than the timeout the answer may take, for requests that
                wait in the service.
            deadline: The time of `time.monotonic` after which no attempt begins.

        Raises:
            APIError: The service answered with a failure; the subclass names its kind.
            UnexpectedAnswer: Something else than the service has answered.
            ConnectionFailed: The service did not answer.
        """
        request = self._request(method, path, query, body, media_type, headers)
        connect, read = self.timeout

        def send() -> Answer:
            left = math.inf if deadline is None else max(0.1, deadline - time.monotonic())
            return self.transport.send(
                request, (min(connect, left), min(read + extra_seconds, left))
            )

        try:
            answer, attempts = send_with_retries(send, self.retry, deadline=deadline)
        except NoAnswer as error:
            raise ConnectionFailed(f"{method} {self.base_url}{path}: {error}") from error
        document = _document(answer, attempts)
        return Result(answer.status, document, answer.headers.get("etag"))

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, QueryValue],
        headers: Mapping[str, str],
        seconds: float,
    ) -> Iterator[Iterator[bytes]]:
        """Open a stream, once, and yield the parts of its body.

        Args:
            path: The path.
            query: Query parameters; those with the value None are left out.
            headers: Further headers.
            seconds: The maximum time between two parts.

        Raises:
            APIError: The service answered with a failure.
            NoAnswer: The connection failed or broke.
        """
        request = self._request("GET", path, query, None, JSON, headers)
        with self.transport.stream(request, (self.timeout[0], seconds)) as (answer, parts):
            if answer.status != 200:
                _document(replace(answer, body=b"".join(parts)))
            yield parts

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, QueryValue] | None,
        body: Any,
        media_type: str,
        headers: Mapping[str, str] | None,
    ) -> Request:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self.base_url}{path}" + (f"?{urlencode(given)}" if given else "")
        sent = {"Accept": JSON, **(headers or {})}
        if self.key is not None:
            sent["Authorization"] = f"Bearer {self.key}"
        if method == "POST":
            sent.setdefault("Idempotency-Key", str(uuid.uuid4()))
        data = None
        if body is not None:
            data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
            sent["Content-Type"] = media_type
        return Request(method, url, sent, data)


def path_part(text: str) -> str:
    """Return the text as one part of a path."""
    return quote(text, safe="")


def _document(answer: Answer, attempts: int = 1) -> Any:
    """Return the JSON document of an answer. Raises APIError if it is a failure."""
    try:
        document = json.loads(answer.body)
    except ValueError:  # no body, or the page of a proxy
        document = None
    is_success = 200 <= answer.status < 300
    if (is_success and isinstance(document, dict)) or answer.status in (204, 304):
        return document
    if is_success or 300 <= answer.status < 400:
        target = answer.headers.get("location")
        error = f"Redirected to {target}" if target else "The answer is no JSON object"
        raise UnexpectedAnswer(answer.status, error, "Is the address that of the service?")
    failure = api_error(
        answer.status, document, answer.headers.get("x-request-id"), retry_after(answer)
    )
    failure.attempts = attempts
    raise failure
