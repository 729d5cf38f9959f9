"""No packet reaches a forbidden target, whatever its spelling, and whoever tries to lead there."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
import psycopg2.extensions
import pytest
from app.targets import Policy
from flask import Flask
from flask.testing import FlaskClient

from app.config import Settings
from app.factory import create_app
from app.vault import Vault
from app.webhooks.attempt import Attempt
from app.webhooks.dispatcher import Dispatcher, Options
from app.webhooks.sender import Sender
from support.database import migrate, new_database
from support.receiver import Receiver
from tests.webhooks.test_targets import FORBIDDEN_HOSTS, NAMELESS_HOSTS, ZONED_HOSTS

WEBHOOKS = "/api/webhooks"
FORBIDDEN = (
    "Invalid url: must lead to a public address, or to one that SCRAPE_JOBS_WEBHOOK_ALLOW names"
)
PUBLIC = "93.184.216.34"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")

Lookup = Callable[..., list[Any]]


class Trap:
    """Listens on every address of this machine, or on one, and counts who comes; a context
    manager."""

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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


@pytest.fixture
def trap() -> Iterator[Trap]:
    with Trap() as trap:
        yield trap


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def sender() -> Iterator[Sender]:
    """A sender that may go to 127.0.0.1, and to no other address that is not public."""
    sender = Sender(Policy.parse(["127.0.0.1"]))
    yield sender
    sender.close()


@pytest.fixture
def strict_sender() -> Iterator[Sender]:
    sender = Sender(Policy())
    yield sender
    sender.close()


@pytest.fixture(scope="module")
def own_database(server_url: str) -> Iterator[str]:
    """The URL of a database whose endpoints are this module's alone."""
    for url in new_database(server_url):
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def app(own_database: str) -> Iterator[Flask]:
    """The application without any exception to its policy."""
    app = create_app(Settings(auth="off", rate_limit=False, database_url=own_database, threads=4))
    yield app
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture(autouse=True)
def connection(own_database: str) -> Iterator[psycopg2.extensions.connection]:
    """A connection to the database, which is left without endpoints."""
    connection = psycopg2.connect(own_database)
    connection.autocommit = True
    yield connection
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE webhook_endpoints, webhook_deliveries, outbox")
    connection.close()


def send(sender: Sender, url: str, seconds: float = 5) -> tuple[int | None, str | None]:
    """Return the status code and the error that a try to `url` ends with."""
    answer = sender.send(url, "{}", {}, Attempt(time.monotonic() + seconds))
    return answer.status_code, answer.error


def owe(connection: psycopg2.extensions.connection, url: str) -> str:
    """Put an endpoint and a delivery to it into the database, past the API, and return the
    endpoint's id."""
    endpoint_id = str(uuid.uuid4())
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO webhook_endpoints (id, url, active, secret, created_at, updated_at)"
            " VALUES (%s, %s, true, 'clear:whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', now(), now())",
            [endpoint_id, url],
        )
        cursor.execute(
            "INSERT INTO webhook_deliveries (job_id, seq, endpoint_id, id, body, next_try_at, created_at)"
            " VALUES (%s, 1, %s, %s, '{}', now(), now())",
            [str(uuid.uuid4()), endpoint_id, str(uuid.uuid4())],
        )
    return endpoint_id


