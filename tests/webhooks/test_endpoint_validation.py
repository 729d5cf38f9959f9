"""Invalid requests about webhook endpoints, and the errors that answer them."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.webhooks.signing import new_secret
from support.webhook_api import (
    CURSOR,
    PUBLIC_URL,
    UNKNOWN_ID,
    WEBHOOKS,
    create_webhook,
    data,
    get_webhook,
    refusal,
)

pytestmark = pytest.mark.usefixtures("query")

HTTP_URL = "must be an http or https URL such as https://example.com/hook"

STATUSES = "must be null or a list of 1 to 200 of pending, running, completed, failed, cancelled"

JOB_TYPES = "must be null or a list of 1 to 200 job types"

DOMAINS = "must be null or a list of 1 to 200 host names"

SECRET = "must be whsec_ and 24 to 64 bytes in base64"

WRONG: dict[str, list[tuple[str, list[Any]]]] = {
    "url": [
        (HTTP_URL, [None, 1, True, [], {}, "", "x", "ftp://93.184.216.34/", "http://"]),
        (
            "must not hold credentials: receivers verify the signature instead",
            ["https://user:password@93.184.216.34/"],
        ),
        ("must not have a fragment", ["https://93.184.216.34/#x"]),
        (
            "must be a URL of at most 2000 visible ASCII characters",
            ["https://93.184.216.34/ x", "https://93.184.216.34/" + "x" * 2000],
        ),
        ("must be a URL such as https://example.com/hook", ["https://93.184.216.34:x/"]),
    ],
    "statuses": [(STATUSES, [[], "failed", ["done"], [None], [1], {}, 1, ["failed"] * 201])],
    "job_types": [(JOB_TYPES, [[], "x", [""], ["a b"], ["x" * 65], [None], ["x"] * 201, [["x"]]])],
    "domains": [
        (DOMAINS, [[], "x.example", [""], ["127.0.0.256"], ["a b"], ["http://a.example"], [1]])
    ],
    "active": [("must be true or false", [None, 0, 1, 0.0, "true", "yes", []])],
    "description": [("must be a string", [1, True, [], {}])],
}

FAULTS: list[tuple[str, Any, str]] = [
    (field, value, fault)
    for field, wrong in WRONG.items()
    for fault, values in wrong
    for value in values
]

WRONG_SECRETS: list[Any] = [
    None,
    1,
    "",
    "whsec_",
    "password",
    "whsec_" + "A" * 28,
    "whsec_" + "A" * 88,
    "A" * 32,
]

SECRET_FAULTS: list[tuple[str, Any, str]] = [("secret", value, SECRET) for value in WRONG_SECRETS]


@pytest.mark.parametrize(("field", "value", "fault"), FAULTS + SECRET_FAULTS)
def test_creation_rejects_invalid_fields(
    client: FlaskClient, field: str, value: Any, fault: str
) -> None:
    answer = client.post(WEBHOOKS, json={"url": PUBLIC_URL, field: value})
    assert refusal(answer) == {"success": False, "error": f"Invalid {field}: {fault}"}
    assert data(client.get(WEBHOOKS)) == []


def test_creation_requires_a_url(client: FlaskClient) -> None:
    assert refusal(client.post(WEBHOOKS, json={}))["error"] == f"Invalid url: {HTTP_URL}"


def test_faults_are_in_the_order_of_fields(client: FlaskClient) -> None:
    body = {
        "secret": "x",
        "description": 1,
        "active": "x",
        "domains": 1,
        "job_types": 1,
        "statuses": 1,
        "url": 1,
        "z": 1,
    }
    assert refusal(client.post(WEBHOOKS, json=body)) == {
        "success": False,
        "error": f"Invalid url: {HTTP_URL}",
        "details": f"Invalid statuses: {STATUSES}; Invalid job_types: {JOB_TYPES}; "
        f"Invalid domains: {DOMAINS}; Invalid active: must be true or false; "
        f"Invalid description: must be a string; Invalid secret: {SECRET}; "
        "Unknown field: z",
    }


@pytest.mark.parametrize(
    "name", ["id", "created_at", "disabled_reason", "from_settings", "filters", "URL"]
)
def test_creation_rejects_unknown_fields(client: FlaskClient, name: str) -> None:
    assert (
        refusal(client.post(WEBHOOKS, json={"url": PUBLIC_URL, name: None}))["error"]
        == f"Unknown field: {name}"
    )


@pytest.mark.parametrize("body", [[], [{"url": PUBLIC_URL}], None, 1, "x"])
def test_creation_requires_an_object(client: FlaskClient, body: Any) -> None:
    answer = client.post(WEBHOOKS, data=json.dumps(body), content_type="application/json")
    assert refusal(answer)["error"] == "Invalid body: must be a JSON object"


@pytest.mark.parametrize("path", [WEBHOOKS, f"{WEBHOOKS}/{UNKNOWN_ID}/deliveries"])
@pytest.mark.parametrize(
    ("asked", "error"),
    [
        *(
            ({"limit": value}, "Invalid limit: must be an integer from 1 to 200")
            for value in ("0", "201", "x", "-1", "")
        ),
        *(
            ({"cursor": value}, CURSOR)
            for value in ("", "x", "e30", "W10", "WyJqb2JzIl0", "x" * 501, "ü")
        ),
        ({"page": "2"}, "Unknown field: page"),
    ],
)
def test_lists_reject_invalid_queries(
    client: FlaskClient, path: str, asked: dict[str, str], error: str
) -> None:
    assert refusal(client.get(path, query_string=asked))["error"] == error


@pytest.mark.parametrize(
    "body", [{}, {"id": UNKNOWN_ID}, {"secret": new_secret()}, {"disabled_reason": None}]
)
def test_an_update_requires_a_changeable_field(client: FlaskClient, body: dict[str, Any]) -> None:
    made = create_webhook(client)
    answer = client.put(f"{WEBHOOKS}/{made['id']}", json=body)
    assert refusal(answer)["error"] == "No updatable fields provided"


@pytest.mark.parametrize(("field", "value", "fault"), FAULTS)
def test_an_update_rejects_invalid_fields(
    client: FlaskClient, field: str, value: Any, fault: str
) -> None:
    made = create_webhook(client)
    answer = client.put(f"{WEBHOOKS}/{made['id']}", json={"description": "new", field: value})
    assert refusal(answer)["error"] == f"Invalid {field}: {fault}"
    assert get_webhook(client, made)["description"] is None


def test_an_update_rejects_unknown_fields(client: FlaskClient) -> None:
    made = create_webhook(client)
    answer = client.put(f"{WEBHOOKS}/{made['id']}", json={"description": "new", "status": "failed"})
    assert refusal(answer)["error"] == "Unknown field: status"
    assert get_webhook(client, made)["description"] is None


NO_WEBHOOK = {"success": False, "error": "Webhook not found"}

# The routes with an endpoint's id: the method, the path after the id, and the body.
ROUTES: dict[str, tuple[str, str, Any]] = {
    "get": ("GET", "", None),
    "update": ("PUT", "", {"active": True}),
    "delete": ("DELETE", "", None),
    "rotate": ("POST", "/rotate-secret", None),
    "test": ("POST", "/test", None),
    "deliveries": ("GET", "/deliveries", None),
    "redeliver": ("POST", f"/deliveries/{UNKNOWN_ID}/redeliver", None),
    "redeliver failed": ("POST", "/redeliver", {"failed_since": "2024-01-01T00:00:00Z"}),
}


@pytest.mark.parametrize(("method", "path", "body"), ROUTES.values(), ids=ROUTES)
def test_an_unknown_endpoint_is_not_found(
    client: FlaskClient, method: str, path: str, body: Any
) -> None:
    assert (
        refusal(client.open(f"{WEBHOOKS}/{UNKNOWN_ID}{path}", method=method, json=body), 404)
        == NO_WEBHOOK
    )


@pytest.mark.parametrize(
    "bad",
    [
        "x",
        "1",
        UNKNOWN_ID[:-1],
        UNKNOWN_ID.replace("-", ""),
        f"{{{UNKNOWN_ID}}}",
        f"{UNKNOWN_ID}0",
        "%00",
    ],
)
@pytest.mark.parametrize(("method", "path", "body"), ROUTES.values(), ids=ROUTES)
def test_an_invalid_id_is_rejected(
    client: FlaskClient, method: str, path: str, body: Any, bad: str
) -> None:
    answer = client.open(f"{WEBHOOKS}/{bad}{path}", method=method, json=body)
    assert refusal(answer) == {"success": False, "error": "Invalid id: must be a UUID"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", f"/{UNKNOWN_ID}"),
        ("PUT", ""),
        ("DELETE", ""),
        ("GET", f"/{UNKNOWN_ID}/test"),
        ("POST", f"/{UNKNOWN_ID}"),
    ],
)
def test_other_methods_are_not_allowed(client: FlaskClient, method: str, path: str) -> None:
    assert (
        refusal(client.open(f"{WEBHOOKS}{path}", method=method, json={}), 405)["error"]
        == "Method not allowed"
    )
