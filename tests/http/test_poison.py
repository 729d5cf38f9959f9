"""Requests that are meant to hurt: each is refused in the common form and changes nothing; its
harmless twin passes."""

import json
import socket
import uuid
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from support.factories import make_job, new_domain
from support.service import Service

JOBS = "/api/scrape-jobs"
MIB = 1024 * 1024
NO_JSON = "Invalid body: must be a JSON document"
NO_OBJECT = "Invalid body: must be a JSON object"
MEDIA_TYPES = {
    "POST": "application/json",
    "PUT": "application/json",
    "PATCH": "application/merge-patch+json",
}

every_method = pytest.mark.parametrize("method", MEDIA_TYPES)


class Target:
    """Where a poison goes, and what proves that it had no effect."""

    def __init__(self, client: FlaskClient, method: str) -> None:
        self.client = client
        self.method = method
        self.domain = new_domain()
        self.url = (
            JOBS if method == "POST" else f"{JOBS}/{make_job(client, domain=self.domain)['id']}"
        )
        self.before = self._state()

    def send(self, body: bytes, content_type: str | None = None, **headers: str) -> TestResponse:
        kind = MEDIA_TYPES[self.method] if content_type is None else content_type
        return self.client.open(
            self.url, method=self.method, data=body, content_type=kind, headers=headers
        )

    def send_as_metadata(self, fragment: bytes) -> TestResponse:
        return self.send(self.document(b'"metadata": ' + fragment))

    def document(self, members: bytes) -> bytes:
        """Return a body that is complete for the method and holds `members`."""
        domain = b'"domain": "' + self.domain.encode() + b'", ' if self.method == "POST" else b""
        return b"{" + domain + members + b"}"

    def is_untouched(self) -> bool:
        return self._state() == self.before

    def _state(self) -> tuple[Any, ...]:
        jobs = self.client.get(JOBS, query_string={"domain": self.domain}).get_json()["data"]
        histories = [
            self.client.get(f"{JOBS}/{job['id']}/history").get_json()["data"] for job in jobs
        ]
        return jobs, histories


