"""Failure reports of workers with characters that cannot be stored."""

import json
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from app.text.sanitising import one_line, sanitise
from support.factories import make_job, new_domain, read_all, read_history
from support.service import Service

JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"
MERGE = "application/merge-patch+json"
NO_JSON = "Invalid body: must be a JSON document"

# The text in the body and the stored text.
STRINGS = {
    "NUL": (rb"a\u0000b", "ab"),
    "raw NUL": (b"a\x00b", "ab"),
    "high surrogate": (rb"a\ud83db", "ab"),
    "low surrogate": (rb"a\uDE00b", "ab"),
    "surrogates the wrong way round": (rb"a\ude00\ud83db", "ab"),
    "surrogate pair": (rb"a\ud83d\ude00b", "a\U0001f600b"),
    "NUL between a pair": (rb"a\ud83d\u0000\ude00b", "ab"),
    "surrogate in UTF-8": (b"a\xed\xa0\x80b", "ab"),
    "Latin-1": (b"caf\xe9 b", "caf b"),
    "cut UTF-8": (b"ab\xe2\x82", "ab"),
    "overlong UTF-8": (b"a\xc0\x80b", "ab"),
    "past Unicode": (b"a\xf4\x90\x80\x80b", "ab"),
    "raw colours": (b"\x1b[31mred\x1b[0m", "[31mred[0m"),
    "raw lines": (b"a\n\tb\r\nc", "a\n\tb\nc"),
    "raw quote after a backslash": (b'a\\\\\\"\x01b', 'a\\"b'),
    "escaped lines": (rb"a\n\tb\r\nc", "a\n\tb\nc"),
    "secret across a NUL": (rb"pass\u0000word=hunt\ud800er2", "password=***"),
    "all at once": (b"\\u0000\x00\\udfff\xff\nx", "\nx"),
    "nothing left": (rb"\u0000\ud800", ""),
}


def send(client: FlaskClient, method: str, path: str, body: bytes, **headers: str) -> TestResponse:
    kind = MERGE if method == "PATCH" else "application/json"
    return client.open(path, method=method, data=body, content_type=kind, headers=headers)


