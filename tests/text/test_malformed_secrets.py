"""Secrets in malformed HTTP requests: neither answers nor the log contain them."""

import re
from concurrent.futures import ThreadPoolExecutor

from support.hostile_texts import STRINGS, HostileText, check, faults_of_log
from support.recording_clients import (
    CONCURRENT_CLIENTS,
    HttpClient,
    app_with_keys,
    faults_of_answers,
)
from support.service import Service


def send_malformed_requests(client: HttpClient, one: HostileText) -> None:
    """Send the text in malformed HTTP requests; each of them ends the connection."""
    raw = one.text.encode()
    start = (
        b"POST /api/scrape-jobs/next HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer "
        + client.key.encode()
    )
    chunked = start + b"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for entry, request in (
        ("method", one.bare.upper().encode()[:20] + b" /healthz HTTP/1.1\r\nHost: here\r\n\r\n"),
        ("request line", raw + b" / HTTP/1.1\r\nHost: here\r\n\r\n"),
        ("version", b"GET /healthz " + raw + b"\r\nHost: here\r\n\r\n"),
        (
            "raw path",
            b"GET /"
            + re.sub(rb"[\0- \x7f]", lambda found: b"%%%02X" % found[0][0], raw)
            + b" HTTP/1.1\r\nHost: here\r\n\r\n",
        ),
        ("host", b"GET /none HTTP/1.1\r\nHost: " + raw + b"\r\n\r\n"),
        ("header", start + b"\r\nX-Note: " + raw + b"\r\n\r\n"),
        ("header's name", start + b"\r\n" + raw + b": x\r\n\r\n"),
        ("header's name with a quote", start + b"\r\n" + one.word.encode() + b"'s: x\r\n\r\n"),
        ("folded header", start + b"\r\nX-Note: x\r\n " + one.header + b"'\r\n\r\n"),
        ("length", start + b"\r\nContent-Length: " + one.header + b"'\r\n\r\n"),
        ("coding", start + b"\r\nTransfer-Encoding: " + one.header + b"'\r\n\r\n"),
        ("expectation", start + b"\r\nExpect: " + one.header + b"'\r\n\r\n"),
        ("script name", start + b"\r\nSCRIPT_NAME: /" + one.word.encode() + b"'\r\n\r\n"),
        ("chunk's size", chunked + one.header + b"\r\n{}\r\n0\r\n\r\n"),
        ("chunk's extension", chunked + b"2;" + one.header + b"\r\n{}\r\n0\r\n\r\n"),
        ("chunk's end", chunked + b"2\r\n{}" + one.header + b"\r\n0\r\n\r\n"),
        ("trailer", chunked + b"2\r\n{}\r\n0\r\n" + one.header + b"\r\n\r\n"),
    ):
        client.send(entry, request)


def test_secrets_in_malformed_requests_are_not_logged(database: str) -> None:
    with (
        app_with_keys(database) as (_, key),
        Service(database, SCRAPE_JOBS_AUTH="keys", LOG_LEVEL="DEBUG") as service,
    ):
        clients = [HttpClient(service.port, key) for _ in range(CONCURRENT_CLIENTS)]

        def push(number: int) -> None:
            for one in STRINGS[number::CONCURRENT_CLIENTS]:
                send_malformed_requests(clients[number], one)

        with ThreadPoolExecutor(CONCURRENT_CLIENTS) as pool:
            list(pool.map(push, range(CONCURRENT_CLIENTS)))
        log = service.logs()
    check(
        [*(fault for client in clients for fault in faults_of_answers(client)), *faults_of_log(log)]
    )