def assert_refused(answer: TestResponse, status: int, error: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.get_json()
    assert {"success", "error"} <= body.keys() <= {"success", "error", "details"}
    assert (body["success"], body["error"]) == (False, error)
    assert all(type(body[name]) is str and body[name] for name in body.keys() - {"success"})


def nested(levels: int, innermost: bytes, kind: str) -> bytes:
    """Return metadata that adds `levels` levels below the body's own, around `innermost`."""
    opened, closed = {"objects": (b'{"a":', b"}"), "arrays": (b"[", b"]")}[kind]
    return b'{"a":' + opened * (levels - 1) + innermost + closed * (levels - 1) + b"}"


# Each poison with the reason that `details` gives, and the most similar document that has to pass.
FRAGMENTS: dict[str, tuple[bytes, str, bytes]] = {
    "NaN": (b'{"a": NaN}', "NaN is no JSON number", b'{"a": "NaN"}'),
    "NaN in an array": (b'{"a": [1, NaN]}', "NaN is no JSON number", b'{"a": [1, null]}'),
    "Infinity": (b'{"a": Infinity}', "Infinity is no JSON number", b'{"a": "Infinity"}'),
    "-Infinity": (b'{"a": -Infinity}', "-Infinity is no JSON number", b'{"a": "-Infinity"}'),
    "1e400": (b'{"a": 1e400}', "A number in it is too large", b'{"a": 1e308}'),
    "-1e400": (b'{"a": -1E+400}', "A number in it is too large", b'{"a": -1E-400}'),
    "1.8e308": (b'{"a": 1.8e308}', "A number in it is too large", b'{"a": 1.7976931348623157e308}'),
    "1e400 deep": (
        b'{"a": [{"b": [1e400]}]}',
        "A number in it is too large",
        b'{"a": [{"b": [1e40]}]}',
    ),
    "1e99999": (b'{"a": 1e99999999999}', "A number in it is too large", b'{"a": 1e-99999999999}'),
    "5,000 digits": (
        b'{"a": ' + b"9" * 5000 + b"}",
        "A number in it is too long",
        b'{"a": ' + b"9" * 300 + b"}",
    ),
    "-5,000 digits": (
        b'{"a": -' + b"9" * 5000 + b"}",
        "A number in it is too long",
        b'{"a": -' + b"9" * 300 + b"}",
    ),
    "500,000 digits": (
        b'{"a": ' + b"1" * 500_000 + b"}",
        "A number in it is too long",
        b'{"a": ' + b"1" * 4000 + b"}",
    ),
    "NUL": (b'{"a": "\\u0000"}', "A string in it holds a NUL character", b'{"a": "\\u0001"}'),
    "NUL inside": (
        b'{"a": "x\\u0000y"}',
        "A string in it holds a NUL character",
        b'{"a": "x\\\\u0000y"}',
    ),
    "NUL after a backslash": (
        b'{"a": "\\\\\\u0000"}',
        "A string in it holds a NUL character",
        b'{"a": "\\\\\\\\u0000"}',
    ),
    "NUL in a key": (
        b'{"a\\u0000": 1}',
        "A string in it holds a NUL character",
        b'{"a\\u0020": 1}',
    ),
    "NUL deep": (
        b'{"a": [{"b": ["\\u0000"]}]}',
        "A string in it holds a NUL character",
        b'{"a": [{"b": ["0"]}]}',
    ),
    "NUL in a deep key": (
        b'{"a": [{"\\u0000": 1}]}',
        "A string in it holds a NUL character",
        b'{"a": [{"u0000": 1}]}',
    ),
    "raw NUL": (b'{"a": "\x00"}', "Invalid control character at", b'{"a": "\\b"}'),
    "raw control character": (b'{"a": "\x1f"}', "Invalid control character at", b'{"a": "\x7f"}'),
    "raw newline": (b'{"a": "\n"}', "Invalid control character at", b'{"a": "\\n"}'),
    "high surrogate": (b'{"a": "\\ud800"}', "half of a surrogate pair", b'{"a": "\\ud83d\\ude00"}'),
    "low surrogate": (b'{"a": "\\udc00"}', "half of a surrogate pair", b'{"a": "\\ud7ff"}'),
    "last surrogate": (b'{"a": "\\uDFFF"}', "half of a surrogate pair", b'{"a": "\\uE000"}'),
    "surrogates the wrong way round": (
        b'{"a": "\\ude00\\ud83d"}',
        "half of a surrogate pair",
        b'{"a": "\\uffff"}',
    ),
    "surrogates apart": (
        b'{"a": "\\ud83d \\ude00"}',
        "half of a surrogate pair",
        b'{"a": "\\\\ud83d"}',
    ),
    "surrogate in a key": (b'{"\\udbff": 1}', "half of a surrogate pair", b'{"\\udbff\\udfff": 1}'),
    "surrogate in a deep key": (
        b'{"a": [{"\\udc00": 1}]}',
        "half of a surrogate pair",
        b'{"a": [{"udc00": 1}]}',
    ),
    "surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', "It is not UTF-8", b'{"a": "\xed\x9f\xbf"}'),
    "invalid UTF-8": (b'{"a": "\xff"}', "It is not UTF-8", b'{"a": "\xc3\xbf"}'),
    "cut UTF-8": (b'{"a": "\xe2\x82"}', "It is not UTF-8", b'{"a": "\xe2\x82\xac"}'),
    "overlong UTF-8": (b'{"a": "\xc0\x80"}', "It is not UTF-8", b'{"a": "\xc2\x80"}'),
    "Latin-1": (b'{"a": "caf\xe9"}', "It is not UTF-8", b'{"a": "caf\xc3\xa9"}'),
    "past Unicode": (b'{"a": "\xf4\x90\x80\x80"}', "It is not UTF-8", b'{"a": "\xf4\x8f\xbf\xbf"}'),
    "key twice": (b'{"a": 1, "a": 2}', "A key stands twice in one object", b'{"a": 1, "A": 2}'),
    "key twice, equal": (
        b'{"a": 1, "a": 1}',
        "A key stands twice in one object",
        b'{"a": 1, "a ": 1}',
    ),
    "key twice, escaped": (
        b'{"a": 1, "\\u0061": 1}',
        "A key stands twice in one object",
        b'{"a": 1, "\\u0062": 1}',
    ),
    "key twice, deep": (
        b'{"a": [{"b": {"c": 1, "c": 2}}]}',
        "A key stands twice in one object",
        b'{"a": [{"b": {"c": 1, "d": {"c": 2}}}]}',
    ),
    "empty key twice": (b'{"": 1, "": 2}', "A key stands twice in one object", b'{"": {"": 2}}'),
    "__proto__ twice": (
        b'{"__proto__": 1, "__proto__": 1}',
        "A key stands twice in one object",
        b'{"__proto__": {"__proto__": {"constructor": {"prototype": 1}}}}',
    ),
    **{
        f"{levels} levels of {kind} around {innermost.decode()}": (
            nested(levels - 1, innermost, kind),
            "It is nested past 100 levels",
            nested(99, innermost, kind),
        )
        for kind in ("objects", "arrays")
        for levels, innermost in ((101, b"1"), (1_000, b"1"), (100_000, b"1"))
    },
    "101 levels, the innermost an empty array": (
        nested(99, b"[]", "arrays"),
        "It is nested past 100 levels",
        nested(98, b"[]", "arrays"),
    ),
    "101 levels, the innermost an empty object": (
        nested(99, b"{}", "objects"),
        "It is nested past 100 levels",
        nested(98, b"{}", "objects"),
    ),
    "no value": (b"", "Expecting value", b"{}"),
    "bare word": (b'{"a": nul}', "Expecting value", b'{"a": null}'),
    "capitals": (b'{"a": True}', "Expecting value", b'{"a": true}'),
    "single quotes": (b"{'a': 1}", "Expecting property name", b"{\"'a'\": 1}"),
    "no quotes": (b"{a: 1}", "Expecting property name", b'{"a": 1}'),
    "final comma": (b'{"a": 1,}', "", b'{"a": ","}'),
    "final comma in an array": (b'{"a": [1,]}', "", b'{"a": [","]}'),
    "comment": (b'{"a": 1 /* one */}', "Expecting ',' delimiter", b'{"a": "/* one */"}'),
    "leading zero": (b'{"a": 01}', "Expecting ',' delimiter", b'{"a": 0.1}'),
    "plus sign": (b'{"a": +1}', "Expecting value", b'{"a": 1E+1}'),
    "hexadecimal": (b'{"a": 0x1F}', "Expecting ',' delimiter", b'{"a": "0x1F"}'),
    "point without digits": (b'{"a": 1.}', "Expecting ',' delimiter", b'{"a": 1.0}'),
    "bad escape": (b'{"a": "\\x41"}', "Invalid \\escape", b'{"a": "\\u0041"}'),
    "short escape": (b'{"a": "\\u41"}', "Invalid \\uXXXX escape", b'{"a": "\\/"}'),
    "odd escape": (b'{"a": "\\u+041"}', "Invalid \\uXXXX escape", b'{"a": "\\t"}'),
    "open string": (b'{"a": "', "Unterminated string", b'{"a": ""}'),
    "odd whitespace": (b'{"a":\xc2\xa01}', "Expecting value", b'{"a":\t\r\n 1}'),
}


@every_method
@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_poisoned_value_is_refused_and_its_harmless_twin_is_taken(
    client: FlaskClient, method: str, name: str
) -> None:
    poison, reason, twin = FRAGMENTS[name]
    target = Target(client, method)
    answer = target.send_as_metadata(poison)
    assert_refused(answer, 400, NO_JSON)
    assert reason in answer.get_json()["details"]
    assert target.is_untouched()
    accepted = target.send_as_metadata(twin)
    assert accepted.status_code == (201 if method == "POST" else 200), accepted.text
    # PostgreSQL writes 1e308 with all of its digits; as numbers of JSON they are the same.
    stored = json.loads(accepted.text, parse_int=float)["data"]["metadata"]
    assert stored == without_nulls(json.loads(twin, parse_int=float), method)


def without_nulls(document: Any, method: str) -> Any:
    """Return what `document` leaves: in a merge patch, null stands for a key that is to go."""
    if method != "PATCH" or not isinstance(document, dict):
        return document
    return {
        key: without_nulls(value, method) for key, value in document.items() if value is not None
    }


WHOLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", NO_JSON),
    "blank": (b" \n", NO_JSON),
    "NUL byte": (b"\x00", NO_JSON),
    "byte order mark": (b'\xef\xbb\xbf{"metadata": {}}', NO_JSON),
    "byte order mark alone": (b"\xef\xbb\xbf", NO_JSON),
    "UTF-16": ('{"metadata": {}}'.encode("utf-16"), NO_JSON),
    "UTF-16 without mark": ('{"metadata": {}}'.encode("utf-16-le"), NO_JSON),
    "UTF-32": ('{"metadata": {}}'.encode("utf-32"), NO_JSON),
    "truncated": (b'{"metadata": {"a": 1}', NO_JSON),
    "brace": (b"{", NO_JSON),
    "bracket": (b"[", NO_JSON),
    "a million brackets": (b"[" * (MIB - 1), NO_JSON),
    "half a million objects": (b'{"a":' * 200_000, NO_JSON),
    "two documents": (b'{"metadata": {}} {"metadata": {}}', NO_JSON),
    "rubbish behind": (b'{"metadata": {}}x', NO_JSON),
    "form": (b"metadata=1&status=running", NO_JSON),
    "XML": (b"<job><status>running</status></job>", NO_JSON),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", NO_JSON),
    "random bytes": (bytes(range(255, 0, -1)), NO_JSON),
    "NaN": (b"NaN", NO_JSON),
    "key twice": (b'{"metadata": {}, "metadata": {}}', NO_JSON),
    "NUL in a field's name": (b'{"metadata\\u0000": {}}', NO_JSON),
    "surrogate in a field's name": (b'{"\\ud800": {}}', NO_JSON),
    "null": (b"null", NO_OBJECT),
    "true": (b"true", NO_OBJECT),
    "number": (b"17", NO_OBJECT),
    "string": (b'"metadata"', NO_OBJECT),
}