def names(answers: Callable[[str], list[str] | None]) -> Lookup:
    """Return a look-up in which `answers` tells a name's addresses, or None where the real one
    shall."""
    real: Lookup = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        found = answers(host)
        if found is None:
            return real(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return look_up


def one_by_one(*answers: list[str]) -> Callable[[str], list[str] | None]:
    """Return answers to the look-ups of rebind.example: each once, the last one ever after."""
    left = list(answers)
    return lambda host: (
        (left.pop(0) if len(left) > 1 else left[0]) if host == "rebind.example" else None
    )


def test_the_trap_would_notice(trap: Trap) -> None:
    for address in ("127.0.0.1", "127.255.255.254"):
        socket.create_connection((address, trap.port)).close()
    deadline = time.monotonic() + 5
    while trap.connections < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert trap.connections == 2


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS + ZONED_HOSTS)
def test_an_endpoint_at_a_forbidden_address_is_refused_however_it_is_spelled(
    client: FlaskClient, trap: Trap, host: str
) -> None:
    for scheme in ("http", "https"):
        answer = client.post(WEBHOOKS, json={"url": f"{scheme}://{host}:{trap.port}/hook"})
        assert answer.status_code == 400, answer.text
        body = answer.get_json()
        assert body.keys() <= {"success", "error", "details"}
        assert body["error"].startswith("Invalid url: must ")
    assert trap.connections == 0
    assert client.get(WEBHOOKS).get_json()["data"] == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0x7f.1", "[::ffff:10.0.0.1]"]
)
def test_the_refusal_says_why_and_what_would_help_and_no_address(
    client: FlaskClient, host: str
) -> None:
    answer = client.post(WEBHOOKS, json={"url": f"http://{host}/"})
    assert (answer.status_code, answer.get_json()) == (400, {"success": False, "error": FORBIDDEN})


def test_an_endpoint_cannot_be_moved_to_a_forbidden_address(
    client: FlaskClient, connection: psycopg2.extensions.connection
) -> None:
    made = client.post(WEBHOOKS, json={"url": f"http://{PUBLIC}/", "active": False}).get_json()[
        "data"
    ]
    for host in ("127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"):
        answer = client.put(
            f"{WEBHOOKS}/{made['id']}", json={"url": f"http://{host}/", "description": "moved"}
        )
        assert (answer.status_code, answer.get_json()["error"]) == (400, FORBIDDEN)
    kept = client.get(f"{WEBHOOKS}/{made['id']}").get_json()["data"]
    assert (kept["url"], kept["description"]) == (f"http://{PUBLIC}/", None)


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
def test_the_sender_itself_connects_to_no_forbidden_address(
    strict_sender: Sender, trap: Trap, host: str
) -> None:
    status, error = send(strict_sender, f"http://{host}:{trap.port}/hook", 0.5)
    assert trap.connections == 0
    assert status is None
    assert error is not None
    assert error.startswith("Refused: ")


@pytest.mark.parametrize("host", NAMELESS_HOSTS + ZONED_HOSTS)
def test_what_may_or_may_not_be_a_name_leads_to_no_forbidden_address(
    strict_sender: Sender, trap: Trap, host: str
) -> None:
    status, error = send(strict_sender, f"http://{host}:{trap.port}/hook", 0.5)
    assert (trap.connections, status) == (0, None)
    assert error


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "gopher://127.0.0.1:{port}/_x",
        "unix://127.0.0.1:{port}",
        "//127.0.0.1:{port}/",
        "127.0.0.1:{port}",
        "http://user:password@127.0.0.1:{port}/",
        "http://93.184.216.34@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@93.184.216.34/",
        "http://127.0.0.1:{port}#@93.184.216.34/",
        "http://127.0.0.1:{port}?@93.184.216.34/",
        "http:\\\\127.0.0.1:{port}/",
        " http://127.0.0.1:{port}/",
        "http:///127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\n/",
        "http://127。0。0。1:{port}/",
        "http://①②⑦.⓪.⓪.①:{port}/",
        "http://loc\u00adalhost:{port}/",
        "HTTP://127.0.0.1:{port}/",
        "hTtPs://127.0.0.1:{port}/",
        "",
    ],
)
def test_no_odd_url_leads_the_sender_astray(strict_sender: Sender, trap: Trap, url: str) -> None:
    status, error = send(strict_sender, url.format(port=trap.port), 0.5)
    assert (trap.connections, status) == (0, None)
    assert error


