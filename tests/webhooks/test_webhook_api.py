"""Every route of /api/webhooks: endpoints, their secrets, their deliveries; and the endpoints of
the settings."""

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from app.signing import is_secret, new_secret
from app.targets import Policy
from flask import Flask
from flask.testing import FlaskClient
from standardwebhooks.webhooks import Webhook
from werkzeug.test import TestResponse

from app import vault
from app.config import Settings
from app.factory import create_app
from app.vault import Vault
from app.webhooks import service
from app.webhooks.dispatcher import Dispatcher, Options
from app.webhooks.service import EndpointOfSettings
from support.database import migrate, new_database
from support.factories import make_job, new_domain
from support.receiver import Receiver

WEBHOOKS = "/api/webhooks"
URL = "http://93.184.216.34/hook"
NOWHERE = "http://127.0.0.1:9/"
ID = "123e4567-e89b-12d3-a456-426614174000"
KEY, OTHER_KEY = vault.new_key(), vault.new_key()
FIELDS = [
    "id", "url", "statuses", "job_types", "domains", "description", "header_names", "customer_config_id", "active",
    "disabled_reason", "failing_since", "from_settings", "previous_secret_until", "created_at", "updated_at",
]  # fmt: skip
DELIVERY_FIELDS = [
    "id", "webhook_id", "job_id", "event_id", "status", "body", "tries", "next_try_at", "created_at", "finished_at",
]  # fmt: skip
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HTTP_URL = "must be an http or https URL such as https://example.com/hook"
STATUSES = "must be null or a list of 1 to 200 of pending, running, completed, failed, cancelled"
JOB_TYPES = "must be null or a list of 1 to 200 job types"
DOMAINS = "must be null or a list of 1 to 200 host names"
SECRET = "must be whsec_ and 24 to 64 bytes in base64"
MOMENT = "must be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"
CURSOR = "Invalid cursor: must be the next_cursor of a page of the same list"
NO_WEBHOOK = {"success": False, "error": "Webhook not found"}

Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def own_database(server_url: str) -> Iterator[str]:
    """The URL of a database whose endpoints are this module's alone."""
    for url in new_database(server_url):
        migrate(url)
        yield url


@contextmanager
def application(url: str, **settings: Any) -> Iterator[Flask]:
    app = create_app(
        Settings(
            auth="off",
            rate_limit=False,
            database_url=url,
            webhook_allow=("127.0.0.0/8",),
            threads=8,
            **settings,
        )
    )
    try:
        yield app
    finally:
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture(scope="module")
def app(own_database: str) -> Iterator[Flask]:
    """The application with a key, and loopback as an exception."""
    with application(own_database, secrets_keys=(KEY,)) as app:
        yield app