@every_method
@pytest.mark.parametrize("name", WHOLE)
def test_a_body_that_is_no_json_object_is_refused(
    client: FlaskClient, method: str, name: str
) -> None:
    body, error = WHOLE[name]
    target = Target(client, method)
    assert_refused(target.send(body), 400, error)
    assert target.is_untouched()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("body", [b"[]", b'[{"status": "running"}]', b"[[]]", b"[null]"])
def test_an_array_is_no_update(client: FlaskClient, method: str, body: bytes) -> None:
    target = Target(client, method)
    assert_refused(target.send(body), 400, NO_OBJECT)
    assert target.is_untouched()


RETRY_COUNT = "Invalid retry_count: must be a non-negative integer"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("members", "error"),
    [
        *(
            (f'"retry_count": {value}', RETRY_COUNT)
            for value in (
                2**31,
                2**63,
                2**64,
                10**30,
                -1,
                -(2**31),
                "true",
                "false",
                "1.0",
                "1e0",
                "-0.0",
                '"1"',
                "[]",
            )
        ),
        ('"retry_count": null', RETRY_COUNT),
        ('"stats": []', "Invalid stats: must be an object"),
        ('"stats": "{}"', "Invalid stats: must be an object"),
        ('"stats": null', "Invalid stats: must be an object"),
        ('"metadata": [["a", 1]]', "Invalid metadata: must be an object"),
        ('"metadata": null', "Invalid metadata: must be an object"),
        ('"error_message": 7', "Invalid error_message: must be a string"),
        ('"error_message": ["x"]', "Invalid error_message: must be a string"),
        ('"error_message": {"toString": "x"}', "Invalid error_message: must be a string"),
        *(
            (
                f'"status": {value}',
                "Invalid status: must be one of pending, running, completed, failed, cancelled",
            )
            for value in (
                "null",
                "true",
                "0",
                "[]",
                "{}",
                '""',
                '"RUNNING"',
                '"running "',
                '["running"]',
                '"paused"',
            )
        ),
        *(
            (
                f'"started_at": {value}',
                "Invalid started_at: must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z",
            )
            for value in (
                "0",
                "1704067200",
                "true",
                '""',
                '"now"',
                '"infinity"',
                '"-infinity"',
                '"epoch"',
                '"٢"',
                "{}",
            )
        ),
        ("", "No updatable fields provided"),
        ('"domain": "a"', "No updatable fields provided"),
        ('"statuss": "running"', "Unknown field: statuss"),
        ('"__proto__": {"status": "running"}', "Unknown field: __proto__"),
        ('"status; DROP": 1', "Unknown field: status; DROP"),
    ],
)
def test_a_wrong_value_in_an_update_is_refused(
    client: FlaskClient, method: str, members: str, error: str
) -> None:
    target = Target(client, method)
    assert_refused(target.send(f"{{{members}}}".encode()), 400, error)
    assert target.is_untouched()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("value", [0, 1, 2**31 - 1])
