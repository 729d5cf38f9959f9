"""How often a request talks to PostgreSQL, counted on the wire between the two."""

import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.engine import URL, make_url
from werkzeug.test import TestResponse

from app.config import Settings
from app.database import tenant_scope
from app.factory import create_app
from support.factories import make_job, new_domain

ENCRYPTION_REQUESTS = (80877103, 80877104)
TURNS = (b"Q", b"S")
"""The messages that the server answers at once: a simple query, and the end of an extended one."""


class Frontend:
    """Reads what a PostgreSQL client says."""

    def __init__(self) -> None:
        self._bytes = b""
        self._starting = True

    def messages(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return the messages that `data` completes, as kind and content, without those of the
        start."""
        self._bytes += data
        while len(self._bytes) >= (head := 4 if self._starting else 5):
            size = head - 4 + int.from_bytes(self._bytes[head - 4 : head])
            if len(self._bytes) < size:
                return
            message, self._bytes = self._bytes[:size], self._bytes[size:]
            if not self._starting:
                yield message[:1], message[5:]
            elif int.from_bytes(message[4:8]) not in ENCRYPTION_REQUESTS:
                self._starting = False


class Proxy:
    """Stands between a client and the PostgreSQL at `server`, and keeps each turn that the client
    takes."""

    def __init__(self, server: URL) -> None:
        self.turns: list[str] = []
        host = server.query.get("host", server.host or "127.0.0.1")
        assert isinstance(host, str)
        port = server.port or 5432
        self._server: str | tuple[str, int] = (
            f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        query = {"sslmode": "disable", "gssencmode": "disable"}
        own_port = self._listener.getsockname()[1]
        self.url = server.set(host="127.0.0.1", port=own_port, query=query).render_as_string(
            hide_password=False
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(
                    socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET
                )
                server.connect(self._server)
                self._sockets += [client, server]
                frontend = Frontend()

                def note(data: bytes, frontend: Frontend = frontend) -> None:
                    for kind, content in frontend.messages(data):
                        if kind in TURNS:
                            self.turns.append(content.rstrip(b"\0").decode())

                threading.Thread(target=_pass_on, args=(client, server, note), daemon=True).start()
                threading.Thread(
                    target=_pass_on, args=(server, client, lambda _: None), daemon=True
                ).start()


def _pass_on(source: socket.socket, target: socket.socket, note: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            note(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Counted:
    """A client, and what its calls made the service say to PostgreSQL."""

    def __init__(self, client: FlaskClient, proxy: Proxy) -> None:
        self.client = client
        self._proxy = proxy

    def turns_of(self, call: Callable[[], TestResponse], status: int) -> list[str]:
        """Return the turns that `call` took once everything was warm."""
        for _ in range(3):  # the connection is made, the statement is made known
            self._proxy.turns.clear()
            answer = call()
            assert answer.status_code == status, answer.text
        return list(self._proxy.turns)


@pytest.fixture
def counted(database_url: str) -> Iterator[Counted]:
    proxy = Proxy(make_url(database_url))
    app = create_app(Settings(auth="off", rate_limit=False, database_url=proxy.url))
    yield Counted(app.test_client(), proxy)
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()
    proxy.close()


def assert_one_turn(turns: list[str]) -> None:
    assert len(turns) == 1, turns
    whose, _, sql = turns[0].partition("; ")
    assert whose == f"SET LOCAL {tenant_scope.SETTING} = 'all'"
    assert sql.split()[0] not in ("BEGIN", "COMMIT", "ROLLBACK", "SET", "PREPARE")
    assert sql != "SELECT 1"


def test_the_proxy_sees_every_statement(counted: Counted) -> None:
    # Against the counting itself: readyz asks one known thing, healthz nothing.
    assert len(counted.turns_of(lambda: counted.client.get("/readyz"), 200)) == 1
    assert counted.turns_of(lambda: counted.client.get("/healthz"), 200) == []


def test_reading_a_job_takes_one_round_trip(counted: Counted) -> None:
    job = make_job(counted.client)
    assert_one_turn(
        counted.turns_of(lambda: counted.client.get(f"/api/scrape-jobs/{job['id']}"), 200)
    )


def test_reading_a_job_that_is_not_there_takes_one_round_trip(counted: Counted) -> None:
    url = f"/api/scrape-jobs/{uuid.uuid4()}"
    assert_one_turn(counted.turns_of(lambda: counted.client.get(url), 404))


def test_an_update_with_its_event_takes_one_round_trip(counted: Counted) -> None:
    job = make_job(counted.client, "running")
    url = f"/api/scrape-jobs/{job['id']}"
    body = {"status": "running", "stats": {"pagesProcessed": 3}, "metadata": {"a": 1}}
    assert_one_turn(counted.turns_of(lambda: counted.client.put(url, json=body), 200))


def test_whole_job_sent_back_takes_one_round_trip(counted: Counted) -> None:
    job = make_job(counted.client, "running")
    url = f"/api/scrape-jobs/{job['id']}"
    assert_one_turn(counted.turns_of(lambda: counted.client.put(url, json=job), 200))
    assert_one_turn(
        counted.turns_of(lambda: counted.client.put(url, json={**job, "priority": 9}), 400)
    )


def test_a_refused_update_takes_one_round_trip(counted: Counted) -> None:
    job = make_job(counted.client, "completed")
    url = f"/api/scrape-jobs/{job['id']}"
    assert_one_turn(
        counted.turns_of(lambda: counted.client.put(url, json={"status": "running"}), 400)
    )


def test_an_update_refused_for_its_etag_takes_one_round_trip(counted: Counted) -> None:
    url = f"/api/scrape-jobs/{make_job(counted.client)['id']}"
    stale = {"If-Match": '"99"'}
    assert_one_turn(
        counted.turns_of(lambda: counted.client.put(url, json={"stats": {}}, headers=stale), 412)
    )


def test_an_invalid_update_takes_none(counted: Counted) -> None:
    url = f"/api/scrape-jobs/{make_job(counted.client)['id']}"
    assert counted.turns_of(lambda: counted.client.put(url, json={"retry_count": -1}), 400) == []


def test_a_cancellation_takes_one_round_trip(counted: Counted) -> None:
    ids = iter([make_job(counted.client)["id"] for _ in range(3)])
    assert_one_turn(
        counted.turns_of(lambda: counted.client.delete(f"/api/scrape-jobs/{next(ids)}"), 200)
    )


@pytest.mark.parametrize(
    "body", [{"priority": 9}, {"scheduled_for": None, "config": {"depth": 4}, "stats": {"a": 1}}]
)
def test_move_takes_at_most_four_round_trips(counted: Counted, body: dict[str, Any]) -> None:
    job = make_job(counted.client, scheduled_for="2099-01-01T00:00:00Z")
    headers = {"Content-Type": "application/merge-patch+json"}

    def patch() -> TestResponse:
        return counted.client.patch(
            f"/api/scrape-jobs/{job['id']}", data=json.dumps(body), headers=headers
        )

    turns = counted.turns_of(patch, 200)
    assert len(turns) <= 4, turns


@pytest.mark.parametrize("count", [1, 50])
def test_a_creation_takes_one_round_trip_for_one_job_and_for_many(
    counted: Counted, count: int
) -> None:
    body = [{"domain": new_domain()}] * count
    assert_one_turn(
        counted.turns_of(lambda: counted.client.post("/api/scrape-jobs", json=body), 201)
    )


def test_a_creation_with_an_idempotency_key_takes_at_most_six_round_trips(counted: Counted) -> None:
    def create() -> TestResponse:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return counted.client.post(
            "/api/scrape-jobs", json={"domain": new_domain()}, headers=headers
        )

    assert len(counted.turns_of(create, 201)) <= 6


def test_a_patch_takes_at_most_four_round_trips(counted: Counted) -> None:
    url = f"/api/scrape-jobs/{make_job(counted.client)['id']}"
    headers = {"Content-Type": "application/merge-patch+json"}
    turns = counted.turns_of(
        lambda: counted.client.patch(url, data='{"stats": {"a": 1}}', headers=headers), 200
    )
    assert len(turns) <= 4, turns


def test_a_page_of_a_list_takes_one_round_trip(counted: Counted) -> None:
    make_job(counted.client)
    assert_one_turn(
        counted.turns_of(lambda: counted.client.get("/api/scrape-jobs?limit=5&status=pending"), 200)
    )


def test_a_page_of_a_history_takes_one_round_trip(counted: Counted) -> None:
    url = f"/api/scrape-jobs/{make_job(counted.client)['id']}/history"
    assert_one_turn(counted.turns_of(lambda: counted.client.get(url), 200))
