"""JSON merge patches."""

import json
from typing import Any

from flask.testing import FlaskClient
from hypothesis import strategies as st
from werkzeug.test import TestResponse

MEDIA_TYPE = "application/merge-patch+json"
RFC_7396_APPENDIX_A: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
keys = st.text(st.characters(min_codepoint=97, max_codepoint=100), max_size=2)
scalars = (
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text("xyzß\n\"\\'", max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(keys, values, max_size=4)


def without_nulls(value: Any) -> Any:
    """Return the value without null members of its objects; arrays are unchanged."""
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}


def patch_job(client: FlaskClient, job_id: str, body: Any, **headers: str) -> TestResponse:
    """Send the patch."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.patch(
        f"/api/scrape-jobs/{job_id}",
        data=json.dumps(body),
        headers={"Content-Type": MEDIA_TYPE, **named},
    )


def patched(client: FlaskClient, job_id: str, body: Any) -> dict[str, Any]:
    """Send a patch that is accepted, and return the job."""
    answer = patch_job(client, job_id, body)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.get_json()["data"]
    return data