def test_a_whole_number_within_the_column_is_taken(
    client: FlaskClient, method: str, value: int
) -> None:
    answer = Target(client, method).send(f'{{"retry_count": {value}}}'.encode())
    assert (answer.status_code, answer.get_json()["data"]["retry_count"]) == (200, value)


@every_method
@pytest.mark.parametrize(
    "content_type",
    [
        "", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/xml", "application/jsonx", "application/json5", "application", "/", ";",
        "application/json, text/x", "application/vnd.api+json", "\xff", "%s",
    ],
)  # fmt: skip
def test_a_body_of_another_media_type_is_refused(
    client: FlaskClient, method: str, content_type: str
) -> None:
    target = Target(client, method)
    answer = target.send(target.document(b'"metadata": {}'), content_type)
    assert_refused(answer, 415, "Unsupported media type")
    assert answer.get_json()["details"] == f"Content-Type must be {MEDIA_TYPES[method]}"
    assert target.is_untouched()


@every_method
def test_a_body_without_a_media_type_is_refused(client: FlaskClient, method: str) -> None:
    target = Target(client, method)
    answer = client.open(target.url, method=method, data=target.document(b'"metadata": {}'))
    assert_refused(answer, 415, "Unsupported media type")
    assert target.is_untouched()


@pytest.mark.parametrize(
    ("method", "other"), [("PUT", "PATCH"), ("PATCH", "PUT"), ("POST", "PATCH")]
)
def test_a_merge_patch_and_an_update_are_not_taken_for_each_other(
    client: FlaskClient, method: str, other: str
) -> None:
    target = Target(client, method)
    assert_refused(
        target.send(target.document(b'"metadata": {}'), MEDIA_TYPES[other]),
        415,
        "Unsupported media type",
    )
    assert target.is_untouched()