def take(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    """Return a claimed job and its lease token."""
    domain = make_job(client, **fields)["domain"]
    answer = client.post(f"{JOBS}/next", json={"worker_id": "w", "domains": [domain]})
    job: dict[str, Any] = answer.get_json()["data"][0]
    return job


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("name", STRINGS)
def test_a_failure_report_is_stored(client: FlaskClient, method: str, name: str) -> None:
    raw, stored = STRINGS[name]
    job = take(client)
    body = b'{"status": "failed", "stats": {"n": "\\u00fc"}, "error_message": "' + raw + b'"}'
    answer = send(
        client, method, f"{JOBS}/{job['id']}", body, **{"X-Lease-Token": job["lease_token"]}
    )
    assert answer.status_code == 200, answer.text
    failed = answer.get_json()["data"]
    assert (failed["status"], failed["error_message"], failed["stats"]) == (
        "failed",
        stored,
        {"n": "ü"},
    )
    assert read_history(client, job["id"])[-1]["changes"]["error_message"]["to"] == stored


@pytest.mark.parametrize("name", STRINGS)
def test_a_worker_gives_up_with_any_message(client: FlaskClient, name: str) -> None:
    raw, stored = STRINGS[name]
    job = take(client, max_retries=0)
    body = b'{"error_message": "' + raw + b'"}'
    answer = send(
        client, "POST", f"{JOBS}/{job['id']}/retry", body, **{"X-Lease-Token": job["lease_token"]}
    )
    assert answer.get_json()["error"].startswith("Cannot transition"), (
        answer.text
    )  # no retries are left
    failed = client.get(f"{JOBS}/{job['id']}").get_json()["data"]
    assert (failed["status"], failed["error_message"]) == (
        "failed",
        stored or "Given up by worker w",
    )


@pytest.mark.parametrize("name", STRINGS)
def test_a_worker_may_have_any_name(client: FlaskClient, name: str) -> None:
    raw, stored = STRINGS[name]
    domain = make_job(client)["domain"]
    body = b'{"worker_id": "w' + raw + b'", "domains": ["' + domain.encode() + b'"]}'
    answer = send(client, "POST", f"{JOBS}/next", body)
    assert answer.status_code == 200, answer.text
    assert answer.get_json()["data"][0]["worker_id"] == one_line(f"w{stored}")


def test_a_name_of_nothing_visible_is_refused(client: FlaskClient) -> None:
    answer = send(client, "POST", f"{JOBS}/next", rb'{"worker_id": "\u0000\ud800"}')
    assert answer.status_code == 400
    assert answer.get_json()["error"] == "Invalid worker_id: must be 1 to 200 visible characters"


@pytest.mark.parametrize("name", STRINGS)
def test_a_webhook_may_have_any_description(client: FlaskClient, name: str) -> None:
    raw, stored = STRINGS[name]
    body = b'{"url": "http://93.184.216.34/hook", "description": "' + raw + b'"}'
    made = send(client, "POST", HOOKS, body)
    assert (made.status_code, made.get_json()["data"]["description"]) == (201, stored)
    path = f"{HOOKS}/{made.get_json()['data']['id']}"
    changed = send(client, "PUT", path, b'{"description": "new ' + raw + b'"}')
    assert (changed.status_code, changed.get_json()["data"]["description"]) == (
        200,
        f"new {stored}",
    )
    client.delete(path)


@pytest.mark.parametrize(
    ("reason", "stored"),
    [
        ("%00", ""), ("a%00b", "ab"), ("%FF", ""), ("a%ED%A0%80b", "ab"), ("caf%E9", "caf"), ("%C0%80", ""),
        ("a%E2%82", "a"), ("caf%C3%A9", "café"), ("%F0%9F%98%80", "😀"), ("a%0Ab", "a\nb"), ("%25FF", "%FF"),
        ("%zz", "%zz"), ("a+b%2Bc", "a b+c"), ("pass%00word=x", "password=***"),
    ],
)  # fmt: skip
def test_a_reason_may_hold_any_bytes(client: FlaskClient, reason: str, stored: str) -> None:
    answer = client.delete(f"{JOBS}/{make_job(client)['id']}?reason={reason}")
    assert answer.status_code == 200, answer.text
    message = f"Cancelled via API: {stored}" if stored else "Cancelled via API"
    assert answer.get_json()["data"]["error_message"] == message


def test_raw_bytes_in_a_reason_are_dropped(service: Service) -> None:
    job = service.create()
    session = requests.Session()
    request = requests.Request("DELETE", f"{service.jobs}/{job['id']}").prepare()
    request.url = f"{service.jobs}/{job['id']}?reason=a\u00fcb%FFc"
    answer = session.send(request, timeout=30)
    assert answer.json()["data"]["error_message"] == "Cancelled via API: aübc"


# Fields that are not sanitised reject such characters.
ELSEWHERE = [
    rb'"stats": {"a": "\u0000"}',
    rb'"stats": {"\ud800": 1}',
    rb'"metadata": {"a": ["\udfff"]}',
    b'"stats": {"a": "\xff"}',
    b'"stats": {"a": "x\x00"}',
    b'"stats": {"a": "x\ny"}',
    b'"stats": {"\x01": 1}',
    rb'"config": {"error_message": "\u0000"}',
    rb'"status": "\u0000"',
    rb'"started_at": "\ud800"',
    rb'"domain": "\u0000"',
    rb'"worker_id": "\ud800"',
    rb'"error_message": {"a": "\u0000"}',
    rb'"error_message": ["\ud800"]',
    rb'"error_message\u0000": "a"',
    rb'"\u0000": 1',
]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("member", ELSEWHERE, ids=range(len(ELSEWHERE)))
@pytest.mark.parametrize(
    "message", [b"", rb'"error_message": "\u0000", ', b'"error_message": "\xff\x01", ']
)
def test_other_fields_are_refused(
    client: FlaskClient, method: str, member: bytes, message: bytes
) -> None:
    if message and b'"error_message"' in member:
        return  # duplicate keys are rejected
    job = make_job(client, "running")
    before = read_all(client, job["id"])
    answer = send(client, method, f"{JOBS}/{job['id']}", b"{" + message + member + b"}")
    assert (answer.status_code, answer.get_json()["error"]) == (400, NO_JSON), answer.text
    assert read_all(client, job["id"]) == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (JOBS, rb'{"domain": "a.example", "error_message": "\u0000"}'),
        (JOBS, rb'{"domain": "a.example", "metadata": {"error_message": "\u0000"}}'),
        (JOBS, rb'[{"domain": "a.example", "metadata": {"tags": ["\ud800"]}}]'),
        (JOBS, b'{"domain": "a.example", "config": {"a": "\xff"}}'),
        (f"{JOBS}/next", rb'{"worker_id": "w", "job_types": ["\u0000"]}'),
        (f"{JOBS}/next", rb'{"worker_id": "w", "domains": ["\ud800"]}'),
        (f"{JOBS}/next", rb'{"worker_id": "w\u0000", "domains": ["a\u0000"]}'),
        (HOOKS, rb'{"url": "http://93.184.216.34/\u0000", "description": "a"}'),
        (HOOKS, rb'{"url": "http://93.184.216.34/", "secret": "\ud800", "description": "\ud800"}'),
    ],
)  # fmt: skip
def test_other_bodies_are_refused(client: FlaskClient, path: str, body: bytes) -> None:
    answer = send(client, "POST", path, body)
    assert (answer.status_code, answer.get_json()["error"]) == (400, NO_JSON), answer.text


