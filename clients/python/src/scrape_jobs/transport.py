"""The sending of requests: one `requests.Session` for each thread."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import requests

Timeout = tuple[float, float]
"""Seconds to connect, and seconds to wait for the next bytes of the answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is sent."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # with the key
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was received. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(Exception):
    """The request got no complete answer: the connection failed, broke or timed out."""


class Transport(Protocol):
    """Sends requests. Its methods are called from several threads at the same time."""

    def send(self, request: Request, timeout: Timeout) -> Answer:
        """Send the request and return the answer. Raises NoAnswer."""

    def stream(
        self, request: Request, timeout: Timeout
    ) -> AbstractContextManager[tuple[Answer, Iterator[bytes]]]:
        """Send the request; yield the answer without its body, and the parts of the body.

        Both the call and the iteration raise NoAnswer.
        """


class RequestsTransport:
    """Sends requests with the library `requests`; each thread has a session of its own.

    A session is not safe for several threads, and connections must not be shared with a process
    that was forked.
    """

    def __init__(self, make_session: Callable[[], requests.Session] = requests.Session) -> None:
        """Use `make_session` to create each session, for example with a proxy or a private CA."""
        self._make_session = make_session
        self._local = threading.local()

    def send(self, request: Request, timeout: Timeout) -> Answer:
        """Send the request and return the answer. Redirects are not followed."""
        try:
            response = self._send(request, timeout, stream=False)
        except (requests.RequestException, OSError) as error:
            raise NoAnswer(str(error)) from error
        return _answer(response, response.content)

    @contextmanager
    def stream(
        self, request: Request, timeout: Timeout
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """Send the request; yield the answer without its body, and the parts of the body."""
        try:
            response = self._send(request, timeout, stream=True)
        except (requests.RequestException, OSError) as error:
            raise NoAnswer(str(error)) from error
        with response:
            yield _answer(response, b""), _parts(response)

    def _send(self, request: Request, timeout: Timeout, *, stream: bool) -> requests.Response:
        return self._session().request(
            request.method,
            request.url,
            headers=dict(request.headers),
            data=request.body,
            timeout=timeout,
            stream=stream,
            allow_redirects=False,
            auth=_keep_headers if "Authorization" in request.headers else None,
        )

    def _session(self) -> requests.Session:
        """Return the session of this thread; after a fork, a new one."""
        if getattr(self._local, "process", None) != os.getpid():
            self._local.process = os.getpid()
            self._local.session = self._make_session()
        session: requests.Session = self._local.session
        return session


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave the Authorization header as it is; an entry of ~/.netrc would replace it."""
    return request


def _answer(response: requests.Response, body: bytes) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, body)


def _parts(response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_content(chunk_size=None)
    except (requests.RequestException, OSError) as error:
        raise NoAnswer(str(error)) from error
