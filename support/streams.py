"""A client of event streams, by the WHATWG HTML standard."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import requests


@dataclass
class Frame:
    """A frame of a stream: its event, its id, its data, and when it came."""

    event: str
    id: str
    data: dict[str, Any]
    at: float


@dataclass
class _Unfinished:
    event: str = "message"
    data: list[str] = field(default_factory=list)


class EventSource:
    """An open stream, which is read in a thread; a context manager."""

    def __init__(self, url: str, last_event_id: str | None = None, key: str | None = None) -> None:
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self.response = requests.get(url, headers=headers, stream=True, timeout=60)
        assert self.response.status_code == 200, self.response.text
        self.frames: list[Frame] = []
        self.comments: list[str] = []
        self.last_event_id = last_event_id
        self.has_ended = threading.Event()
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        unfinished = _Unfinished()
        with suppress(requests.RequestException, AttributeError, ValueError, OSError):
            for line in self.response.iter_lines(chunk_size=1):
                unfinished = self._take(line.decode(), unfinished)
        self.has_ended.set()
        with self._changed:
            self._changed.notify_all()

    def _take(self, line: str, unfinished: _Unfinished) -> _Unfinished:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        with self._changed:
            if not line and unfinished.data:
                data = json.loads("\n".join(unfinished.data))
                self.frames.append(
                    Frame(unfinished.event, self.last_event_id or "", data, time.time())
                )
                self._changed.notify_all()
            if not line:
                return _Unfinished()
            match name:
                case "":
                    self.comments.append(value)
                    self._changed.notify_all()
                case "id":
                    self.last_event_id = value
                case "event":
                    unfinished.event = value
                case "data":
                    unfinished.data.append(value)
        return unfinished

    def wait(self, condition: Callable[[Self], object], seconds: float = 30) -> None:
        """Wait until `condition` holds; fail after `seconds`."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), seconds), self.frames

    def ready(self) -> Self:
        """Wait for the first frame or comment."""
        self.wait(lambda source: source.frames or source.comments)
        return self

    def changes(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Return the data of the frames of jobs, or of one job."""
        return [
            frame.data
            for frame in self.frames
            if frame.event == "job" and job_id in (None, frame.data["id"])
        ]

    def wait_for_version(self, job_id: str, version: int, seconds: float = 30) -> dict[str, Any]:
        """Wait for a frame of the job with at least this version, and return its data."""
        self.wait(lambda _: any(c["version"] >= version for c in self.changes(job_id)), seconds)
        return self.changes(job_id)[-1]

    def close(self) -> None:
        """Close the connection, as a page does that is left."""
        # The thread that reads holds the response until more bytes or the end arrive.
        connection = self.response.raw.connection
        with suppress(OSError):
            if connection is not None and connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