@pytest.fixture(autouse=True)
def query(own_database: str) -> Iterator[Query]:
    """Runs SQL in the database, which is left without endpoints."""
    connection = psycopg2.connect(own_database)
    connection.autocommit = True

    def query(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    yield query
    query("TRUNCATE webhook_endpoints, webhook_deliveries, outbox, idempotency_keys")
    connection.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@contextmanager
def dispatching(
    app: Flask, *keys: str, settings: tuple[EndpointOfSettings, ...] = ()
) -> Iterator[None]:
    """Deliver meanwhile."""
    options = Options(Vault(keys), Policy.parse(["127.0.0.0/8"]), settings, poll_seconds=0.02)
    dispatcher = Dispatcher(app.app_context, options)
    dispatcher.start()
    try:
        yield
    finally:
        dispatcher.stop()


def data(answer: TestResponse, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    body = answer.get_json()
    assert body["success"] is True
    return body["data"]


def refusal(answer: TestResponse, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.get_json()
    assert body["success"] is False
    assert {"success", "error"} <= body.keys() <= {"success", "error", "details"}
    return body


def create(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = data(client.post(WEBHOOKS, json={"url": URL, **fields}), 201)
    return made


def get(client: FlaskClient, webhook: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data(client.get(f"{WEBHOOKS}/{webhook['id']}"))
    return found


def deliveries(client: FlaskClient, webhook: dict[str, Any], **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = data(
        client.get(f"{WEBHOOKS}/{webhook['id']}/deliveries", query_string={"limit": 200, **asked})
    )
    return found


def owe(
    query: Query, webhook: dict[str, Any], status: str = "pending", finished: str | None = None
) -> str:
    """Put a delivery into the database that came to `status`, `finished` ago, and return its id."""
    delivery_id = str(uuid.uuid4())
    query(
        "INSERT INTO webhook_deliveries"
        " (job_id, seq, endpoint_id, id, body, status, failures, next_try_at, created_at, finished_at)"
        " VALUES (%s, 1, %s, %s, '{}', %s, 3, now() + interval '1 hour', now(), now() - %s::interval)",
        *(str(uuid.uuid4()), webhook["id"], delivery_id, status, finished),
    )
    return delivery_id


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


# --------------------------------------------------------------------------------------------------------- creation


def test_an_endpoint_needs_no_more_than_a_url(client: FlaskClient) -> None:
    answer = client.post(WEBHOOKS, json={"url": URL})
    made = data(answer, 201)
    assert list(made) == [*FIELDS, "secret"]
    assert is_secret(made["secret"])
    assert uuid.UUID(made["id"]).version == 7
    assert TIMESTAMP.fullmatch(made["created_at"])
    assert made["updated_at"] == made["created_at"]
    given = ("id", "url", "active", "from_settings", "created_at", "updated_at", "secret")
    assert (made["url"], made["active"], made["from_settings"]) == (URL, True, False)
    assert [made[name] for name in FIELDS if name not in given] == [None] * 9
    assert answer.headers["Location"] == f"{WEBHOOKS}/{made['id']}"
    del made["secret"]
    assert data(client.get(answer.headers["Location"])) == made


def test_every_field_that_may_be_given_is_kept(client: FlaskClient) -> None:
    given = {
        "url": "https://93.184.216.34:8443/a?b=c",
        "statuses": ["failed", "completed"],
        "job_types": ["domain_scrape", "full:2.0"],
        "domains": ["example.com", "shop.example"],
        "active": False,
        "description": "Tells the \U0001f600 shop",
        "secret": new_secret(),
    }
    made = create(client, **given)
    assert {name: made[name] for name in given} == given
    del given["secret"]
    assert {name: get(client, made)[name] for name in given} == given


def test_values_are_normalised(client: FlaskClient) -> None:
    made = create(
        client,
        domains=["BÜCHER.example", "xn--bcher-kva.example.", "Example.COM"],
        statuses=["failed", "failed"],
        description="a\u202e https://user:hunter2@example.com",
    )
    assert made["domains"] == ["xn--bcher-kva.example", "example.com"]
    assert made["statuses"] == ["failed"]
    assert made["description"] == "a https://***@example.com"


def test_null_filters_stand_for_all(client: FlaskClient) -> None:
    made = create(client, statuses=None, job_types=None, domains=None, description=None)
    assert [made[name] for name in ("statuses", "job_types", "domains", "description")] == [
        None
    ] * 4


def test_each_new_endpoint_gets_a_secret_of_its_own(client: FlaskClient) -> None:
    assert len({create(client)["secret"] for _ in range(5)}) == 5


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
    (field, value, complaint)
    for field, wrong in WRONG.items()
    for complaint, values in wrong
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


@pytest.mark.parametrize(("field", "value", "complaint"), FAULTS + SECRET_FAULTS)
def test_what_is_wrong_with_a_new_endpoint_is_told(
    client: FlaskClient, field: str, value: Any, complaint: str
) -> None:
    answer = client.post(WEBHOOKS, json={"url": URL, field: value})
    assert refusal(answer) == {"success": False, "error": f"Invalid {field}: {complaint}"}
    assert data(client.get(WEBHOOKS)) == []


def test_a_url_has_to_be_given(client: FlaskClient) -> None:
    assert refusal(client.post(WEBHOOKS, json={}))["error"] == f"Invalid url: {HTTP_URL}"


def test_faults_are_told_in_the_order_of_the_fields(client: FlaskClient) -> None:
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
        "details": f"Invalid statuses: {STATUSES}; Invalid job_types: {JOB_TYPES}; Invalid domains: {DOMAINS}; "
        f"Invalid active: must be true or false; Invalid description: must be a string; Invalid secret: {SECRET}; "
        "Unknown field: z",
    }


@pytest.mark.parametrize(
    "name", ["id", "created_at", "disabled_reason", "from_settings", "filters", "URL"]
)
def test_an_unknown_field_of_a_new_endpoint_is_refused(client: FlaskClient, name: str) -> None:
    assert (
        refusal(client.post(WEBHOOKS, json={"url": URL, name: None}))["error"]
        == f"Unknown field: {name}"
    )


@pytest.mark.parametrize("body", [[], [{"url": URL}], None, 1, "x"])
def test_a_new_endpoint_is_an_object(client: FlaskClient, body: Any) -> None:
    answer = client.post(WEBHOOKS, data=json.dumps(body), content_type="application/json")
    assert refusal(answer)["error"] == "Invalid body: must be a JSON object"


@pytest.mark.parametrize("count", [1, 200])
def test_a_choice_may_have_up_to_200_values(client: FlaskClient, count: int) -> None:
    names = [f"t{n}" for n in range(count)]
    assert create(client, job_types=names)["job_types"] == names


# ------------------------------------------------------------------------------------------------------------ lists


def test_endpoints_are_listed_oldest_first_in_pages(client: FlaskClient) -> None:
    made = [create(client)["id"] for _ in range(5)]
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": 2}
    for expected in (2, 2, 1):
        body = client.get(WEBHOOKS, query_string=asked).get_json()
        assert len(body["data"]) == expected
        seen += [webhook["id"] for webhook in body["data"]]
        assert body["pagination"]["limit"] == 2
        assert body["pagination"]["has_more"] is (body["pagination"]["next_cursor"] is not None)
        asked["cursor"] = body["pagination"]["next_cursor"]
    assert asked["cursor"] is None
    assert seen == made


def test_an_endpoint_that_is_made_meanwhile_shifts_no_page(client: FlaskClient) -> None:
    made = [create(client)["id"] for _ in range(3)]
    first = client.get(WEBHOOKS, query_string={"limit": 2}).get_json()
    data(client.delete(f"{WEBHOOKS}/{made[0]}"))
    made.append(create(client)["id"])
    rest = client.get(
        WEBHOOKS, query_string={"limit": 2, "cursor": first["pagination"]["next_cursor"]}
    ).get_json()
    assert [webhook["id"] for webhook in rest["data"]] == made[2:]


@pytest.mark.parametrize("path", [WEBHOOKS, f"{WEBHOOKS}/{ID}/deliveries"])
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
def test_a_wrong_query_of_a_list_is_told(
    client: FlaskClient, path: str, asked: dict[str, str], error: str
) -> None:
    assert refusal(client.get(path, query_string=asked))["error"] == error


def test_an_empty_list_is_a_page(client: FlaskClient) -> None:
    assert client.get(WEBHOOKS).get_json() == {
        "success": True,
        "data": [],
        "pagination": {"limit": 50, "next_cursor": None, "has_more": False},
    }


# ------------------------------------------------------------------------------------------------- update and delete


def test_an_update_changes_what_it_names_and_nothing_else(client: FlaskClient) -> None:
    made = create(client, statuses=["failed"], description="one")
    answer = client.put(
        f"{WEBHOOKS}/{made['id']}", json={"description": "two", "domains": ["example.com"]}
    )
    changed = data(answer)
    assert answer.get_json()["message"] == "Webhook updated successfully"
    del made["secret"]
    assert changed == {
        **made,
        "description": "two",
        "domains": ["example.com"],
        "updated_at": changed["updated_at"],
    }
    assert changed["updated_at"] >= made["updated_at"]
    assert get(client, made) == changed


def test_null_takes_filters_and_the_description_away(client: FlaskClient) -> None:
    made = create(
        client, statuses=["failed"], job_types=["x"], domains=["a.example"], description="x"
    )
    nothing = {"statuses": None, "job_types": None, "domains": None, "description": None}
    changed = data(client.put(f"{WEBHOOKS}/{made['id']}", json=nothing))
    assert {name: changed[name] for name in nothing} == nothing


def test_what_was_read_may_be_sent_back(client: FlaskClient, query: Query) -> None:
    made = create(client)
    read = get(client, made)
    changed = data(
        client.put(
            f"{WEBHOOKS}/{made['id']}",
            json={**read, "id": ID, "from_settings": True, "secret": "x"},
        )
    )
    assert changed == {**read, "updated_at": changed["updated_at"]}
    sealed = query("SELECT secret FROM webhook_endpoints WHERE id = %s", made["id"])[0][0]
    assert Vault([KEY]).open(sealed) == made["secret"]


@pytest.mark.parametrize(
    "body", [{}, {"id": ID}, {"secret": new_secret()}, {"disabled_reason": None}]
)
def test_an_update_has_to_name_something_that_can_be_changed(
    client: FlaskClient, body: dict[str, Any]
) -> None:
    made = create(client)
    answer = client.put(f"{WEBHOOKS}/{made['id']}", json=body)
    assert refusal(answer)["error"] == "No updatable fields provided"


@pytest.mark.parametrize(("field", "value", "complaint"), FAULTS)
def test_what_is_wrong_with_an_update_is_told_and_nothing_changes(
    client: FlaskClient, field: str, value: Any, complaint: str
) -> None:
    made = create(client)
    answer = client.put(f"{WEBHOOKS}/{made['id']}", json={"description": "new", field: value})
    assert refusal(answer)["error"] == f"Invalid {field}: {complaint}"
    assert get(client, made)["description"] is None


def test_an_unknown_field_of_an_update_is_refused(client: FlaskClient) -> None:
    made = create(client)
    answer = client.put(f"{WEBHOOKS}/{made['id']}", json={"description": "new", "status": "failed"})
    assert refusal(answer)["error"] == "Unknown field: status"
    assert get(client, made)["description"] is None


def disable(query: Query, webhook: dict[str, Any], reason: str) -> None:
    query(
        "UPDATE webhook_endpoints SET active = false, disabled_reason = %s, failing_since = now() WHERE id = %s",
        *(reason, webhook["id"]),
    )


def test_who_is_made_active_again_starts_without_a_past(client: FlaskClient, query: Query) -> None:
    made = create(client)
    disable(query, made, "The receiver answered 410 Gone")
    found = get(client, made)
    assert (found["active"], found["disabled_reason"]) == (False, "The receiver answered 410 Gone")
    assert TIMESTAMP.fullmatch(found["failing_since"])
    changed = data(client.put(f"{WEBHOOKS}/{made['id']}", json={"active": True}))
    assert (changed["active"], changed["disabled_reason"], changed["failing_since"]) == (
        True,
        None,
        None,
    )


@pytest.mark.parametrize("fields", [{"description": "x"}, {"active": False}])
def test_no_other_update_hides_why_an_endpoint_was_disabled(
    client: FlaskClient, query: Query, fields: dict[str, Any]
) -> None:
    made = create(client)
    disable(query, made, "Nothing but failures for 5 days")
    changed = data(client.put(f"{WEBHOOKS}/{made['id']}", json=fields))
    assert (changed["active"], changed["disabled_reason"]) == (
        False,
        "Nothing but failures for 5 days",
    )
    assert changed["failing_since"] is not None


def test_a_deleted_endpoint_is_gone_with_what_it_was_owed(
    client: FlaskClient, query: Query
) -> None:
    made, other = create(client), create(client)
    gone, kept = owe(query, made), owe(query, other)
    answer = client.delete(f"{WEBHOOKS}/{made['id']}")
    assert answer.get_json() == {
        "success": True,
        "data": None,
        "message": "Webhook deleted successfully",
    }
    assert refusal(client.get(f"{WEBHOOKS}/{made['id']}"), 404) == NO_WEBHOOK
    assert refusal(client.delete(f"{WEBHOOKS}/{made['id']}"), 404) == NO_WEBHOOK
    assert refusal(client.get(f"{WEBHOOKS}/{made['id']}/deliveries"), 404) == NO_WEBHOOK
    assert [str(row[0]) for row in query("SELECT id FROM webhook_deliveries")] == [kept]
    assert gone != kept
    assert [webhook["id"] for webhook in data(client.get(WEBHOOKS))] == [other["id"]]


# Every route that names an endpoint: the method, what follows the id, and the body.
ROUTES: dict[str, tuple[str, str, Any]] = {
    "get": ("GET", "", None),
    "update": ("PUT", "", {"active": True}),
    "delete": ("DELETE", "", None),
    "rotate": ("POST", "/rotate-secret", None),
    "test": ("POST", "/test", None),
    "deliveries": ("GET", "/deliveries", None),
    "redeliver": ("POST", f"/deliveries/{ID}/redeliver", None),
    "redeliver failed": ("POST", "/redeliver", {"failed_since": "2024-01-01T00:00:00Z"}),
}


@pytest.mark.parametrize(("method", "path", "body"), ROUTES.values(), ids=ROUTES)
def test_an_endpoint_that_is_not_there_is_not_found(
    client: FlaskClient, method: str, path: str, body: Any
) -> None:
    assert (
        refusal(client.open(f"{WEBHOOKS}/{ID}{path}", method=method, json=body), 404) == NO_WEBHOOK
    )


@pytest.mark.parametrize(
    "bad", ["x", "1", ID[:-1], ID.replace("-", ""), f"{{{ID}}}", f"{ID}0", "%00"]
)
@pytest.mark.parametrize(("method", "path", "body"), ROUTES.values(), ids=ROUTES)
def test_a_bad_id_is_refused(
    client: FlaskClient, method: str, path: str, body: Any, bad: str
) -> None:
    answer = client.open(f"{WEBHOOKS}/{bad}{path}", method=method, json=body)
    assert refusal(answer) == {"success": False, "error": "Invalid id: must be a UUID"}


def test_an_id_may_be_in_capitals(client: FlaskClient) -> None:
    made = create(client)
    assert data(client.get(f"{WEBHOOKS}/{made['id'].upper()}"))["id"] == made["id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", f"/{ID}"), ("PUT", ""), ("DELETE", ""), ("GET", f"/{ID}/test"), ("POST", f"/{ID}")],
)
def test_other_methods_are_not_allowed(client: FlaskClient, method: str, path: str) -> None:
    assert (
        refusal(client.open(f"{WEBHOOKS}{path}", method=method, json={}), 405)["error"]
        == "Method not allowed"
    )


# ---------------------------------------------------------------------------------------------------------- secrets


def test_a_secret_is_shown_at_creation_and_rotation_alone(client: FlaskClient) -> None:
    made = create(client)
    path = f"{WEBHOOKS}/{made['id']}"
    rotated = data(client.post(f"{path}/rotate-secret"))
    assert list(rotated) == [*FIELDS, "secret"]
    assert is_secret(rotated["secret"])
    assert rotated["secret"] != made["secret"]
    data(client.post(f"{path}/test"), 202)
    answers = [
        client.get(WEBHOOKS),
        client.get(path),
        client.put(path, json={"description": "x"}),
        client.post(f"{path}/test"),
        client.get(f"{path}/deliveries"),
        client.post(f"{path}/redeliver", json={"failed_since": "2024-01-01T00:00:00Z"}),
        client.delete(path),
    ]
    for answer in answers:
        assert answer.status_code < 300
        assert "whsec_" not in answer.text
        assert '"secret"' not in answer.text


def test_a_rotated_secret_leaves_the_old_one_valid_for_a_day(
    client: FlaskClient, query: Query
) -> None:
    made = create(client)
    rotated = data(client.post(f"{WEBHOOKS}/{made['id']}/rotate-secret"))
    assert TIMESTAMP.fullmatch(rotated["previous_secret_until"])
    ((left,),) = query(
        "SELECT extract(epoch FROM previous_secret_until - now())::float FROM webhook_endpoints"
    )
    assert 86_400 - 60 < left <= 86_400


def test_while_rotating_both_secrets_verify_and_afterwards_the_new_one_alone(
    app: Flask, client: FlaskClient, query: Query, receiver: Receiver
) -> None:
    made = create(client, url=f"{receiver.url}/ok")
    path = f"{WEBHOOKS}/{made['id']}"
    rotated = data(client.post(f"{path}/rotate-secret"))
    data(client.post(f"{path}/test"), 202)
    with dispatching(app, KEY):
        (first,) = receiver.wait_for("/ok", 1)
        for secret in (made["secret"], rotated["secret"]):
            Webhook(secret).verify(first.body, first.headers)
        query("UPDATE webhook_endpoints SET previous_secret_until = now() - interval '1 second'")
        data(client.post(f"{path}/test"), 202)
        _, second = receiver.wait_for("/ok", 2)
    assert " " not in second.headers["webhook-signature"]
    Webhook(rotated["secret"]).verify(second.body, second.headers)


def test_secrets_are_sealed_in_the_database(client: FlaskClient, query: Query) -> None:
    made = create(client)
    rotated = data(client.post(f"{WEBHOOKS}/{made['id']}/rotate-secret"))
    ((secret, previous),) = query("SELECT secret, previous_secret FROM webhook_endpoints")
    for sealed, shown in ((secret, rotated["secret"]), (previous, made["secret"])):
        assert sealed.startswith("fernet:")
        assert Vault([KEY]).open(sealed) == shown
    ((everything,),) = query("SELECT string_agg(w::text, '') FROM webhook_endpoints w")
    assert "whsec_" not in everything


def test_without_a_key_secrets_are_kept_in_the_clear_and_the_start_warns_of_it(
    own_database: str, query: Query
) -> None:
    with application(own_database) as app:
        made = create(app.test_client())
    assert query("SELECT secret FROM webhook_endpoints") == [(f"clear:{made['secret']}",)]
    assert Settings().warnings({}) == [
        "webhook secrets are stored in the clear: set SCRAPE_JOBS_SECRETS_KEY to encrypt them"
    ]


def test_with_a_key_the_start_warns_of_nothing() -> None:
    assert Settings(secrets_keys=(KEY,)).warnings({}) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), (KEY,)),
        ((KEY,), (OTHER_KEY, KEY)),
        ((KEY,), (KEY, OTHER_KEY)),
        ((KEY, OTHER_KEY), (KEY,)),
    ],
    ids=["first key", "new key before old", "new key after old", "old key gone"],
)
def test_a_key_can_be_replaced_step_by_step(
    own_database: str, receiver: Receiver, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    with application(own_database, secrets_keys=before) as app:
        made = create(app.test_client(), url=f"{receiver.url}/ok")
    with application(own_database, secrets_keys=after) as app:
        data(app.test_client().post(f"{WEBHOOKS}/{made['id']}/test"), 202)
        with dispatching(app, *after):
            (received,) = receiver.wait_for("/ok", 1)
    Webhook(made["secret"]).verify(received.body, received.headers)


def test_a_secret_whose_key_is_gone_fails_the_try_with_a_clear_error_and_sends_nothing(
    app: Flask, client: FlaskClient, receiver: Receiver
) -> None:
    made = create(client, url=f"{receiver.url}/ok")
    data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    with dispatching(app, OTHER_KEY):
        wait_until(lambda: bool(deliveries(client, made)[0]["tries"]))
    (delivery,) = deliveries(client, made)
    assert (
        delivery["tries"][0]["error"]
        == "The secret cannot be decrypted with the keys of the settings"
    )
    assert (delivery["status"], receiver.received) == ("pending", [])


def test_no_secret_is_ever_logged(
    app: Flask, client: FlaskClient, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chosen = new_secret()
    made = create(client, url=f"{receiver.url}/ok", secret=chosen)
    path = f"{WEBHOOKS}/{made['id']}"
    rotated = data(client.post(f"{path}/rotate-secret", headers={"Idempotency-Key": "rotate"}))
    refusal(client.post(WEBHOOKS, json={"url": URL, "secret": chosen + "="}))
    data(client.post(f"{path}/test"), 202)
    with dispatching(app, KEY):
        receiver.wait_for("/ok", 1)
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for secret in (chosen, rotated["secret"]):
        assert secret.removeprefix("whsec_") not in logged


def test_no_error_shows_the_secret_that_it_refuses(client: FlaskClient) -> None:
    answer = client.post(WEBHOOKS, json={"url": URL, "secret": "whsec_hunter2"})
    assert "hunter2" not in answer.text


# ------------------------------------------------------------------------------------------------------- deliveries


def test_a_test_event_is_owed_in_the_form_of_all_events(client: FlaskClient) -> None:
    made = create(client, statuses=["cancelled"], domains=["nothing.example"])
    owed = data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    assert list(owed) == DELIVERY_FIELDS
    assert (owed["webhook_id"], owed["status"], owed["tries"], owed["finished_at"]) == (
        made["id"],
        "pending",
        [],
        None,
    )
    assert owed["body"] == {
        "event": "webhook_test",
        "job_id": owed["job_id"],
        "domain": "example.com",
        "old_status": "running",
        "new_status": "completed",
        "stats": {},
        "timestamp": owed["body"]["timestamp"],
    }
    assert TIMESTAMP.fullmatch(owed["body"]["timestamp"])
    assert deliveries(client, made) == [owed]


def test_a_delivery_shows_each_try_with_its_time_code_duration_answer_and_error(
    app: Flask, client: FlaskClient, query: Query, receiver: Receiver
) -> None:
    replies: list[tuple[int, dict[str, str], bytes]] = [
        (500, {}, b"\xff\xfe\x00 broken Authorization: Bearer abc\n" + b"x" * 5000),
        (302, {"Location": "/ok"}, b""),
        (201, {}, "schön".encode()),
    ]
    receiver.answer = lambda count: replies[count - 1]
    made = create(client, url=f"{receiver.url}/answer")
    owed = data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    with dispatching(app, KEY):
        for tries in (1, 2, 3):
            wait_until(lambda tries=tries: len(deliveries(client, made)[0]["tries"]) == tries)  # type: ignore[misc]
            query("UPDATE webhook_deliveries SET next_try_at = now() WHERE status = 'pending'")
    (delivery,) = deliveries(client, made)
    assert (delivery["status"], delivery["next_try_at"]) == ("delivered", None)
    assert TIMESTAMP.fullmatch(delivery["finished_at"])
    assert {received.id for received in receiver.received} == {owed["id"]}
    for one in delivery["tries"]:
        assert set(one) == {"at", "status_code", "duration_ms", "answer", "error"}
        assert TIMESTAMP.fullmatch(one["at"])
        assert 0 <= one["duration_ms"] < 10_000
        assert one["error"] is None
    assert [one["status_code"] for one in delivery["tries"]] == [500, 302, 201]
    first, second, third = (one["answer"] for one in delivery["tries"])
    assert 100 < len(first.encode()) <= 1024 + 8
    assert "\x00" not in first
    assert "abc" not in first
    assert (second, third) == ("", "schön")


def test_a_try_without_an_answer_shows_its_error(app: Flask, client: FlaskClient) -> None:
    made = create(client, url=NOWHERE)
    data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    with dispatching(app, KEY):
        wait_until(lambda: bool(deliveries(client, made)[0]["tries"]))
    (delivery,) = deliveries(client, made)
    (one,) = delivery["tries"]
    assert (one["status_code"], one["answer"], one["error"]) == (
        None,
        "",
        "The connection was refused",
    )
    assert delivery["status"] == "pending"
    assert TIMESTAMP.fullmatch(delivery["next_try_at"])
    assert get(client, made)["failing_since"] is not None


def test_a_status_change_is_owed_to_whoever_wants_it(
    app: Flask, client: FlaskClient, receiver: Receiver
) -> None:
    domain = new_domain()
    wants: dict[str, dict[str, Any]] = {
        "all": {},
        "status": {"statuses": ["running", "failed"]},
        "other-status": {"statuses": ["completed"]},
        "type": {"job_types": ["special"]},
        "other-type": {"job_types": ["domain_scrape"]},
        "domain": {"domains": [domain.upper()]},
        "other-domain": {"domains": ["other.example"]},
        "every": {"statuses": ["running"], "job_types": ["special"], "domains": [domain]},
        "not-every": {
            "statuses": ["running"],
            "job_types": ["special"],
            "domains": ["other.example"],
        },
        "inactive": {"active": False},
    }
    made = {
        name: create(client, url=f"{receiver.url}/{name}", **fields)
        for name, fields in wants.items()
    }
    job = make_job(client, "running", domain=domain, job_type="special")
    with dispatching(app, KEY):
        for name in ("all", "status", "type", "domain", "every"):
            receiver.wait_for(f"/{name}", 1)
    assert sorted(received.path for received in receiver.received) == [
        "/all",
        "/domain",
        "/every",
        "/status",
        "/type",
    ]
    for received in receiver.received:
        assert json.loads(received.body)["job_id"] == job["id"]
    assert [len(deliveries(client, made[name])) for name in wants] == [1, 1, 0, 1, 0, 1, 0, 1, 0, 0]


def test_deliveries_are_listed_newest_first_in_pages(client: FlaskClient, query: Query) -> None:
    made, other = create(client), create(client)
    owed = [owe(query, made) for _ in range(4)]
    query("UPDATE webhook_deliveries SET created_at = now()")  # of one moment: the id decides
    newest = owe(query, made)
    owe(query, other)
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": 2}
    while asked.get("cursor", "") is not None:
        body = client.get(f"{WEBHOOKS}/{made['id']}/deliveries", query_string=asked).get_json()
        seen += [delivery["id"] for delivery in body["data"]]
        asked["cursor"] = body["pagination"]["next_cursor"]
    assert seen == [newest, *sorted(owed, reverse=True)]


def test_a_cursor_of_another_endpoint_is_refused(client: FlaskClient, query: Query) -> None:
    made, other = create(client), create(client)
    owe(query, made)
    owe(query, made)
    body = client.get(f"{WEBHOOKS}/{made['id']}/deliveries", query_string={"limit": 1}).get_json()
    cursor = {"cursor": body["pagination"]["next_cursor"]}
    assert (
        refusal(client.get(f"{WEBHOOKS}/{other['id']}/deliveries", query_string=cursor))["error"]
        == CURSOR
    )
    assert refusal(client.get(WEBHOOKS, query_string=cursor))["error"] == CURSOR


def test_deliveries_are_filtered_by_status(client: FlaskClient, query: Query) -> None:
    made = create(client)
    ids = {
        status: owe(query, made, status, "1 hour") for status in ("pending", "delivered", "failed")
    }
    for status, delivery_id in ids.items():
        assert [(d["id"], d["status"]) for d in deliveries(client, made, status=status)] == [
            (delivery_id, status)
        ]
    assert len(deliveries(client, made)) == 3
    answer = client.get(f"{WEBHOOKS}/{made['id']}/deliveries?status=done")
    assert refusal(answer)["error"] == "Invalid status: must be one of pending, delivered, failed"


@pytest.mark.parametrize("status", ["pending", "delivered", "failed"])
def test_a_delivery_is_sent_again_with_all_its_tries_before_it(
    client: FlaskClient, query: Query, status: str
) -> None:
    made = create(client)
    delivery_id = owe(query, made, status, "1 hour")
    answer = client.post(f"{WEBHOOKS}/{made['id']}/deliveries/{delivery_id}/redeliver")
    delivery = data(answer, 202)
    assert list(delivery) == DELIVERY_FIELDS
    assert (delivery["id"], delivery["status"], delivery["finished_at"]) == (
        delivery_id,
        "pending",
        None,
    )
    assert query("SELECT failures, next_try_at <= now() FROM webhook_deliveries") == [(0, True)]


def test_what_is_redelivered_arrives_with_the_same_id_and_body(
    app: Flask, client: FlaskClient, receiver: Receiver
) -> None:
    made = create(client, url=f"{receiver.url}/ok")
    owed = data(client.post(f"{WEBHOOKS}/{made['id']}/test"), 202)
    with dispatching(app, KEY):
        wait_until(lambda: deliveries(client, made)[0]["status"] == "delivered")
        data(client.post(f"{WEBHOOKS}/{made['id']}/deliveries/{owed['id']}/redeliver"), 202)
        first, second = receiver.wait_for("/ok", 2)
        wait_until(lambda: deliveries(client, made)[0]["status"] == "delivered")
    assert (first.id, first.body) == (second.id, second.body)
    assert len(deliveries(client, made)[0]["tries"]) == 2


def test_a_delivery_to_another_endpoint_is_not_found(client: FlaskClient, query: Query) -> None:
    made, other = create(client), create(client)
    delivery_id = owe(query, other, "failed", "1 hour")
    for unknown in (delivery_id, ID):
        answer = client.post(f"{WEBHOOKS}/{made['id']}/deliveries/{unknown}/redeliver")
        assert refusal(answer, 404) == {"success": False, "error": "Delivery not found"}
    assert deliveries(client, other)[0]["status"] == "failed"


def test_a_bad_delivery_id_is_named(client: FlaskClient) -> None:
    made = create(client)
    answer = client.post(f"{WEBHOOKS}/{made['id']}/deliveries/x/redeliver")
    assert refusal(answer) == {"success": False, "error": "Invalid delivery_id: must be a UUID"}


def test_everything_that_failed_since_a_time_is_sent_again(
    client: FlaskClient, query: Query
) -> None:
    made, other = create(client), create(client)
    late = {owe(query, made, "failed", age) for age in ("1 minute", "59 minutes")}
    owe(query, made, "failed", "61 minutes")
    owe(query, made, "delivered", "1 minute")
    owe(query, other, "failed", "1 minute")
    ((since,),) = query(
        "SELECT to_char(now() - interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SSTZH:TZM')"
    )
    answer = client.post(f"{WEBHOOKS}/{made['id']}/redeliver", json={"failed_since": since})
    assert data(answer, 202) == {"redelivered": 2, "remaining": False}
    assert {delivery["id"] for delivery in deliveries(client, made, status="pending")} == late
    assert [delivery["status"] for delivery in deliveries(client, other)] == ["failed"]
    again = client.post(f"{WEBHOOKS}/{made['id']}/redeliver", json={"failed_since": since})
    assert data(again, 202) == {"redelivered": 0, "remaining": False}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, f"Invalid failed_since: {MOMENT}"),
        *(
            ({"failed_since": value}, f"Invalid failed_since: {MOMENT}")
            for value in (None, 1, "", "yesterday", "2024")
        ),
        ({"failed_since": "2024-01-01T00:00:00Z", "until": 1}, "Unknown field: until"),
        ([], "Invalid body: must be a JSON object"),
    ],
)
def test_since_when_has_to_be_told(client: FlaskClient, body: Any, error: str) -> None:
    made = create(client)
    assert refusal(client.post(f"{WEBHOOKS}/{made['id']}/redeliver", json=body))["error"] == error


