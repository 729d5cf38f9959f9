"""Queries by tag."""

import json
import uuid
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from support.factories import make_job, new_domain

JOBS = "/api/scrape-jobs"
REFUSED = "Invalid tag: must be UTF-8 text without NUL characters"


def found(client: FlaskClient, query: str) -> list[Any]:
    answer = client.get(f"{JOBS}?{query}")
    assert answer.status_code == 200, answer.text
    jobs: list[Any] = answer.get_json()["data"]
    return jobs


TAGS = [
    "❤️ sale", "می‌خواهم", "token=abc", "password: hunter2", "https://u:p@h.example", "👩‍👩‍👧‍👦", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "",
    " ", "  two  spaces ", "a,b", "a+b", "a b", "a&b=c", "100%", "%2B", "%00", "\t", "\n", "\r\n", "\x01\x1f\x7f\x85",
    "\u202e", "\ufeff", "\u00ad", "\u2028", "e\u0301", "\u00e9", "\ufffd\ufffe\uffff", "\U0010ffff", '"', "'", "\\",
    "\\u0000", "$.x", "*", "null", "[]", "#a", "x" * 201, "ü" * 1000, "x" * 5000, "Bearer abc",
    "-----BEGIN PRIVATE KEY-----",
]  # fmt: skip


@pytest.mark.parametrize("tag", TAGS, ids=range(len(TAGS)))
def test_a_stored_tag_is_found(client: FlaskClient, tag: str) -> None:
    domain = new_domain()
    job = make_job(client, domain=domain, metadata={"tags": ["other", tag]})
    make_job(client, domain=domain, metadata={"tags": [f"{tag}?", f"{tag} "]})
    make_job(client, domain=domain, metadata={"tags": []})
    assert job["metadata"]["tags"] == ["other", tag]
    for encode in (quote, quote_plus):
        assert found(client, f"domain={domain}&tag={encode(tag, safe='')}") == [job]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=300) | st.text("\x00\ud800\u200b=+&%, \n'\"\\a", max_size=8))
@example("\x00")
@example("a\udfff")
def test_every_accepted_tag_can_be_queried(client: FlaskClient, tag: str) -> None:
    body = json.dumps(
        {"domain": "tags.example", "metadata": {"tags": [tag], "mark": uuid.uuid4().hex}}
    )
    answer = client.post(JOBS, data=body, content_type="application/json")
    asked = f"tag={quote(tag, safe='', errors='surrogatepass')}"
    if answer.status_code == 201:
        assert answer.get_json()["data"] in found(client, f"{asked}&limit=200")
    else:
        assert answer.status_code == 400
        assert refusal(client.get(f"{JOBS}?{asked}")) == REFUSED


def refusal(answer: TestResponse) -> str:
    assert answer.status_code == 400, answer.text
    return str(answer.get_json()["error"])


@pytest.mark.parametrize(
    "value", ["%00", "a%00b", "%ED%A0%80", "%FF", "caf%E9", "%C0%80", "%F4%90%80%80", "%E2%82"]
)
def test_unstorable_tag_is_rejected(client: FlaskClient, value: str) -> None:
    assert refusal(client.get(f"{JOBS}?tag={value}")) == REFUSED


@pytest.mark.parametrize(
    "job_type", ["password:reset", "cookie:consent", "token:refresh", "secret:rotate", "api_key:a"]
)
def test_job_type_may_look_like_a_setting(client: FlaskClient, job_type: str) -> None:
    job = make_job(client, domain=new_domain(), job_type=job_type)
    for path in (
        f"?domain={job['domain']}&job_type={job_type}",
        f"/next?job_types={job_type}&domains={job['domain']}",
    ):
        assert client.get(JOBS + path).get_json()["data"] == [job]
    stats = client.get(f"{JOBS}/stats?domain={job['domain']}&job_type={job_type}").get_json()[
        "data"
    ]
    assert stats["total"] == 1


@pytest.mark.parametrize(
    "job_type",
    ["AKIAIOSFODNN7EXAMPLE", f"ghp_{'a1' * 18}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOjF9.sig"],
)
def test_credential_as_job_type_is_rejected(client: FlaskClient, job_type: str) -> None:
    error = "Invalid job_type: must not hold a credential"
    assert (
        refusal(client.post(JOBS, json={"domain": "type.example", "job_type": job_type})) == error
    )
    assert refusal(client.get(f"{JOBS}?job_type={job_type}")) == error


@pytest.mark.parametrize("name", ["a", "A.b_c-1", "x" * 128, "token", "cookie-1"])
def test_request_id_of_caller_is_kept(client: FlaskClient, name: str) -> None:
    assert client.get(JOBS, headers={"X-Request-ID": name}).headers["X-Request-ID"] == name
