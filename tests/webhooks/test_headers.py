"""Custom headers of endpoints: sent with each request, encrypted at rest, never shown."""

import json
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from app import vault
from app.webhooks.headers import MAX_HEADERS, MAX_VALUE_LENGTH, fault_of_headers
from support.factories import new_domain
from support.receiver import Receiver
from support.service import Service

NO_OBJECT = "must be null or an object of 1 to 10 headers"
INVALID_NAME = "must have names of letters, digits and hyphens, such as X-Gateway-Key"
WEBHOOKS = "/api/webhooks"
URL = "http://93.184.216.34/hook"
SECRET = "Bearer gateway-9f8e7d6c5b4a"
HEADERS = {"Authorization": SECRET, "X-Gateway-Key": "a b\tc"}


def create(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    answer = client.post(WEBHOOKS, json={"url": URL, "active": False, **fields})
    assert answer.status_code == 201, answer.text
    assert SECRET not in answer.text
    endpoint: dict[str, Any] = answer.get_json()["data"]
    return endpoint


def update(client: FlaskClient, endpoint_id: str, **fields: Any) -> dict[str, Any]:
    answer = client.put(f"{WEBHOOKS}/{endpoint_id}", json=fields)
    assert answer.status_code == 200, answer.text
    endpoint: dict[str, Any] = answer.get_json()["data"]
    return endpoint


def test_answers_show_only_the_names(client: FlaskClient) -> None:
    made = create(client, headers=HEADERS)
    assert made["header_names"] == ["Authorization", "X-Gateway-Key"]
    assert "headers" not in made
    for path in (f"{WEBHOOKS}/{made['id']}", f"{WEBHOOKS}?limit=200"):
        assert SECRET not in client.get(path).text
    assert create(client)["header_names"] is None


def test_headers_stay_until_they_are_replaced(client: FlaskClient) -> None:
    made = create(client, headers=HEADERS)
    assert update(client, made["id"], description="x")["header_names"] == list(HEADERS)
    assert update(client, made["id"], headers={"X-Other": "1"})["header_names"] == ["X-Other"]
    assert update(client, made["id"], headers=None)["header_names"] is None


def test_an_endpoint_can_be_written_back_as_read(client: FlaskClient) -> None:
    made = create(client, headers=HEADERS)
    read = client.get(f"{WEBHOOKS}/{made['id']}").get_json()["data"]
    assert update(client, made["id"], **{**read, "description": "same"})["header_names"] == list(
        HEADERS
    )


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({}, NO_OBJECT),
        ([], NO_OBJECT),
        ("X: y", NO_OBJECT),
        ({f"X-{n}": "1" for n in range(MAX_HEADERS + 1)}, NO_OBJECT),
        *(({name: "1"}, INVALID_NAME) for name in ("", "X Y", "X:", "X\r\nHost", "ü")),
        ({"X-Key": "1", "x-key": "2"}, "must name each header once"),
        *(
            ({name: "1"}, f"must not hold {name}, which the service sets itself")
            for name in (
                "Host", "content-length", "Content-Type", "Content-Encoding", "Transfer-Encoding",
                "Connection", "Expect", "Upgrade", "Proxy-Authorization", "webhook-id",
                "Webhook-Signature", "Cookie",
            )
        ),
        *(
            ({"X-Key": value}, "must have values of 1 to 4096 visible ASCII characters")
            for value in (
                "", " x", "x ", "a\r\nHost: b", "a\nb", "a\x07b", "ü",
                "x" * (MAX_VALUE_LENGTH + 1), 1, None, ["x"],
            )
        ),
    ],
)  # fmt: skip
def test_invalid_headers_are_rejected(client: FlaskClient, headers: Any, fault: str) -> None:
    answer = client.post(WEBHOOKS, json={"url": URL, "headers": headers})
    assert (answer.status_code, answer.get_json()["error"]) == (400, f"Invalid headers: {fault}")


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=20) | st.none(), max_size=4))
def test_accepted_headers_cannot_break_a_request(headers: dict[str, Any]) -> None:
    if fault_of_headers(headers) is None:
        for name, value in headers.items():
            assert not set(name) & set(" :\r\n\t\0")
            assert not set(value) & set("\r\n\0")
            assert value == value.strip()
            assert (name + value).isascii()


def test_the_receiver_gets_the_headers(fresh_database: str) -> None:
    settings = {
        "SCRAPE_JOBS_WEBHOOK_ALLOW": "127.0.0.1",
        "SCRAPE_JOBS_SECRETS_KEY": vault.new_key(),
    }
    with Receiver() as receiver, Service(fresh_database, **settings) as service:
        hook = service.webhook(f"{receiver.url}/ok", headers=HEADERS)
        plain = service.webhook(f"{receiver.url}/plain")
        job = service.create(domain=new_domain())
        service.change(job["id"], status="running")
        (received,) = receiver.wait_for("/ok", 1)
        assert received.headers["authorization"] == SECRET
        assert received.headers["x-gateway-key"] == "a b\tc"
        assert received.headers["content-type"] == "application/json"
        assert received.headers["webhook-signature"].startswith("v1,")
        (other,) = receiver.wait_for("/plain", 1)
        assert "authorization" not in other.headers
        shown = json.dumps(service.deliveries(hook["id"])) + json.dumps(plain)
        assert SECRET not in shown + service.logs()
    connection = psycopg2.connect(fresh_database)
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(w::text, '') FROM webhook_endpoints w")
        (stored,) = cursor.fetchone() or ("",)
    connection.close()
    assert SECRET not in stored
    assert "fernet:" in stored
