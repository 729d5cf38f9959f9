"""No connection is made to a forbidden address, in any spelling of the URL."""

import socket
import time
import uuid
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.webhooks.sender import Sender
from support.targets import FORBIDDEN_HOSTS, NAMELESS_HOSTS, PUBLIC_ADDRESS, ZONED_HOSTS, Trap, send
from support.webhook_api import WEBHOOKS, Query, dispatching, webhook_application

pytestmark = pytest.mark.usefixtures("query")


@pytest.fixture(scope="module")
def app(own_database: str) -> Iterator[Flask]:
    """An application whose webhooks may go to public addresses only."""
    with webhook_application(own_database, webhook_allow=()) as app:
        yield app


FORBIDDEN = (
    "Invalid url: must lead to a public address, or to one that SCRAPE_JOBS_WEBHOOK_ALLOW names"
)


def test_the_trap_counts_connections(trap: Trap) -> None:
    for address in ("127.0.0.1", "127.255.255.254"):
        socket.create_connection((address, trap.port)).close()
    deadline = time.monotonic() + 5
    while trap.connections < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert trap.connections == 2


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS + ZONED_HOSTS)
def test_an_endpoint_at_a_forbidden_address_is_rejected(
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
def test_the_error_contains_no_address(client: FlaskClient, host: str) -> None:
    answer = client.post(WEBHOOKS, json={"url": f"http://{host}/"})
    assert (answer.status_code, answer.get_json()) == (400, {"success": False, "error": FORBIDDEN})


def test_an_update_to_a_forbidden_address_is_rejected(client: FlaskClient) -> None:
    made = client.post(
        WEBHOOKS, json={"url": f"http://{PUBLIC_ADDRESS}/", "active": False}
    ).get_json()["data"]
    for host in ("127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"):
        answer = client.put(
            f"{WEBHOOKS}/{made['id']}", json={"url": f"http://{host}/", "description": "moved"}
        )
        assert (answer.status_code, answer.get_json()["error"]) == (400, FORBIDDEN)
    kept = client.get(f"{WEBHOOKS}/{made['id']}").get_json()["data"]
    assert (kept["url"], kept["description"]) == (f"http://{PUBLIC_ADDRESS}/", None)


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
def test_the_sender_connects_to_no_forbidden_address(
    strict_sender: Sender, trap: Trap, host: str
) -> None:
    status, error = send(strict_sender, f"http://{host}:{trap.port}/hook", 0.5)
    assert trap.connections == 0
    assert status is None
    assert error is not None
    assert error.startswith("Refused: ")


@pytest.mark.parametrize("host", NAMELESS_HOSTS + ZONED_HOSTS)
def test_ambiguous_hosts_reach_no_forbidden_address(
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
def test_unusual_urls_reach_no_forbidden_address(
    strict_sender: Sender, trap: Trap, url: str
) -> None:
    status, error = send(strict_sender, url.format(port=trap.port), 0.5)
    assert (trap.connections, status) == (0, None)
    assert error


def insert_endpoint(query: Query, url: str) -> str:
    """Insert an endpoint, past the API, and a delivery that is due; return the endpoint's id."""
    endpoint_id = str(uuid.uuid4())
    query(
        "INSERT INTO webhook_endpoints (id, url, active, secret, created_at, updated_at)"
        " VALUES (%s, %s, true, 'clear:whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', now(), now())",
        *(endpoint_id, url),
    )
    query(
        "INSERT INTO webhook_deliveries"
        " (job_id, seq, endpoint_id, id, body, next_try_at, created_at)"
        " VALUES (%s, 1, %s, %s, '{}', now(), now())",
        *(str(uuid.uuid4()), endpoint_id, str(uuid.uuid4())),
    )
    return endpoint_id


def test_the_dispatcher_connects_to_no_forbidden_address(
    app: Flask, client: FlaskClient, query: Query, trap: Trap
) -> None:
    hosts = {
        insert_endpoint(query, f"http://{host}:{trap.port}/hook"): host for host in FORBIDDEN_HOSTS
    }
    with dispatching(app, allow=()):
        deadline = time.monotonic() + 15
        tried = 0
        while tried < len(hosts) and time.monotonic() < deadline:
            ((tried,),) = query("SELECT count(*) FROM webhook_deliveries WHERE tries <> '[]'")
            time.sleep(0.02)
    found = {
        hosts[endpoint_id]: (status, tries)
        for endpoint_id, status, tries in query(
            "SELECT endpoint_id::text, status, tries FROM webhook_deliveries"
        )
    }
    assert trap.connections == 0
    assert [host for host, (status, _) in found.items() if status != "pending"] == []
    assert [
        host
        for host, (_, tries) in found.items()
        if not tries or not tries[0]["error"].startswith("Refused: ")
    ] == []
