"""Hostile paths, queries, headers and request lines."""

import uuid

import pytest
import requests
from flask.testing import FlaskClient

from support.hostile_requests import JOBS, MEDIA_TYPES, assert_refused, send_raw
from support.service import Service

NOT_A_UUID = "Invalid id: must be a UUID"


ID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize(
    "text",
    [
        "1", "null", "x", "%00", f"{ID}%00", f"%00{ID}", f"{ID}%0A", f"{ID}%20", f"%20{ID}",
        f"{ID}0", ID[:-1],
        ID.replace("-", ""), ID.replace("-", "_"), f"{{{ID}}}", f"%7B{ID}%7D", f"urn:uuid:{ID}",
        "g" + ID[1:],
        "%27%20OR%201=1--", "%FF%FE", "%ED%A0%80", "%C0%AF", "%F0%9F%98%80", "%EF%BC%91" + ID[1:],
        "%25s", "%(id)s",
        "*", "..%5C..", "a" * 4000, "-" * 36, "0" * 36, "%D9%A1" + ID[1:],
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HISTORY"])
def test_an_id_that_is_not_uuid_is_refused(client: FlaskClient, text: str, method: str) -> None:
    if method == "HISTORY":
        answer = client.get(f"{JOBS}/{text}/history")
    else:
        answer = client.open(
            f"{JOBS}/{text}",
            method=method,
            data=b'{"stats": {}}',
            content_type=MEDIA_TYPES.get(method),
        )
    assert_refused(answer, 400, NOT_A_UUID)


@pytest.mark.parametrize("version", ["0", "1", "4", "7", "f"])
def test_uuids_of_any_version_and_case_are_accepted(client: FlaskClient, version: str) -> None:
    unknown = f"123E4567-e89b-{version}2d3-A456-426614174000"
    assert_refused(client.get(f"{JOBS}/{unknown}"), 404, "Job not found")


QUERIES = [
    "%00", "%00=%00", "=", "&&&", "a", "a=", "status=%00", "domain=%00", "tag=%00", "tag=%ED%A0%80",
    "tag=%FF",
    "cursor=%00", "cursor=%FF%FF", "limit=%00", "sort=%00", "customer_config_id=%00",
    "created_after=%00",
    "created_before=%FF", "job_type=%F4%90%80%80", "limit=9" + "9" * 5000, "tag=" + "x" * 7000,
    "&".join(["a=1"] * 1500), "status=" + "," * 3000, "domain=" + "." * 3000,
    "domain=" + "%F0%9F%98%80" * 300,
    "%", "%zz=%zz", "a[b]=c",
    "status=pending;limit=1", "created_after=" + "2" * 4000, "tag=%25s", "tag=%27", "tag=%5C",
    "tag=%22",
]  # fmt: skip


@pytest.mark.parametrize("path", ["", f"/{ID}", f"/{ID}/history"])
def test_hostile_query_strings_get_a_valid_answer(service: Service, path: str) -> None:
    for query in QUERIES:
        status, body = send_raw(service, f"GET {JOBS}{path}?{query} HTTP/1.1".encode())
        assert status in (200, 400, 404), (query, body)
        assert body["success"] is (status == 200), query


@pytest.mark.parametrize(
    "reason",
    [
        "%00",
        "%FF",
        "%ED%A0%80",
        "%0D%0ASet-Cookie:x",
        "%25s",
        "%27;DROP",
        "x" * 7000,
        "%E2%80%AE",
        "%",
        "+",
    ],
)
def test_hostile_reasons_are_accepted(service: Service, reason: str) -> None:
    job = service.create()
    status, body = send_raw(service, f"DELETE {JOBS}/{job['id']}?reason={reason} HTTP/1.1".encode())
    assert (status, body["data"]["status"]) == (200, "cancelled")
    assert body["data"]["error_message"].startswith("Cancelled via API")
    assert "\x00" not in body["data"]["error_message"]


HOSTILE_HEADERS = [
    b"", b" ", b"\x01", b"\x7f", b"\x80\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80",
    b"'; DROP TABLE scrape_jobs", b"%s",
    b"%(id)s", b"{}", b"\\", b'"', b'"\\"', b"a, b", b"*", b"x" * 4000, b"9" * 4000,
    b'"' + b"9" * 400 + b'"', b"\x00",
    b'W/"', b'"99999999999999999999"', b'"-1"', b'"1","1","x"', "\u0661".encode(), b"null", b"\t",
]  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        "X-Request-ID",
        "If-Match",
        "If-None-Match",
        "X-Lease-Token",
        "Idempotency-Key",
        "Content-Type",
        "Host",
        "Accept",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_hostile_headers_get_a_valid_answer(service: Service, header: str, method: str) -> None:
    url = JOBS if method == "POST" else f"{JOBS}/{ID}"
    body = b'{"domain": "odd.example"}' if method == "POST" else b'{"stats": {}}'
    for value in HOSTILE_HEADERS:
        line, odd = f"{method} {url} HTTP/1.1".encode(), header.encode() + b": " + value
        status, answer = send_raw(service, line, odd, body=body)
        assert status in (200, 201, 400, 404, 409, 412, 415, 422, 431), (value, answer)
        assert answer["success"] is (status < 300), value


@pytest.mark.parametrize(
    "line",
    [
        b"GET /api/scrape-jobs/\xff\xfe HTTP/1.1",
        b"GET /api/scrape-jobs/\xf0\x9f\x98\x80 HTTP/1.1",
        b"GET /api/scrape-jobs?tag=\xff HTTP/1.1",
        b"GET /api/scrape-jobs?tag=\xc3\xbc HTTP/1.1",
        b"GET /%00 HTTP/1.1",
        b"GET /%zz HTTP/1.1",
        b"GET /../../etc/passwd HTTP/1.1",
        b"GET /api/../healthz/x HTTP/1.1",
        b"GET //api/scrape-jobs HTTP/1.1",
        b"GET /////nowhere HTTP/1.1",
        b"GET http://other.example/api/scrape-jobs HTTP/1.1",
        b"GET http://[::1/api/scrape-jobs HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1",
        b"GET / HTTP/9.9",
        b"GET",
        b"\x00\x01\x02",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"get /api/scrape-jobs HTTP/1.1",
        b"FOO-BAR /api/scrape-jobs HTTP/1.1",
        b"G\xcbT /api/scrape-jobs HTTP/1.1",
    ],
)
def test_hostile_request_lines_get_a_valid_answer(service: Service, line: bytes) -> None:
    status, body = send_raw(service, line)
    assert 200 <= status < 500, body
    assert body == {} or body["success"] is (status == 200)


@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Length: x",),
        (b"Content-Length: -1",),
        (b"Content-Length: 99999999999999999999",),
        (b"Content-Length: 2", b"Content-Length: 3"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 2"),
        (b"Transfer-Encoding: gzip",),
        (b"Transfer-Encoding: chunked, chunked",),
        (b"No colon",),
        (b"Two Words: x",),
        (b": x",),
        (b"X: " + b"x" * 20_000,),
        tuple(b"X-%d: x" % n for n in range(200)),
    ],
)
def test_broken_framing_is_refused_in_the_common_form(
    service: Service, headers: tuple[bytes, ...]
) -> None:
    status, body = send_raw(
        service, b"POST /api/scrape-jobs HTTP/1.1", *headers, body=b"{}", own_length=False
    )
    assert 400 <= status < 500 or status == 501, (status, body)
    assert {"success", "error"} <= body.keys() <= {"success", "error", "details"}


def test_the_service_works_after_hostile_requests(service: Service) -> None:
    job = service.create(metadata={"id": str(uuid.uuid4())})
    assert requests.get(f"{service.jobs}/{job['id']}", timeout=30).json()["data"] == job
