"""Hostile bodies: not JSON, not an object, too large, or of another media type."""

import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.hostile_requests import (
    JOBS,
    MEDIA_TYPES,
    MIB,
    NOT_AN_OBJECT,
    NOT_JSON,
    HostileTarget,
    assert_refused,
    every_method,
)
from support.service import Service

HOSTILE_BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", NOT_JSON),
    "blank": (b" \n", NOT_JSON),
    "NUL byte": (b"\x00", NOT_JSON),
    "byte order mark": (b'\xef\xbb\xbf{"metadata": {}}', NOT_JSON),
    "byte order mark alone": (b"\xef\xbb\xbf", NOT_JSON),
    "UTF-16": ('{"metadata": {}}'.encode("utf-16"), NOT_JSON),
    "UTF-16 without mark": ('{"metadata": {}}'.encode("utf-16-le"), NOT_JSON),
    "UTF-32": ('{"metadata": {}}'.encode("utf-32"), NOT_JSON),
    "truncated": (b'{"metadata": {"a": 1}', NOT_JSON),
    "brace": (b"{", NOT_JSON),
    "bracket": (b"[", NOT_JSON),
    "a million brackets": (b"[" * (MIB - 1), NOT_JSON),
    "half a million objects": (b'{"a":' * 200_000, NOT_JSON),
    "two documents": (b'{"metadata": {}} {"metadata": {}}', NOT_JSON),
    "rubbish behind": (b'{"metadata": {}}x', NOT_JSON),
    "form": (b"metadata=1&status=running", NOT_JSON),
    "XML": (b"<job><status>running</status></job>", NOT_JSON),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", NOT_JSON),
    "random bytes": (bytes(range(255, 0, -1)), NOT_JSON),
    "NaN": (b"NaN", NOT_JSON),
    "key twice": (b'{"metadata": {}, "metadata": {}}', NOT_JSON),
    "NUL in a field's name": (b'{"metadata\\u0000": {}}', NOT_JSON),
    "surrogate in a field's name": (b'{"\\ud800": {}}', NOT_JSON),
    "null": (b"null", NOT_AN_OBJECT),
    "true": (b"true", NOT_AN_OBJECT),
    "number": (b"17", NOT_AN_OBJECT),
    "string": (b'"metadata"', NOT_AN_OBJECT),
}


@every_method
@pytest.mark.parametrize("name", HOSTILE_BODIES)
def test_a_body_without_json_object_is_refused(client: FlaskClient, method: str, name: str) -> None:
    body, error = HOSTILE_BODIES[name]
    target = HostileTarget(client, method)
    assert_refused(target.send(body), 400, error)
    assert target.is_unchanged()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("body", [b"[]", b'[{"status": "running"}]', b"[[]]", b"[null]"])
def test_an_array_as_update_is_refused(client: FlaskClient, method: str, body: bytes) -> None:
    target = HostileTarget(client, method)
    assert_refused(target.send(body), 400, NOT_AN_OBJECT)
    assert target.is_unchanged()


@every_method
@pytest.mark.parametrize(
    "content_type",
    [
        "", "text/plain", "text/json", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml", "application/jsonx", "application/json5", "application", "/", ";",
        "application/json, text/x", "application/vnd.api+json", "\xff", "%s",
    ],
)  # fmt: skip
def test_a_body_of_another_media_type_is_refused(
    client: FlaskClient, method: str, content_type: str
) -> None:
    target = HostileTarget(client, method)
    answer = target.send(target.document(b'"metadata": {}'), content_type)
    assert_refused(answer, 415, "Unsupported media type")
    assert answer.get_json()["details"] == f"Content-Type must be {MEDIA_TYPES[method]}"
    assert target.is_unchanged()


@every_method
def test_a_body_without_a_media_type_is_refused(client: FlaskClient, method: str) -> None:
    target = HostileTarget(client, method)
    answer = client.open(target.url, method=method, data=target.document(b'"metadata": {}'))
    assert_refused(answer, 415, "Unsupported media type")
    assert target.is_unchanged()


@pytest.mark.parametrize(
    ("method", "other"), [("PUT", "PATCH"), ("PATCH", "PUT"), ("POST", "PATCH")]
)
def test_merge_patch_and_update_need_their_media_types(
    client: FlaskClient, method: str, other: str
) -> None:
    target = HostileTarget(client, method)
    assert_refused(
        target.send(target.document(b'"metadata": {}'), MEDIA_TYPES[other]),
        415,
        "Unsupported media type",
    )
    assert target.is_unchanged()


@every_method
@pytest.mark.parametrize(
    "parameters", ["; charset=utf-8", ";charset=UTF-8", "; charset=latin-1", "; x=y; z=1", ";"]
)
def test_a_media_type_may_have_parameters(
    client: FlaskClient, method: str, parameters: str
) -> None:
    target = HostileTarget(client, method)
    body = target.document('"metadata": {"a": "ü"}'.encode())
    for kind in (MEDIA_TYPES[method], MEDIA_TYPES[method].upper()):
        answer = target.send(body, kind + parameters)
        assert answer.status_code in (200, 201), answer.text
        assert answer.get_json()["data"]["metadata"] == {"a": "ü"}


@every_method
def test_a_body_is_limited_to_one_mebibyte(client: FlaskClient, method: str) -> None:
    target = HostileTarget(client, method)
    body = target.document(b'"metadata": {"a": 1}').ljust(MIB)
    assert_refused(target.send(body + b" "), 413, "Request body too large")
    assert target.is_unchanged()
    assert target.send(body).status_code in (200, 201)


@every_method
@pytest.mark.parametrize("size", [MIB, MIB + 1, 2 * MIB])
def test_a_body_without_length_is_limited_as_well(service: Service, method: str, size: int) -> None:
    job = service.create()
    url = service.jobs if method == "POST" else f"{service.jobs}/{job['id']}"
    body = b'{"domain": "example.com", "metadata": {"a": 1}}'.ljust(size)
    chunks = (body[at : at + 65536] for at in range(0, size, 65536))
    answer = requests.request(
        method, url, data=chunks, headers={"Content-Type": MEDIA_TYPES[method]}, timeout=10
    )
    if size <= MIB:
        assert answer.status_code in (200, 201), answer.text
    else:
        assert answer.status_code == 413
        assert answer.json()["error"] == "Request body too large"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=60)
    | st.text('{}[]",:\\u0dD8eE+-.1 ntNaIfy', max_size=40).map(str.encode)
)
def test_random_bytes_as_body_are_refused(client: FlaskClient, body: bytes) -> None:
    answer = client.post(JOBS, data=body, content_type="application/json")
    assert answer.status_code == 400, answer.text
    assert answer.get_json()["success"] is False