def test_error_names_first_fault_of_body(client: FlaskClient) -> None:
    path = f"{JOBS}/{make_job(client)['id']}"
    for body, detail in (
        (
            rb'{"error_message": "\u0000", "stats": {"a": "\u0000"}}',
            "A string in it holds a NUL character",
        ),
        (
            rb'{"error_message": "\u0000", "stats": {"a": "\ud800"}}',
            "A string in it holds half of a surrogate pair",
        ),
        (
            b'{"error_message": "\x00", "stats": {"a": "\x1f"}}',
            "Invalid control character at line 1, column 20",
        ),
        (b'{"error_message": "\xff", "stats": {"a": "\xff"}}', "It is not UTF-8"),
        (b'{"error_message": "\xff"', "It is not UTF-8"),
        (b'{"error_message": "\x00', "Invalid control character at line 1, column 20"),
    ):
        answer = send(client, "PUT", path, body)
        assert (answer.status_code, answer.get_json()["details"]) == (400, detail)


any_text = st.text(st.characters(), max_size=30) | st.text(
    '\x00\ud83d\ude00\n\x1b\xe9a"\\u', max_size=12
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(any_text, st.booleans())
@example("\ud83d\x00\ude00", True)
def test_any_error_message_is_stored_sanitised(
    client: FlaskClient, message: str, is_escaped: bool
) -> None:
    job = make_job(client, "running", domain=new_domain())
    body = json.dumps({"status": "failed", "error_message": message}, ensure_ascii=is_escaped)
    answer = send(client, "PUT", f"{JOBS}/{job['id']}", body.encode("utf-8", "surrogatepass"))
    assert answer.status_code == 200, answer.text
    stored = answer.get_json()["data"]["error_message"]
    assert stored == sanitise(json.loads(body)["error_message"])
    stored.encode("utf-8")


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=40))
@example(b"\xed\xa0\xbd\xed\xb8\x80")
def test_any_bytes_in_error_message_are_stored(client: FlaskClient, data: bytes) -> None:
    job = make_job(client, "running", domain=new_domain())
    message = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    answer = send(
        client,
        "PUT",
        f"{JOBS}/{job['id']}",
        b'{"status": "failed", "error_message": "' + message + b'"}',
    )
    assert answer.status_code == 200, answer.text
    expected = sanitise(data.decode("utf-8", "surrogateescape"))
    assert answer.get_json()["data"]["error_message"] == expected
