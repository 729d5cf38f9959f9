"""The sockets that the server listens on."""

import socket
import sys
from collections.abc import Iterable


def host_of(listener: socket.socket) -> str | None:
    """Return the address of `listener`; None for a Unix socket."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return str(listener.getsockname()[0])


def reserve(listeners: Iterable[socket.socket]) -> None:
    """Make the master's listeners hold their ports without accepting: `own` makes those that do.

    They had no SO_REUSEPORT when they were bound, so a second server cannot take the same port.
    """
    for listener in listeners:
        if _can_divide(listener):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.shutdown(socket.SHUT_RDWR)


def own(reserved: socket.socket, backlog: int) -> socket.socket:
    """Return a listener of this process for the address that the master has reserved.

    The kernel divides new connections between the listeners. If the workers shared one, the first
    to wake would take all connections of a burst (in 12 of 20 bursts of eight connections), and the
    other workers would idle for as long as clients keep them.
    """
    if not _can_divide(reserved):
        return reserved.dup()
    listener = socket.socket(reserved.family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # A connection inherits these. They end one whose client vanished in the middle of a body.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    if reserved.family == socket.AF_INET6:
        only_six = reserved.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_six)
    listener.bind(reserved.getsockname())
    listener.listen(backlog)
    return listener


def _can_divide(listener: socket.socket) -> bool:
    """Return whether the kernel divides the connections of an address between listeners."""
    return sys.platform == "linux" and host_of(listener) is not None
