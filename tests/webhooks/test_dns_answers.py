"""No DNS answer leads a webhook to a forbidden address, whenever it changes."""

import socket
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.webhooks.sender import Sender
from app.webhooks.targets import TargetPolicy
from support.receiver import Receiver
from support.targets import PUBLIC_ADDRESS, Trap, fake_lookup, one_by_one, send
from support.webhook_api import WEBHOOKS, webhook_application

pytestmark = pytest.mark.usefixtures("query")


@pytest.fixture(scope="module")
def app(own_database: str) -> Iterator[Flask]:
    """An application whose webhooks may go to public addresses only."""
    with webhook_application(own_database, webhook_allow=()) as app:
        yield app


FORBIDDEN = (
    "Invalid url: must lead to a public address, or to one that SCRAPE_JOBS_WEBHOOK_ALLOW names"
)


def test_a_host_with_forbidden_addresses_is_rejected(
    client: FlaskClient, strict_sender: Sender, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", fake_lookup(one_by_one(["127.0.0.1", "10.0.0.1"])))
    answer = client.post(WEBHOOKS, json={"url": f"http://rebind.example:{trap.port}/"})
    assert (answer.status_code, answer.get_json()) == (400, {"success": False, "error": FORBIDDEN})
    _, error = send(strict_sender, f"http://rebind.example:{trap.port}/")
    assert error is not None
    assert error.startswith("Refused: ")
    assert trap.connections == 0


def test_an_address_that_changes_later_is_refused(
    app: Flask,
    client: FlaskClient,
    strict_sender: Sender,
    trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        socket, "getaddrinfo", fake_lookup(one_by_one([PUBLIC_ADDRESS], ["127.0.0.1"]))
    )
    url = f"http://rebind.example:{trap.port}/"
    made = client.post(WEBHOOKS, json={"url": url})
    assert made.status_code == 201, made.text
    for _ in range(3):
        _, error = send(strict_sender, url)
        assert error is not None
        assert error.startswith("Refused: ")
    assert trap.connections == 0


def test_the_recorded_error_contains_no_address(
    strict_sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", fake_lookup(one_by_one(["10.20.30.40"])))
    _, error = send(strict_sender, "http://rebind.example/")
    assert error is not None
    assert "10.20.30.40" not in error


def test_alternating_answers_never_reach_the_forbidden_address(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver has the allowed address; the trap has the same port at a forbidden address."""
    turns = {"n": 0}

    def answers(host: str) -> list[str] | None:
        if host != "rebind.example":
            return None
        turns["n"] += 1
        return ["127.0.0.1"] if turns["n"] % 2 else ["127.0.0.2"]

    monkeypatch.setattr(socket, "getaddrinfo", fake_lookup(answers))
    with Trap("127.0.0.2", receiver.port) as trap:
        outcomes = []
        for _ in range(6):
            fresh = Sender(TargetPolicy.parse(["127.0.0.1"]))
            outcomes.append(send(fresh, f"http://rebind.example:{receiver.port}/ok"))
            fresh.close()
        assert trap.connections == 0
    assert turns["n"] == 6  # each connection looks its name up once
    assert [status for status, _ in outcomes] == [204, None] * 3
    assert len(receiver.at("/ok")) == 3


def test_only_allowed_addresses_are_connected_to(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        fake_lookup(one_by_one(["127.0.0.2", "10.0.0.1", "127.0.0.1", "127.0.0.2"])),
    )
    with Trap("127.0.0.2", receiver.port) as trap:
        assert send(sender, f"http://rebind.example:{receiver.port}/ok") == (204, None)
        assert trap.connections == 0


def test_each_new_connection_is_checked_again(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        socket, "getaddrinfo", fake_lookup(one_by_one(["127.0.0.1"], ["127.0.0.2"]))
    )
    receiver.answer = lambda _: (200, {"Connection": "close"}, b"")
    url = f"http://rebind.example:{receiver.port}/answer"
    with Trap("127.0.0.2", receiver.port) as trap:
        assert send(sender, url) == (200, None)
        status, error = send(sender, url)
        assert (trap.connections, status) == (0, None)
    assert error is not None
    assert error.startswith("Refused: ")
