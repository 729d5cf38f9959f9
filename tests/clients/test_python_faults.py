"""The Python client under faults of the network and of the service."""

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from scrape_jobs import (
    NO_RETRY,
    ConnectionFailed,
    RetryPolicy,
    ScrapeJobs,
    ServerError,
    TooManyRequests,
    UnexpectedAnswer,
)

from support.cutting_proxy import CuttingProxy
from support.service import Service, free_port, wait_until

FAST = RetryPolicy(base_seconds=0.01, max_seconds=0.05)


def cut_first(method: bytes) -> Callable[[bytes], bool]:
    """Return a function that is True for the first request with `method`."""
    seen: list[bytes] = []

    def cuts(request: bytes) -> bool:
        if request.startswith(method) and not seen:
            seen.append(request)
            return True
        return False

    return cuts


def test_a_lost_creation_makes_one_job(service: Service) -> None:
    job_type = f"type-{uuid4().hex[:12]}"
    with CuttingProxy(service.port, cut_first(b"POST")) as proxy:
        api = ScrapeJobs(proxy.url, retry=FAST)
        job = api.create("example.com", job_type=job_type)
        assert [one.id for one in api.list(job_type=job_type)] == [job.id]
    assert proxy.cut["POST"] == 1


def test_a_lost_claim_returns_the_same_job(service: Service) -> None:
    job_type = f"type-{uuid4().hex[:12]}"
    with CuttingProxy(service.port, cut_first(b"POST /api/scrape-jobs/next")) as proxy:
        api = ScrapeJobs(proxy.url, retry=FAST)
        created = api.create_many([{"domain": "example.com", "job_type": job_type}] * 2)
        (job,) = api.claim("tester", job_types=[job_type])
        assert job.lease_token is not None
        api.update(job.id, status="completed", lease_token=job.lease_token)
        assert proxy.cut["POST"] == 1
        left = [one.id for one in api.list(job_type=job_type, status="pending")]
        assert left == [one.id for one in created if one.id != job.id]


def test_a_lost_cancellation_is_a_success(service: Service) -> None:
    with CuttingProxy(service.port, cut_first(b"DELETE")) as proxy:
        api = ScrapeJobs(proxy.url, retry=FAST)
        job = api.create("example.com")
        assert api.cancel(job.id, "enough").error_message == "Cancelled via API: enough"
        assert proxy.cut["DELETE"] == 1
        assert [event.action for event in api.history(job.id)] == ["created", "cancelled"]


def test_a_lost_final_report_is_repeated(service: Service) -> None:
    with CuttingProxy(service.port, cut_first(b"PUT")) as proxy:
        api = ScrapeJobs(proxy.url, retry=FAST)
        job = api.create("example.com")
        assert api.update(job.id, status="running").status == "running"
        history = list(api.history(job.id))
        changes = [event for event in history if event.old_status != event.new_status]
        assert [event.new_status for event in changes] == ["pending", "running"]


def test_an_absent_service_fails_after_all_attempts() -> None:
    api = ScrapeJobs(f"http://127.0.0.1:{free_port()}", retry=FAST)
    with pytest.raises(ConnectionFailed, match="GET http://"):
        api.get(str(uuid4()))


def test_an_unknown_host_fails() -> None:
    api = ScrapeJobs("http://no-such-host.invalid", retry=NO_RETRY)
    with pytest.raises(ConnectionFailed):
        api.get(str(uuid4()))


@pytest.mark.timed
def test_a_silent_service_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        api = ScrapeJobs(url, retry=NO_RETRY)
        started = time.monotonic()
        with pytest.raises(ConnectionFailed):
            api.with_options(timeout=(1, 0.2)).get(str(uuid4()))
        assert time.monotonic() - started < 5


class Failing:
    """An HTTP server that answers the first requests with failures."""

    def __init__(self, answers: list[tuple[int, dict[str, str], bytes]]) -> None:
        outer = self
        self.times: list[float] = []
        self.keys: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.times.append(time.monotonic())
                outer.keys.append(self.headers["Authorization"])
                status, headers, body = answers[min(len(outer.times), len(answers)) - 1]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


JOB = (
    b'{"success":true,"data":{"id":"1","domain_id":"2","domain":"example.com","job_type":"t",'
    b'"status":"running","priority":5,"retry_count":0,"max_retries":3}}'
)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_temporary_failure_is_repeated(status: int) -> None:
    server = Failing([(status, {}, b"<html>"), (status, {}, b""), (200, {}, JOB)])
    try:
        job = ScrapeJobs(server.url, retry=FAST).get("1", required=True)
    finally:
        server.close()
    assert (job.status, len(server.times)) == ("running", 3)


def test_retry_after_delays_the_next_attempt() -> None:
    server = Failing([(429, {"Retry-After": "1"}, b""), (200, {}, JOB)])
    try:
        ScrapeJobs(server.url, retry=FAST).get("1")
    finally:
        server.close()
    first, second = server.times
    assert second - first >= 1


def test_a_long_retry_after_is_reported() -> None:
    server = Failing([(429, {"Retry-After": "3600"}, b'{"error":"Too many requests"}')])
    try:
        with pytest.raises(TooManyRequests) as raised:
            ScrapeJobs(server.url, retry=FAST).get("1")
    finally:
        server.close()
    assert (raised.value.retry_after, len(server.times)) == (3600, 1)


def test_the_last_failure_is_raised() -> None:
    body = b'{"success":false,"error":"Failed to fetch scrape job","details":"Lock timeout"}'
    server = Failing([(500, {"X-Request-ID": "abc"}, body)])
    try:
        with pytest.raises(ServerError) as raised:
            ScrapeJobs(server.url, retry=RetryPolicy(attempts=3, base_seconds=0.01)).get("1")
    finally:
        server.close()
    assert len(server.times) == 3
    failure = raised.value
    assert (failure.error, failure.details) == ("Failed to fetch scrape job", "Lock timeout")
    assert (failure.request_id, failure.attempts) == ("abc", 3)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"<html>Sign in</html>"),
        (200, {}, b""),
        (301, {"Location": "https://example.com/"}, b"moved"),
    ],
)
def test_answers_of_another_site_are_refused(answer: tuple[int, dict[str, str], bytes]) -> None:
    server = Failing([answer])
    try:
        with pytest.raises(UnexpectedAnswer, match=r"no JSON object|Redirected to https"):
            ScrapeJobs(server.url, retry=FAST).get("1")
    finally:
        server.close()
    assert len(server.times) == 1


def test_netrc_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = Failing([(200, {}, JOB)])
    try:
        ScrapeJobs(server.url, "sjk_test").get("1")
    finally:
        server.close()
    assert server.keys == ["Bearer sjk_test"]


def test_a_limited_worker_stops_at_once() -> None:
    server = Failing([(429, {"Retry-After": "50"}, b'{"error":"Too many requests"}')])
    worker = ScrapeJobs(server.url).worker()
    worker.handler(lambda _: None)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: server.times)
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()
    finally:
        server.close()
    assert len(server.times) == 1
