"""The sender's requests: no redirects, proxies, cookies or credentials; broken responses."""

import json
import socket
import threading
from pathlib import Path

import pytest

from app.webhooks.attempt import Attempt
from app.webhooks.sender import Sender
from app.webhooks.targets import TargetPolicy
from support.receiver import Receiver
from support.targets import (
    Trap,
    send,
)

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_redirects_to_forbidden_addresses_are_not_followed(
    sender: Sender, receiver: Receiver, status: int
) -> None:
    with Trap("127.0.0.2") as trap:
        receiver.answer = lambda _: (status, {"Location": f"http://127.0.0.2:{trap.port}/"}, b"")
        assert send(sender, f"{receiver.url}/answer") == (status, None)
        assert trap.connections == 0


def test_redirects_to_allowed_addresses_are_not_followed(
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
    sender = Sender(TargetPolicy.parse(["127.0.0.1"]))
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
    netrc.write_text("machine 127.0.0.1 login user password text\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    sender = Sender(TargetPolicy.parse(["127.0.0.1"]))
    assert send(sender, f"{receiver.url}/ok") == (204, None)
    sender.close()
    (received,) = receiver.at("/ok")
    assert "authorization" not in received.headers


def test_the_body_is_sent_as_it_was_stored(sender: Sender, receiver: Receiver) -> None:
    body = json.dumps({"text": "bücher \U0001f600", "n": 1}, ensure_ascii=False)
    sender.send(f"{receiver.url}/ok", body, {"webhook-id": "x"}, Attempt())
    (received,) = receiver.at("/ok")
    assert received.body == body.encode()
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-id"] == "x"
    assert received.headers["content-length"] == str(len(body.encode()))
    assert "cookie" not in received.headers


def test_cookies_are_not_sent_back(sender: Sender, receiver: Receiver) -> None:
    receiver.answer = lambda _: (200, {"Set-Cookie": "session=1; Path=/"}, b"")
    for _ in range(2):
        assert send(sender, f"{receiver.url}/answer") == (200, None)
    assert ["cookie" in received.headers for received in receiver.at("/answer")] == [False, False]


@pytest.mark.parametrize("path", ["ok", "status/200", "status/500", "redirect/http://127.0.0.2/"])
def test_connections_are_reused(sender: Sender, receiver: Receiver, path: str) -> None:
    for _ in range(5):
        send(sender, f"{receiver.url}/{path}")
    assert len(receiver.received) == 5
    assert len({received.connection for received in receiver.received}) == 1


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
def test_a_malformed_response_is_an_error_or_status(sender: Sender, raw: bytes) -> None:
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