@every_method
@pytest.mark.parametrize(
    "parameters", ["; charset=utf-8", ";charset=UTF-8", "; charset=latin-1", "; x=y; z=1", ";"]
)
def test_a_media_type_may_have_parameters(
    client: FlaskClient, method: str, parameters: str
) -> None:
    target = Target(client, method)
    body = target.document('"metadata": {"a": "ü"}'.encode())
    for kind in (MEDIA_TYPES[method], MEDIA_TYPES[method].upper()):
        answer = target.send(body, kind + parameters)
        assert answer.status_code in (200, 201), answer.text
        assert answer.get_json()["data"]["metadata"] == {"a": "ü"}


@every_method
def test_a_body_may_have_one_mebibyte_and_not_a_byte_more(client: FlaskClient, method: str) -> None:
    target = Target(client, method)
    body = target.document(b'"metadata": {"a": 1}').ljust(MIB)
    assert_refused(target.send(body + b" "), 413, "Request body too large")
    assert target.is_untouched()
    assert target.send(body).status_code in (200, 201)


@every_method
@pytest.mark.parametrize("size", [MIB, MIB + 1, 2 * MIB])
def test_a_body_that_tells_no_length_is_measured_as_well(
    service: Service, method: str, size: int
) -> None:
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


STRINGS = [
    "%s", "%(id)s", "%", "%%", "%d%n", "%(metadata)s::jsonb", "{}", "{0}", "{id}", "{{", "${7*7}", "{{7*7}}", "#{7}",
    "'", "''", '"', "\\", "\\\\", "\\'", '\\"', "\\u0000", "\\x00", "\\n", "'; DROP TABLE scrape_jobs; --", "$1", "$$",
    "$body$", ":id", "?", "E'\\\\'", "--", "/*", "*/", ";", "\n\r\t\b\f", "\x01\x1f\x7f\x80\x9f", "\u2028\u2029",
    "\u202e\u200b\ufeff", "\ufffd\ufffe\uffff", "\U0001f600\U0010ffff", "e\u0301", "\u00e9",
    "<script>alert(1)</script>", "null", "NaN", "true", "{", "]", " ", "", "..%2f..%2f", "__proto__",
    "constructor", "ß", "İ", "x" * 5000,
]  # fmt: skip


