"""Hostile values of fields: invalid ones are refused, valid ones are stored unchanged."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.hostile_requests import JOBS, HostileTarget, assert_refused, every_method

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
                "Invalid started_at: must be an ISO 8601 timestamp such as"
                " 2024-01-01T10:00:00.000Z",
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
def test_an_invalid_value_in_update_is_refused(
    client: FlaskClient, method: str, members: str, error: str
) -> None:
    target = HostileTarget(client, method)
    assert_refused(target.send(f"{{{members}}}".encode()), 400, error)
    assert target.is_unchanged()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("value", [0, 1, 2**31 - 1])
def test_integers_within_the_columns_range_are_accepted(
    client: FlaskClient, method: str, value: int
) -> None:
    answer = HostileTarget(client, method).send(f'{{"retry_count": {value}}}'.encode())
    assert (answer.status_code, answer.get_json()["data"]["retry_count"]) == (200, value)


STRINGS = [
    "%s", "%(id)s", "%", "%%", "%d%n", "%(metadata)s::jsonb", "{}", "{0}", "{id}", "{{", "${7*7}",
    "{{7*7}}", "#{7}",
    "'", "''", '"', "\\", "\\\\", "\\'", '\\"', "\\u0000", "\\x00", "\\n",
    "'; DROP TABLE scrape_jobs; --", "$1", "$$",
    "$body$", ":id", "?", "E'\\\\'", "--", "/*", "*/", ";", "\n\r\t\b\f", "\x01\x1f\x7f\x80\x9f",
    "\u2028\u2029",
    "\u202e\u200b\ufeff", "\ufffd\ufffe\uffff", "\U0001f600\U0010ffff", "e\u0301", "\u00e9",
    "<script>alert(1)</script>", "null", "NaN", "true", "{", "]", " ", "", "..%2f..%2f",
    "__proto__",
    "constructor", "ß", "İ", "x" * 5000,
]  # fmt: skip


@every_method
def test_any_string_is_stored_unchanged(client: FlaskClient, method: str) -> None:
    target = HostileTarget(client, method)
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
    target = HostileTarget(client, method)
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
def test_any_json_value_is_stored_unchanged(client: FlaskClient, value: Any) -> None:
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
