"""Hostile JSON: each invalid value is refused without effect; a similar valid one is stored."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from support.hostile_requests import NOT_JSON, HostileTarget, assert_refused, every_method


def nested(levels: int, innermost: bytes, kind: str) -> bytes:
    """Return metadata with `levels` levels below the body's own, around `innermost`."""
    opened, closed = {"objects": (b'{"a":', b"}"), "arrays": (b"[", b"]")}[kind]
    return b'{"a":' + opened * (levels - 1) + innermost + closed * (levels - 1) + b"}"


# Each hostile value, the reason in `details`, and the most similar value that is accepted.
HOSTILE_VALUES: dict[str, tuple[bytes, str, bytes]] = {
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
@pytest.mark.parametrize("name", HOSTILE_VALUES)
def test_a_hostile_value_is_refused_unlike_its_counterpart(
    client: FlaskClient, method: str, name: str
) -> None:
    hostile, reason, counterpart = HOSTILE_VALUES[name]
    target = HostileTarget(client, method)
    answer = target.send_as_metadata(hostile)
    assert_refused(answer, 400, NOT_JSON)
    assert reason in answer.get_json()["details"]
    assert target.is_unchanged()
    accepted = target.send_as_metadata(counterpart)
    assert accepted.status_code == (201 if method == "POST" else 200), accepted.text
    # PostgreSQL writes 1e308 with all of its digits; parsed as numbers, both are equal.
    stored = json.loads(accepted.text, parse_int=float)["data"]["metadata"]
    assert stored == without_nulls(json.loads(counterpart, parse_int=float), method)


def without_nulls(document: Any, method: str) -> Any:
    """Return `document` as it is stored; in a merge patch, null removes a key."""
    if method != "PATCH" or not isinstance(document, dict):
        return document
    return {
        key: without_nulls(value, method) for key, value in document.items() if value is not None
    }