@every_method
def test_any_string_comes_back_exactly_as_it_was_given(client: FlaskClient, method: str) -> None:
    target = Target(client, method)
    document: dict[str, Any] = {
        **{text: text for text in STRINGS},
        "all": STRINGS,
        "deep": [{"a": STRINGS}],
    }
    answer = target.send(target.document(b'"metadata": ' + json.dumps(document).encode()))
    assert answer.status_code in (200, 201), answer.text
    job = answer.get_json()["data"]
    assert job["metadata"] == document
    assert client.get(f"{JOBS}/{job['id']}").get_json()["data"] == job


@every_method
def test_raw_and_escaped_strings_are_the_same(client: FlaskClient, method: str) -> None:
    target = Target(client, method)
    document = {"all": STRINGS}
    raw = target.send(
        target.document(b'"metadata": ' + json.dumps(document, ensure_ascii=False).encode())
    )
    assert raw.status_code in (200, 201)
    assert raw.get_json()["data"]["metadata"] == document


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(-1e15, 1e15)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.text(
                st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8
            ),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=json_values)
def test_any_json_value_comes_back_equal(client: FlaskClient, value: Any) -> None:
    answer = client.post(JOBS, json={"domain": "any.example", "metadata": {"value": value}})
    assert answer.status_code == 201, answer.text
    assert answer.get_json()["data"]["metadata"]["value"] == value


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(domain=st.text(max_size=80) | st.from_regex(r"(xn--)?[\w.。．-]{1,30}", fullmatch=True))
def test_any_text_is_a_domain_or_refused(client: FlaskClient, domain: str) -> None:
    answer = client.post(JOBS, data=json.dumps({"domain": domain}), content_type="application/json")
    assert answer.status_code in (201, 400), answer.text
    if answer.status_code == 201:
        stored = answer.get_json()["data"]["domain"]
        assert stored == stored.lower()
        assert stored.isascii()
        assert (
            client.get(JOBS, query_string={"domain": stored, "limit": 1}).get_json()["data"][0][
                "domain"
            ]
            == stored
        )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=60)
    | st.text('{}[]",:\\u0dD8eE+-.1 ntNaIfy', max_size=40).map(str.encode)
)
def test_no_bytes_are_too_odd_for_a_body(client: FlaskClient, body: bytes) -> None:
    answer = client.post(JOBS, data=body, content_type="application/json")
    assert answer.status_code == 400, answer.text
    assert answer.get_json()["success"] is False


# ------------------------------------------------------------------------------------------- paths, queries, headers

