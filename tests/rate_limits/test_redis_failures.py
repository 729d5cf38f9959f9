"""Failures of Redis: none of them fails or delays requests."""

import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from statistics import median
from threading import Thread

import pytest
from flask.testing import FlaskClient

from support.factories import make_job, new_domain
from support.rate_limits import (
    JOBS,
    OpenApp,
    Stopwatch,
    fallbacks,
    keys,
    window_key,
)
from support.redis import Redis
from support.service import free_port, wait_until


@contextmanager
def silent_server(port: int) -> Iterator[None]:
    """Accept connections on the port and send nothing."""
    with socket.create_server(("127.0.0.1", port)):
        yield


@pytest.mark.timed
@pytest.mark.parametrize("how", ["refusing", "silent"])
def test_redis_is_used_once_it_answers(
    open_app: OpenApp,
    tmp_path: Path,
    client: FlaskClient,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    job = make_job(client)["id"]
    clock = Stopwatch()
    with ExitStack() as stack:
        redis = Redis(tmp_path)
        stack.callback(redis.client.close)
        with silent_server(redis.port) if how == "silent" else nullcontext():
            limited = open_app(redis.url, reads=3)
            for _ in range(5):
                clock.call(lambda: limited.call("reads", job).status_code)
            for _ in range(20):
                clock.call(lambda: limited.call("updates", job).status_code)
                clock.call(lambda: limited.call("creations", job).status_code)
        assert clock.statuses == {200: 3 + 20, 429: 2, 201: 20}
        assert max(clock.seconds) < 4
        assert median(clock.seconds) < 0.1
        warnings = [
            record
            for record in caplog.records
            if record.levelname == "WARNING" and record.msg != "refused"
        ]
        assert 1 <= len(warnings) <= 3
        stack.enter_context(redis)

        def is_used() -> bool:
            assert limited.call("creations", job).status_code == 201
            return bool(keys(redis))

        wait_until(is_used, 40)


def test_waiting_claim_survives_failure_of_redis(
    open_app: OpenApp, empty_redis: Redis, client: FlaskClient
) -> None:
    at, domain = open_app(empty_redis.url).app.test_client(), new_domain()
    body = {"worker_id": "w", "domains": [domain], "wait_seconds": 15}
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(lambda: at.post(f"{JOBS}/next", json=body))
        wait_until(lambda: keys(empty_redis))
        with empty_redis.frozen():
            job = make_job(client, domain=domain)
            answer = claim.result(30)
    assert answer.status_code == 200, answer.text
    assert [taken["id"] for taken in answer.get_json()["data"]] == [job["id"]]


@pytest.mark.timed
def test_redis_without_memory_counts_as_down(
    open_app: OpenApp, empty_redis: Redis, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    job, clock = make_job(client)["id"], Stopwatch()
    limited = open_app(empty_redis.url)

    def keep_calling(_: int) -> None:
        started = time.monotonic()
        while time.monotonic() - started < 2:
            clock.call(lambda: limited.call("reads", job).status_code)

    empty_redis.client.config_set("maxmemory", 1)  # it refuses writes from now on
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(keep_calling, range(8)))
    finally:
        empty_redis.client.config_set("maxmemory", 0)
    assert set(clock.statuses) == {200}
    assert max(clock.seconds) < 4
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(warnings) <= 10
    assert len(clock.seconds) > 100


@pytest.mark.parametrize(
    "answer", [b"+OK\r\n", b"-MOVED x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"]
)
def test_other_server_counts_as_redis_down(
    open_app: OpenApp, client: FlaskClient, caplog: pytest.LogCaptureFixture, answer: bytes
) -> None:
    job = make_job(client)["id"]

    class OtherServer(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while self.request.recv(4096):
                    self.request.sendall(answer)

    with ThreadingTCPServer(("127.0.0.1", 0), OtherServer) as server:
        server.block_on_close = False  # the client keeps its connections
        Thread(target=server.serve_forever, daemon=True).start()
        limited = open_app(f"redis://127.0.0.1:{server.server_address[1]}/0", reads=3)
        statuses = [limited.call("reads", job).status_code for _ in range(5)]
        server.shutdown()
    assert statuses == [200] * 3 + [429] * 2
    assert [record for record in caplog.records if record.getMessage().startswith("Redis is away")]


def test_unreadable_counter_fails_no_request(
    open_app: OpenApp, empty_redis: Redis, client: FlaskClient
) -> None:
    job, limited = make_job(client)["id"], open_app(empty_redis.url)
    assert limited.call("reads", job).status_code == 200
    empty_redis.client.set(window_key(empty_redis, "reads"), "9e99", keepttl=True)
    # For Redis it is a number past every limit. After that, Redis counts as down.
    assert limited.call("reads", job).status_code == 429
    assert limited.call("reads", job).status_code == 200


def test_fallback_is_measured_without_warnings(
    open_app: OpenApp, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    at = open_app(f"redis://127.0.0.1:{free_port()}/0").app.test_client()
    before = fallbacks(open_app(None).app.test_client().get("/metrics").text)
    assert at.get(JOBS).status_code == 200
    assert fallbacks(at.get("/metrics").text) == before + 1
