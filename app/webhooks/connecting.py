"""Connects to the first of several addresses that answers: Happy Eyeballs (RFC 8305)."""

import errno
import os
import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any

CONNECTION_DELAY_SECONDS = 0.25
"""Wait before the next connection is started beside those without an answer (RFC 8305, section 5).
"""

Address = tuple[Any, ...]
AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Address]
"""An entry of the result of `socket.getaddrinfo`."""


def interleave(found: Sequence[AddressInfo]) -> list[AddressInfo]:
    """Return the addresses with alternating address families (RFC 8305, section 4)."""
    family = found[0][0] if found else None
    preferred = [info for info in found if info[0] == family]
    others = [info for info in found if info[0] != family]
    pairs = zip_longest(preferred, others)
    return [info for info in chain.from_iterable(pairs) if info is not None]


def connect(found: Sequence[AddressInfo], ends_at: float) -> socket.socket:
    """Return a blocking socket that is connected to one of the addresses.

    Args:
        found: The addresses, the preferred one first; at least one.
        ends_at: The deadline, on the clock of `time.monotonic`.

    Raises:
        TimeoutError: No address answered before the deadline.
        OSError: Every connection failed; this is the last error.
    """
    race = _ConnectionRace(interleave(found), ends_at)
    try:
        return race.run()
    finally:
        race.close()


@dataclass
class _ConnectionRace:
    """The connections in progress; the first that succeeds wins."""

    waiting: list[AddressInfo]
    ends_at: float
    next_start: float = 0.0
    failure: OSError | None = None
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self) -> socket.socket:
        """Start one connection after the other until one succeeds."""
        while self.waiting or self.selector.get_map():
            if self.waiting and (
                time.monotonic() >= self.next_start or not self.selector.get_map()
            ):
                self._start(self.waiting.pop(0))
            if (winner := self._winner()) is not None:
                winner.setblocking(True)
                return winner
            if time.monotonic() >= self.ends_at:
                raise TimeoutError
        raise self.failure or TimeoutError()

    def close(self) -> None:
        """Close the sockets of the connections that did not win."""
        for key in list((self.selector.get_map() or {}).values()):
            self._close(key.fileobj)
        self.selector.close()

    def _start(self, info: AddressInfo) -> None:
        """Start a connection. The next one starts after the delay, or at once if this one fails."""
        family, kind, protocol, _, address = info
        try:
            made = socket.socket(family, kind, protocol)
        except OSError as error:  # this machine does not support the family
            self.failure = error
            return
        made.setblocking(False)
        self.selector.register(made, selectors.EVENT_WRITE)
        self.next_start = time.monotonic() + CONNECTION_DELAY_SECONDS
        try:
            code = made.connect_ex(address)
        except OSError as error:
            code = error.errno or errno.EINVAL
        if code not in (0, errno.EINPROGRESS):
            self._fail(made, code)

    def _winner(self) -> socket.socket | None:
        """Wait for a connected socket, at most until the next connection is to start."""
        if not self.selector.get_map():
            return None
        until = min(self.ends_at, self.next_start) if self.waiting else self.ends_at
        for key, _ in self.selector.select(max(0.0, until - time.monotonic())):
            made = key.fileobj
            assert isinstance(made, socket.socket)
            code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                self.selector.unregister(made)
                return made
            self._fail(made, code)
        return None

    def _fail(self, made: socket.socket, code: int) -> None:
        self.failure = OSError(code, os.strerror(code))
        self.next_start = 0.0
        self._close(made)

    def _close(self, made: Any) -> None:
        with suppress(KeyError, OSError):
            self.selector.unregister(made)
        made.close()
