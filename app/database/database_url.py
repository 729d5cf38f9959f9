"""Reads DATABASE_URL as PostgreSQL's own tools do, and finds its faults before anything connects.

The form is libpq's
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS), and its own
parser reads it: several hosts, Unix sockets and every connection parameter are as in psql.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

EXPECTED = "must be a URL such as postgresql://user@host/name"

_NUMBERS = (
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
)
_NO_SOCKET = "/nonexistent/scrape-jobs"
"""A folder without a socket: libpq checks all values of its parameters, and then finds nothing to
connect to."""


@dataclass(frozen=True, slots=True)
class Host:
    """One server to try: a name, an address or a socket's folder, as libpq's parameters; empty:
    libpq's default."""

    host: str = ""
    hostaddr: str = ""
    port: str = ""

    def parameters(self) -> dict[str, str]:
        """Return it as libpq's parameters."""
        named = {"host": self.host, "hostaddr": self.hostaddr, "port": self.port}
        return {name: value for name, value in named.items() if value}

    def __str__(self) -> str:
        address = f" ({self.hostaddr})" if self.hostaddr else ""
        return f"{self.host or 'default host'}{address} port {self.port or 'default'}"


@dataclass(frozen=True, slots=True)
class DatabaseURL:
    """The parts of a URL: the servers in their order, and libpq's other parameters."""

    hosts: tuple[Host, ...]
    parameters: Mapping[str, str] = field(repr=False)
    """May hold a password."""


def libpq_parameters(url: str) -> dict[str, str]:
    """Return the connection parameters in `url`, which may name a driver after ``postgresql``.

    Raises:
        ValueError: if it cannot be parsed. The text does not quote the URL.
    """
    try:
        return parse_dsn(re.sub(r"^(postgres(?:ql)?)\+\w+:", r"\1:", url))
    except psycopg2.Error:  # its text quotes the URL
        raise ValueError(EXPECTED) from None


def read(url: str) -> DatabaseURL:
    """Return the parts of `url`.

    Raises:
        ValueError: if it cannot be parsed. The text does not quote the URL.
    """
    parameters = libpq_parameters(url)
    hosts, addresses, ports = (
        parameters.pop(name, "").split(",") for name in ("host", "hostaddr", "port")
    )
    count = max(len(hosts), len(addresses))
    columns = [column * count if column == [""] else column for column in (hosts, addresses)]
    columns.append(ports * count if len(ports) == 1 else ports)
    if any(len(column) != count for column in columns):
        raise ValueError("must give one port for all hosts, or one for each")
    return DatabaseURL(tuple(Host(*each) for each in zip(*columns, strict=True)), parameters)


def fault_of(url: str) -> str | None:
    """Return what is wrong with `url` in a few words, without any part of it that may be a
    password; else None."""
    try:
        found = read(url)
    except ValueError as error:
        return str(error)
    if not all(map(_is_plausible, found.hosts)) or (
        "user" not in found.parameters and "@" in url.partition("?")[0]
    ):
        return EXPECTED
    for name in _NUMBERS:
        if not re.fullmatch(r"-?[0-9]{1,9}", found.parameters.get(name, "0")):
            return f"{name} must be a whole number"
    return _fault_of_values(found.parameters)


def _is_plausible(host: Host) -> bool:
    """Return whether `host` can be one: a password that is not percent-encoded leaves its rest in
    the host or port."""
    if not re.fullmatch(r"[0-9]{0,5}", host.port) or not 0 < int(host.port or 1) < 65536:
        return False
    return (
        host.host.startswith(("/", "@"))
        or bool(re.fullmatch(r"[^@/\s:]*", host.host))
        or _is_address(host.host)
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _fault_of_values(parameters: Mapping[str, str]) -> str | None:
    checked = {
        name: value
        for name, value in parameters.items()
        if (name, value) != ("gssencmode", "require")
    }
    try:
        psycopg2.connect(make_dsn(**{**checked, "host": _NO_SOCKET}))
    except psycopg2.OperationalError as error:
        text = " ".join(str(error).split())
        return None if _NO_SOCKET in text else text
    raise AssertionError("a folder that does not exist has a socket")
