"""The sockets that the server listens on."""

import ctypes
import os
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterable

SO_ATTACH_FILTER = 26
"""socket(7): attaches a program that decides which packets a socket receives. Not in Python."""

BPF_RETURN = 0x06
"""The instruction that ends such a program and keeps so many bytes of the packet; 0 drops it."""

ACCEPT_SECONDS = 1.0
"""Time in which the queued connections of a listener are accepted before it closes."""

STALLED_SECONDS = 30
"""Time after which a connection ends whose client takes no bytes that wait for it."""

if sys.platform == "linux":
    KEEP_ALIVE = {
        socket.TCP_KEEPIDLE: 60,  # seconds without a byte
        socket.TCP_KEEPINTVL: 15,  # seconds between two questions
        socket.TCP_KEEPCNT: 4,  # questions without an answer
    }


def host_of(listener: socket.socket) -> str | None:
    """Return the address of `listener`; None for a Unix socket."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return str(listener.getsockname()[0])


def least_served(count: int, served: Iterable[int]) -> int:
    """Return the number of the listener, from 0 to `count`, that the fewest workers serve.

    Args:
        count: How many listeners there are.
        served: The number of the listener of each living worker.
    """
    workers = Counter(served)
    return min(range(count), key=lambda number: workers[number])


def divide(listener: socket.socket, count: int, backlog: int) -> list[socket.socket]:
    """Return more listeners to the address of `listener`, so that there are `count`.

    The kernel divides new connections between them. None is returned where it does not, or where
    the listener belongs to another user, as a socket of systemd may.

    SO_REUSEPORT is set only now that the address is taken. Otherwise a second server could take
    the same one, and with it a part of the connections.
    """
    if sys.platform != "linux" or host_of(listener) is None:
        return []
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    more = [socket.socket(listener.family, socket.SOCK_STREAM) for _ in range(count - 1)]
    try:
        for other in more:
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                other.setsockopt(socket.SOL_SOCKET, option, 1)
            if other.family == socket.AF_INET6:
                only_six = listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_six)
            other.bind(listener.getsockname())
            other.listen(backlog)
    except OSError:
        for other in more:
            other.close()
        return []
    return more


def notice_lost_clients(listeners: Iterable[socket.socket]) -> None:
    """Make the kernel end connections whose client no longer exists, within some two minutes.

    Otherwise such a client may hold a thread that waits for the rest of its body. A client that
    does not read would hold the thread of its stream: Granian gives no way to end a connection.
    """
    for listener in listeners:
        if sys.platform == "linux" and host_of(listener) is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # connections inherit it
            for option, value in KEEP_ALIVE.items():
                listener.setsockopt(socket.IPPROTO_TCP, option, value)
            stalled = STALLED_SECONDS * 1000
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled)


def refuse_new(file: int) -> None:
    """Make the kernel ignore new connections to the listener `file`, in all processes that have it.

    For a server that stops. Otherwise a connection that arrives between the last look at the queue
    and the end of the listener would be reset, maybe after its request was sent. An ignored client
    asks again after a second, and is refused then.
    """
    if sys.platform != "linux":
        return
    reject = ctypes.create_string_buffer(struct.pack("=HBBI", BPF_RETURN, 0, 0, 0))
    program = struct.pack("@HP", 1, ctypes.addressof(reject))
    with socket.socket(fileno=os.dup(file)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def stop_accepting(file: int) -> None:
    """Replace the listener `file` of this process by one that no client knows.

    Whatever accepts connections from `file` then waits for ever, and keeps those that it has. The
    listener itself goes on to queue connections for the other processes that have it. If there are
    none, the kernel refuses further ones; those that are queued already are accepted before.
    """
    deadline = time.monotonic() + ACCEPT_SECONDS
    while _queued(file) and time.monotonic() < deadline:
        time.sleep(0.001)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        silent.setblocking(False)
        os.dup2(silent.fileno(), file, inheritable=False)


def _queued(file: int) -> int:
    """Return how many connections wait in the listener `file`; 0 where the system does not say."""
    with socket.socket(fileno=os.dup(file)) as listener:
        if sys.platform != "linux" or host_of(listener) is None:
            return 0
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)
    return int(struct.unpack_from("=I", info, 24)[0])  # tcpi_unacked; see tcp(7)