@pytest.mark.parametrize("reason", [None, "The receiver answered 410 Gone"])
@pytest.mark.parametrize("what", ["test", "redeliver one", "redeliver failed", "replay"])
def test_nothing_is_asked_of_an_inactive_endpoint(
    client: FlaskClient, query: Query, what: str, reason: str | None
) -> None:
    made = create(client)
    delivery_id = owe(query, made, "failed", "1 minute")
    query("UPDATE webhook_endpoints SET active = false, disabled_reason = %s", reason)
    path, body = {
        "test": ("test", None),
        "redeliver one": (f"deliveries/{delivery_id}/redeliver", None),
        "redeliver failed": ("redeliver", {"failed_since": "2024-01-01T00:00:00Z"}),
        "replay": ("replay", {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}),
    }[what]
    assert refusal(client.post(f"{WEBHOOKS}/{made['id']}/{path}", json=body), 409) == {
        "success": False,
        "error": "Webhook is not active",
        "details": reason or "Set active to true first",
    }
    assert [delivery["status"] for delivery in deliveries(client, made)] == ["failed"]


# ------------------------------------------------------------------------------------------------- idempotency keys


def posts(client: FlaskClient, query: Query) -> dict[str, tuple[str, Any, int]]:
    """Return every POST there is: its path, its body, and the status of its answer."""
    made = create(client)
    delivery_id = owe(query, made, "failed", "1 minute")
    path = f"{WEBHOOKS}/{made['id']}"
    return {
        "create": (WEBHOOKS, {"url": URL}, 201),
        "rotate": (f"{path}/rotate-secret", None, 200),
        "test": (f"{path}/test", None, 202),
        "redeliver": (f"{path}/deliveries/{delivery_id}/redeliver", None, 202),
        "redeliver failed": (f"{path}/redeliver", {"failed_since": "2024-01-01T00:00:00Z"}, 202),
        "replay": (
            f"{path}/replay",
            {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"},
            202,
        ),
    }


def state(query: Query) -> list[tuple[Any, ...]]:
    return query(
        "SELECT w::text FROM webhook_endpoints w UNION ALL SELECT d::text FROM webhook_deliveries d ORDER BY 1"
    )


@pytest.mark.parametrize(
    "what", ["create", "rotate", "test", "redeliver", "redeliver failed", "replay"]
)
def test_every_post_is_done_once_and_replayed(client: FlaskClient, query: Query, what: str) -> None:
    path, body, status = posts(client, query)[what]
    headers = {"Idempotency-Key": f"key-{what}".replace(" ", "-")}
    first = client.post(path, json=body, headers=headers)
    assert first.status_code == status, first.text
    assert "Idempotent-Replayed" not in first.headers
    before = state(query)
    for _ in range(2):
        again = client.post(path, json=body, headers=headers)
        assert (again.status_code, again.data) == (status, first.data)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers.get("Location") == first.headers.get("Location")
    assert state(query) == before


@pytest.mark.parametrize("what", ["create", "rotate"])
def test_the_secret_is_replayed_and_kept_sealed(
    client: FlaskClient, query: Query, what: str
) -> None:
    path, body, status = posts(client, query)[what]
    first = data(client.post(path, json=body, headers={"Idempotency-Key": "key"}), status)
    assert is_secret(first["secret"])
    ((kept,),) = query("SELECT body FROM idempotency_keys")
    assert kept.startswith("fernet:")
    ((everything,),) = query("SELECT string_agg(k::text, '') FROM idempotency_keys k")
    assert first["secret"].removeprefix("whsec_") not in everything
    assert data(client.post(path, json=body, headers={"Idempotency-Key": "key"}), status) == first


def test_a_replay_is_read_with_a_key_that_was_replaced_step_by_step(own_database: str) -> None:
    headers = {"Idempotency-Key": "key"}
    with application(own_database, secrets_keys=(KEY,)) as app:
        first = app.test_client().post(WEBHOOKS, json={"url": URL}, headers=headers)
    with application(own_database, secrets_keys=(OTHER_KEY, KEY)) as app:
        assert (
            app.test_client().post(WEBHOOKS, json={"url": URL}, headers=headers).data == first.data
        )


def test_a_replay_whose_key_is_gone_fails_in_the_common_form_and_makes_nothing(
    own_database: str, query: Query
) -> None:
    headers = {"Idempotency-Key": "key"}
    with application(own_database, secrets_keys=(KEY,)) as app:
        app.test_client().post(WEBHOOKS, json={"url": URL}, headers=headers)
    with application(own_database, secrets_keys=(OTHER_KEY,)) as app:
        answer = app.test_client().post(WEBHOOKS, json={"url": URL}, headers=headers)
    assert refusal(answer, 500)["error"] == "Failed to create webhook"
    assert query("SELECT count(*) FROM webhook_endpoints") == [(1,)]


def test_another_request_under_the_same_key_is_refused(client: FlaskClient, query: Query) -> None:
    headers = {"Idempotency-Key": "key"}
    data(client.post(WEBHOOKS, json={"url": URL}, headers=headers), 201)
    answer = client.post(WEBHOOKS, json={"url": URL, "active": False}, headers=headers)
    assert refusal(answer, 422)["error"] == "Idempotency-Key was used with a different request"
    assert query("SELECT count(*) FROM webhook_endpoints") == [(1,)]


def test_a_refused_post_leaves_its_key_free(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "key"}
    refusal(client.post(WEBHOOKS, json={"url": "http://10.0.0.1/"}, headers=headers))
    data(client.post(WEBHOOKS, json={"url": URL}, headers=headers), 201)


# --------------------------------------------------------------------------------------- the endpoints of the settings


def keep(app: Flask, *wanted: EndpointOfSettings, keys: tuple[str, ...] = (KEY,)) -> None:
    with app.app_context():
        service.keep_endpoints_of_settings(wanted, Vault(keys))


def listed(client: FlaskClient) -> dict[str, dict[str, Any]]:
    return {webhook["url"]: webhook for webhook in data(client.get(WEBHOOKS))}


ONE, TWO = (
    EndpointOfSettings("http://127.0.0.1:9/one", new_secret()),
    EndpointOfSettings(URL, new_secret()),
)


def test_the_settings_make_endpoints_without_a_call(
    app: Flask, client: FlaskClient, query: Query
) -> None:
    mine = create(client, url="http://93.184.216.34/mine")
    keep(app, ONE, TWO)
    found = listed(client)
    assert found.keys() == {mine["url"], ONE.url, TWO.url}
    for endpoint in (ONE, TWO):
        webhook = found[endpoint.url]
        assert (webhook["active"], webhook["from_settings"]) == (True, True)
        assert [
            webhook[name] for name in ("statuses", "job_types", "domains", "disabled_reason")
        ] == [None] * 4
        ((sealed,),) = query("SELECT secret FROM webhook_endpoints WHERE id = %s", webhook["id"])
        assert sealed.startswith("fernet:")
        assert Vault([KEY]).open(sealed) == endpoint.secret


def test_a_dispatcher_makes_and_serves_them(
    app: Flask, client: FlaskClient, receiver: Receiver
) -> None:
    endpoint = EndpointOfSettings(f"{receiver.url}/ok", new_secret())
    with dispatching(app, KEY, settings=(endpoint,)):
        wait_until(lambda: bool(listed(client)))
        job = make_job(client, "cancelled")
        (received,) = receiver.wait_for("/ok", 1)
    assert Webhook(endpoint.secret).verify(received.body, received.headers)["job_id"] == job["id"]


def test_the_same_settings_again_change_nothing(
    app: Flask, client: FlaskClient, query: Query
) -> None:
    keep(app, ONE, TWO)
    before = state(query)
    for _ in range(3):
        keep(app, TWO, ONE)
    assert state(query) == before


def test_another_secret_in_the_settings_is_taken(
    app: Flask, client: FlaskClient, query: Query
) -> None:
    keep(app, ONE)
    before = listed(client)[ONE.url]
    other = EndpointOfSettings(ONE.url, new_secret())
    keep(app, other)
    assert listed(client)[ONE.url]["id"] == before["id"]
    ((sealed,),) = query("SELECT secret FROM webhook_endpoints")
    assert Vault([KEY]).open(sealed) == other.secret


def test_another_secret_in_the_settings_leaves_the_old_one_valid_for_a_day(
    app: Flask, client: FlaskClient, query: Query
) -> None:
    keep(app, ONE)
    keep(app, EndpointOfSettings(ONE.url, new_secret()))
    ((previous, valid),) = query(
        "SELECT previous_secret, previous_secret_until > now() FROM webhook_endpoints"
    )
    assert previous is not None
    assert Vault([KEY]).open(previous) == ONE.secret
    assert valid


def test_a_secret_whose_key_is_gone_is_stored_anew(app: Flask, query: Query) -> None:
    keep(app, ONE)
    keep(app, ONE, keys=(OTHER_KEY,))
    ((sealed,),) = query("SELECT secret FROM webhook_endpoints")
    assert Vault([OTHER_KEY]).open(sealed) == ONE.secret


def test_an_endpoint_that_leaves_the_settings_is_withdrawn_and_comes_back_with_them(
    app: Flask, client: FlaskClient
) -> None:
    mine = create(client, url="http://93.184.216.34/mine")
    keep(app, ONE, TWO)
    keep(app, TWO)
    found = listed(client)
    assert (found[ONE.url]["active"], found[ONE.url]["disabled_reason"]) == (
        False,
        "No longer in the settings",
    )
    assert (found[TWO.url]["active"], found[mine["url"]]["active"]) == (True, True)
    keep(app)
    assert [
        webhook["active"] for webhook in listed(client).values() if webhook["from_settings"]
    ] == [False, False]
    keep(app, ONE, TWO)
    again = listed(client)
    assert again[ONE.url]["id"] == found[ONE.url]["id"]
    for endpoint in (ONE, TWO):
        assert (again[endpoint.url]["active"], again[endpoint.url]["disabled_reason"]) == (
            True,
            None,
        )


def test_a_user_s_own_disabling_is_kept(app: Flask, client: FlaskClient) -> None:
    keep(app, ONE)
    path = f"{WEBHOOKS}/{listed(client)[ONE.url]['id']}"
    data(client.put(path, json={"active": False}))
    for wanted in ((ONE,), (), (ONE,), (EndpointOfSettings(ONE.url, new_secret()),)):
        keep(app, *wanted)
        assert data(client.get(path))["active"] is False


def test_what_the_service_disabled_the_settings_do_not_enable(
    app: Flask, client: FlaskClient, query: Query
) -> None:
    keep(app, ONE)
    disable(query, listed(client)[ONE.url], "The receiver answered 410 Gone")
    for wanted in ((ONE,), (), (ONE,)):
        keep(app, *wanted)
        found = listed(client)[ONE.url]
        assert (found["active"], found["disabled_reason"]) == (
            False,
            "The receiver answered 410 Gone",
        )


def test_filters_that_a_user_gave_to_an_endpoint_of_the_settings_are_kept(
    app: Flask, client: FlaskClient
) -> None:
    keep(app, ONE)
    path = f"{WEBHOOKS}/{listed(client)[ONE.url]['id']}"
    data(client.put(path, json={"statuses": ["failed"], "description": "mine"}))
    for wanted in ((), (ONE,), (EndpointOfSettings(ONE.url, new_secret()),)):
        keep(app, *wanted)
        found = data(client.get(path))
        assert (found["statuses"], found["description"]) == (["failed"], "mine")