NO_UUID = "Invalid id: must be a UUID"
ID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize(
    "text",
    [
        "1", "null", "x", "%00", f"{ID}%00", f"%00{ID}", f"{ID}%0A", f"{ID}%20", f"%20{ID}", f"{ID}0", ID[:-1],
        ID.replace("-", ""), ID.replace("-", "_"), f"{{{ID}}}", f"%7B{ID}%7D", f"urn:uuid:{ID}", "g" + ID[1:],
        "%27%20OR%201=1--", "%FF%FE", "%ED%A0%80", "%C0%AF", "%F0%9F%98%80", "%EF%BC%91" + ID[1:], "%25s", "%(id)s",
        "*", "..%5C..", "a" * 4000, "-" * 36, "0" * 36, "%D9%A1" + ID[1:],
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HISTORY"])
def test_an_id_that_is_no_uuid_is_refused(client: FlaskClient, text: str, method: str) -> None:
    if method == "HISTORY":
        answer = client.get(f"{JOBS}/{text}/history")
    else:
        answer = client.open(
            f"{JOBS}/{text}",
            method=method,
            data=b'{"stats": {}}',
            content_type=MEDIA_TYPES.get(method),
        )
    assert_refused(answer, 400, NO_UUID)


@pytest.mark.parametrize("version", ["0", "1", "4", "7", "f"])
def test_an_id_may_be_of_any_version_and_case(client: FlaskClient, version: str) -> None:
    unknown = f"123E4567-e89b-{version}2d3-A456-426614174000"
    assert_refused(client.get(f"{JOBS}/{unknown}"), 404, "Job not found")


QUERIES = [
    "%00", "%00=%00", "=", "&&&", "a", "a=", "status=%00", "domain=%00", "tag=%00", "tag=%ED%A0%80", "tag=%FF",
    "cursor=%00", "cursor=%FF%FF", "limit=%00", "sort=%00", "customer_config_id=%00", "created_after=%00",
    "created_before=%FF", "job_type=%F4%90%80%80", "limit=9" + "9" * 5000, "tag=" + "x" * 7000,
    "&".join(["a=1"] * 1500), "status=" + "," * 3000, "domain=" + "." * 3000, "domain=" + "%F0%9F%98%80" * 300,
    "%", "%zz=%zz", "a[b]=c",
    "status=pending;limit=1", "created_after=" + "2" * 4000, "tag=%25s", "tag=%27", "tag=%5C", "tag=%22",
]  # fmt: skip


@pytest.mark.parametrize("path", ["", f"/{ID}", f"/{ID}/history"])
def test_no_query_string_is_too_odd(service: Service, path: str) -> None:
    for query in QUERIES:
        status, body = raw(service, f"GET {JOBS}{path}?{query} HTTP/1.1".encode())
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
def test_no_reason_is_too_odd(service: Service, reason: str) -> None:
    job = service.create()
    status, body = raw(service, f"DELETE {JOBS}/{job['id']}?reason={reason} HTTP/1.1".encode())
    assert (status, body["data"]["status"]) == (200, "cancelled")
    assert body["data"]["error_message"].startswith("Cancelled via API")
    assert "\x00" not in body["data"]["error_message"]


ODD = [
    b"", b" ", b"\x01", b"\x7f", b"\x80\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"'; DROP TABLE scrape_jobs", b"%s",
    b"%(id)s", b"{}", b"\\", b'"', b'"\\"', b"a, b", b"*", b"x" * 4000, b"9" * 4000, b'"' + b"9" * 400 + b'"', b"\x00",
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
def test_no_header_is_too_odd(service: Service, header: str, method: str) -> None:
    url = JOBS if method == "POST" else f"{JOBS}/{ID}"
    body = b'{"domain": "odd.example"}' if method == "POST" else b'{"stats": {}}'
    for value in ODD:
        line, odd = f"{method} {url} HTTP/1.1".encode(), header.encode() + b": " + value
        status, answer = raw(service, line, odd, body=body)
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
        b"GET ///// HTTP/1.1",
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
def test_no_request_line_is_too_odd(service: Service, line: bytes) -> None:
    status, body = raw(service, line)
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
    status, body = raw(
        service, b"POST /api/scrape-jobs HTTP/1.1", *headers, body=b"{}", own_length=False
    )
    assert 400 <= status < 500 or status == 501, (status, body)
    assert {"success", "error"} <= body.keys() <= {"success", "error", "details"}


def raw(
    service: Service, line: bytes, *headers: bytes, body: bytes = b"", own_length: bool = True
) -> tuple[int, dict[str, Any]]:
    """Send exactly these bytes and return the answer's status and JSON; a body that is not JSON
    fails."""
    names = {header.partition(b":")[0].lower() for header in headers}
    lines = [line, *headers, b"Connection: close"]
    if b"host" not in names:
        lines.append(b"Host: 127.0.0.1")
    if body and b"content-type" not in names:
        lines.append(b"Content-Type: application/json")
    if body and own_length:
        lines.append(b"Content-Length: %d" % len(body))
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"<html" not in content.lower()
    assert b"traceback" not in content.lower()
    parsed: dict[str, Any] = json.loads(content) if content else {}
    return int(head.split()[1]), parsed


def test_after_all_that_the_service_still_works(service: Service) -> None:
    job = service.create(metadata={"id": str(uuid.uuid4())})
    assert requests.get(f"{service.jobs}/{job['id']}", timeout=10).json()["data"] == job
