"""Parsing of event streams.

Source: WHATWG HTML, section 9.2.6 (interpreting an event stream).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream. The stream can be resumed after `id`."""

    type: str
    data: str
    id: str | None


def parse_events(parts: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """Yield the events of a stream; an event that the end of the stream cuts off is dropped."""
    fields: dict[str, str] = {}
    data: list[str] = []
    last_id: str | None = None
    for line in _lines(parts):
        if not line:
            if data:
                yield ServerSentEvent(fields.get("event", "message"), "\n".join(data), last_id)
            fields, data = {}, []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "id":
            last_id = value
        elif name:  # a line that begins with a colon is a comment
            fields[name] = value


def _lines(parts: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a stream of bytes, which end with LF or CR LF."""
    rest = b""
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
