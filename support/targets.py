"""Targets that webhooks must not reach: spellings of hosts, a trap, and forged DNS answers."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from app.webhooks.attempt import Attempt
from app.webhooks.sender import Sender

Lookup = Callable[..., list[Any]]
Answers = Callable[[str], list[str] | None]
"""Returns the addresses of a host name, or None to use the real resolver."""

PUBLIC_ADDRESS = "93.184.216.34"
REBIND_HOST = "rebind.example"

FORBIDDEN_HOSTS = [
    # this machine
    "127.0.0.1",
    "127.255.255.254",
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "0x7f.0.0.1",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "0",
    "0x0",
    "0.0.0.0",
    "0.1.2.3",
    "%31%32%37.0.0.1",
    "127.0.0.%31",
    "loc%61lhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::2]",
    # IPv4 addresses in IPv6 notation
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::ffff:169.254.169.254]",
    "[::ffff:10.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b::192.88.99.1]",
    "[64:ff9b::224.0.0.1]",
    "[64:ff9b:0:0:0:1::1]",
    "[64:ff9b:1::7f00:1]",
    "[64:ff9b:1:ffff::10.0.0.1]",
    "[2002:7f00:1::]",
    "[2002:a00:1::1]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    # link-local, with and without a zone; the clouds' metadata
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.254.0.1",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    # private
    "10.0.0.1",
    "10.255.255.255",
    "012.0.0.1",
    "0xa.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.257",
    "100.64.0.1",
    "100.127.255.255",
    "[fc00::1]",
    "[fdff:ffff::1]",
    "[fec0::1]",
    # multicast and broadcast
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "0xffffffff",
    "[ff02::1]",
    "[ff0e::1]",
    # reserved
    "240.0.0.1",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "[100::1]",
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[1::1]",
    "[400::1]",
    "[4000::1]",
    "[e000::1]",
]
"""Hosts of URLs in spellings of attackers. Each is, without DNS, an address that is not public."""


ZONED_HOSTS = ["[fe80::1%25lo]", "[fe80::1%lo]", "[fe80::1%251]", "[ff02::1%25lo]"]
"""Addresses with a zone; some libraries do not accept all spellings."""


NAMELESS_HOSTS = [
    "127.0.0.1.",
    "localhost.",
    "2130706433.",
    "nothing.invalid",
    "127.0.0.1%00.example.com",
    "a..b",
    "x" * 64,
]
"""Hosts that some resolvers treat as a forbidden address, and others do not resolve."""


class Trap:
    """Listens on one address or all of this machine, and counts connections; a context manager."""

    def __init__(self, host: str | None = None, port: int = 0) -> None:
        self.connections = 0
        self._servers = [socket.create_server((host or "0.0.0.0", port))]
        self.port = int(self._servers[0].getsockname()[1])
        if host is None and socket.has_dualstack_ipv6():
            self._servers.append(socket.create_server(("::", self.port), family=socket.AF_INET6))
        self._threads = [
            threading.Thread(target=self._count, args=[server]) for server in self._servers
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            server.close()

    def _count(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()


def fake_lookup(answers: Answers) -> Lookup:
    """Return a replacement of `socket.getaddrinfo` with the addresses that `answers` returns."""
    real: Lookup = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        found = answers(host)
        if found is None:
            return real(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return look_up


def one_by_one(*answers: list[str]) -> Answers:
    """Return each answer once to lookups of rebind.example; the last one repeats."""
    left = list(answers)
    return lambda host: (left.pop(0) if len(left) > 1 else left[0]) if host == REBIND_HOST else None


def send(sender: Sender, url: str, seconds: float = 5) -> tuple[int | None, str | None]:
    """Return the status code and the error of an attempt to post to `url`."""
    response = sender.send(url, "{}", {}, Attempt(time.monotonic() + seconds))
    return response.status_code, response.error