def test_endpoints_that_got_past_the_api_are_tried_and_refused_at_the_connection(
    app: Flask, client: FlaskClient, connection: psycopg2.extensions.connection, trap: Trap
) -> None:
    owed = {owe(connection, f"http://{host}:{trap.port}/hook"): host for host in FORBIDDEN_HOSTS}
    dispatcher = Dispatcher(app.app_context, Options(Vault(()), Policy(), poll_seconds=0.02))
    dispatcher.start()
    try:
        deadline = time.monotonic() + 15
        tried = 0
        while tried < len(owed) and time.monotonic() < deadline:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM webhook_deliveries WHERE tries <> '[]'")
                (tried,) = cursor.fetchone() or (0,)
            time.sleep(0.02)
    finally:
        dispatcher.stop()
    with connection.cursor() as cursor:
        cursor.execute("SELECT endpoint_id::text, status, tries FROM webhook_deliveries")
        found = {
            owed[endpoint_id]: (status, tries) for endpoint_id, status, tries in cursor.fetchall()
        }
    assert trap.connections == 0
    assert [host for host, (status, _) in found.items() if status != "pending"] == []
    assert [
        h
        for h, (_, tries) in found.items()
        if not tries or not tries[0]["error"].startswith("Refused: ")
    ] == []


def test_a_name_that_leads_to_a_forbidden_address_is_refused(
    client: FlaskClient, strict_sender: Sender, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", names(one_by_one(["127.0.0.1", "10.0.0.1"])))
    answer = client.post(WEBHOOKS, json={"url": f"http://rebind.example:{trap.port}/"})
    assert (answer.status_code, answer.get_json()) == (400, {"success": False, "error": FORBIDDEN})
    _, error = send(strict_sender, f"http://rebind.example:{trap.port}/")
    assert error is not None
    assert error.startswith("Refused: ")
    assert trap.connections == 0


def test_a_name_that_changes_its_answer_after_the_creation_is_refused_at_the_connection(
    app: Flask,
    client: FlaskClient,
    connection: psycopg2.extensions.connection,
    strict_sender: Sender,
    trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", names(one_by_one([PUBLIC], ["127.0.0.1"])))
    url = f"http://rebind.example:{trap.port}/"
    made = client.post(WEBHOOKS, json={"url": url})
    assert made.status_code == 201, made.text
    for _ in range(3):
        _, error = send(strict_sender, url)
        assert error is not None
        assert error.startswith("Refused: ")
    assert trap.connections == 0


def test_the_refusal_of_a_delivery_tells_no_address_of_this_network(
    strict_sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", names(one_by_one(["10.20.30.40"])))
    _, error = send(strict_sender, "http://rebind.example/")
    assert error is not None
    assert "10.20.30.40" not in error


def test_a_name_whose_answers_take_turns_never_leads_to_the_forbidden_one(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver's address stands for the allowed one; the trap has the same port on a forbidden
    one."""
    turns = {"n": 0}

    def answers(host: str) -> list[str] | None:
        if host != "rebind.example":
            return None
        turns["n"] += 1
        return ["127.0.0.1"] if turns["n"] % 2 else ["127.0.0.2"]

    monkeypatch.setattr(socket, "getaddrinfo", names(answers))
    with Trap("127.0.0.2", receiver.port) as trap:
        outcomes = []
        for _ in range(6):
            fresh = Sender(Policy.parse(["127.0.0.1"]))
            outcomes.append(send(fresh, f"http://rebind.example:{receiver.port}/ok"))
            fresh.close()
        assert trap.connections == 0
    assert turns["n"] == 6  # each connection looks its name up once
    assert [status for status, _ in outcomes] == [204, None] * 3
    assert len(receiver.at("/ok")) == 3


def test_of_several_addresses_only_the_allowed_ones_are_connected_to(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        names(one_by_one(["127.0.0.2", "10.0.0.1", "127.0.0.1", "127.0.0.2"])),
    )
    with Trap("127.0.0.2", receiver.port) as trap:
        assert send(sender, f"http://rebind.example:{receiver.port}/ok") == (204, None)
        assert trap.connections == 0


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_a_redirect_to_a_forbidden_address_is_not_followed(
    sender: Sender, receiver: Receiver, status: int
) -> None:
    with Trap("127.0.0.2") as trap:
        receiver.answer = lambda _: (status, {"Location": f"http://127.0.0.2:{trap.port}/"}, b"")
        assert send(sender, f"{receiver.url}/answer") == (status, None)
        assert trap.connections == 0


def test_not_even_a_redirect_to_an_allowed_address_is_followed(
    sender: Sender, receiver: Receiver
) -> None:
    assert send(sender, f"{receiver.url}/redirect/{receiver.url}/ok") == (307, None)
    assert receiver.at("/ok") == []


@pytest.mark.parametrize("no_proxy", [None, "", "example.com"])
def test_proxies_of_the_environment_are_ignored(
    receiver: Receiver, trap: Trap, monkeypatch: pytest.MonkeyPatch, no_proxy: str | None
) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    for name in ("NO_PROXY", "no_proxy"):
        if no_proxy is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, no_proxy)
    sender = Sender(Policy.parse(["127.0.0.1"]))
    assert send(sender, f"{receiver.url}/ok") == (204, None)
    _, error = send(sender, "https://127.0.0.2/")
    assert error is not None
    assert error.startswith("Refused: ")
    sender.close()
    assert trap.connections == 0
    assert len(receiver.at("/ok")) == 1


def test_a_netrc_is_ignored(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(
        "machine 127.0.0.1 login somebody password something\ndefault login a password b\n"
    )
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    sender = Sender(Policy.parse(["127.0.0.1"]))
    assert send(sender, f"{receiver.url}/ok") == (204, None)
    sender.close()
    (received,) = receiver.at("/ok")
    assert "authorization" not in received.headers


def test_what_is_sent_is_what_was_stored_and_says_no_more_than_it_must(
    sender: Sender, receiver: Receiver
) -> None:
    body = json.dumps({"text": "bücher \U0001f600", "n": 1}, ensure_ascii=False)
    sender.send(f"{receiver.url}/ok", body, {"webhook-id": "x"}, Attempt())
    (received,) = receiver.at("/ok")
    assert received.body == body.encode()
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-id"] == "x"
    assert received.headers["content-length"] == str(len(body.encode()))
    assert "cookie" not in received.headers


def test_cookies_of_one_receiver_are_not_sent_again(sender: Sender, receiver: Receiver) -> None:
    receiver.answer = lambda _: (200, {"Set-Cookie": "session=1; Path=/"}, b"")
    for _ in range(2):
        assert send(sender, f"{receiver.url}/answer") == (200, None)
    assert ["cookie" in received.headers for received in receiver.at("/answer")] == [False, False]


@pytest.mark.parametrize("path", ["ok", "status/200", "status/500", "redirect/http://127.0.0.2/"])
def test_connections_are_used_again(sender: Sender, receiver: Receiver, path: str) -> None:
    for _ in range(5):
        send(sender, f"{receiver.url}/{path}")
    assert len(receiver.received) == 5
    assert len({received.connection for received in receiver.received}) == 1


def test_a_connection_that_the_receiver_closed_is_made_and_judged_anew(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", names(one_by_one(["127.0.0.1"], ["127.0.0.2"])))
    receiver.answer = lambda _: (200, {"Connection": "close"}, b"")
    url = f"http://rebind.example:{receiver.port}/answer"
    with Trap("127.0.0.2", receiver.port) as trap:
        assert send(sender, url) == (200, None)
        status, error = send(sender, url)
        assert (trap.connections, status) == (0, None)
    assert error is not None
    assert error.startswith("Refused: ")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe://\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 xyz\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: \x00=\x01\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=range(13),
)
def test_no_broken_answer_breaks_the_sender(sender: Sender, raw: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            status, error = send(sender, f"http://127.0.0.1:{server.getsockname()[1]}/")
        finally:
            thread.join()
    assert (status is None) == (error is not None)
