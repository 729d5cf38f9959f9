"""DATABASE_URL: parsed as by PostgreSQL's own tools, and validated before the service connects.

The format is that of libpq, and libpq's parser reads it. Several hosts, Unix sockets and all
connection parameters therefore work as in psql. Source:
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

EXPECTED = "must be a URL such as postgresql://user@host/name"

_INTEGERS = (
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
)
_NO_SOCKET = "/nonexistent/scrape-jobs"
"""A folder without a socket: libpq validates all its parameters before it tries to connect."""


@dataclass(frozen=True, slots=True)
class Host:
    """The address of one server, as libpq's parameters; an empty value means libpq's default.

    `host` is a name, an address or the folder of a socket.
    """

    host: str = ""
    hostaddr: str = ""
    port: str = ""

    def parameters(self) -> dict[str, str]:
        """Return the values that are not empty, by libpq's names."""
        named = {"host": self.host, "hostaddr": self.hostaddr, "port": self.port}
        return {name: value for name, value in named.items() if value}

    def __str__(self) -> str:
        address = f" ({self.hostaddr})" if self.hostaddr else ""
        return f"{self.host or 'default host'}{address} port {self.port or 'default'}"


@dataclass(frozen=True, slots=True)
class DatabaseURL:
    """The parts of a URL: the servers, in order, and libpq's other parameters."""

    hosts: tuple[Host, ...]
    parameters: Mapping[str, str] = field(repr=False)
    """May contain a password."""


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
    """Return a short description of the first fault of `url`, or None if it is valid.

    The description contains no part of the URL that may be a password.
    """
    try:
        found = read(url)
    except ValueError as error:
        return str(error)
    if not all(map(_is_plausible, found.hosts)) or (
        "user" not in found.parameters and "@" in url.partition("?")[0]
    ):
        return EXPECTED
    for name in _INTEGERS:
        if not re.fullmatch(r"-?[0-9]{1,9}", found.parameters.get(name, "0")):
            return f"{name} must be a whole number"
    return _fault_of_values(found.parameters)


def _is_plausible(host: Host) -> bool:
    """Return whether `host` can be valid.

    If a password is not percent-encoded, a part of it ends up in the host or the port.
    """
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
