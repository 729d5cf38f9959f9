"""The endpoints of the webhooks' API: create, list, update and delete."""

import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.vault import Vault
from app.webhooks.signing import is_secret, new_secret
from support.webhook_api import (
    ENDPOINT_FIELDS,
    KEY,
    PUBLIC_URL,
    TIMESTAMP,
    UNKNOWN_ID,
    WEBHOOKS,
    Query,
    create_webhook,
    data,
    disable_webhook,
    get_webhook,
    insert_delivery,
    refusal,
)

pytestmark = pytest.mark.usefixtures("query")


def test_an_endpoint_needs_only_a_url(client: FlaskClient) -> None:
    answer = client.post(WEBHOOKS, json={"url": PUBLIC_URL})
    made = data(answer, 201)
    assert list(made) == [*ENDPOINT_FIELDS, "secret"]
    assert is_secret(made["secret"])
    assert uuid.UUID(made["id"]).version == 7
    assert TIMESTAMP.fullmatch(made["created_at"])
    assert made["updated_at"] == made["created_at"]
    given = ("id", "url", "active", "from_settings", "created_at", "updated_at", "secret")
    assert (made["url"], made["active"], made["from_settings"]) == (PUBLIC_URL, True, False)
    assert [made[name] for name in ENDPOINT_FIELDS if name not in given] == [None] * 9
    assert answer.headers["Location"] == f"{WEBHOOKS}/{made['id']}"
    del made["secret"]
    assert data(client.get(answer.headers["Location"])) == made


def test_every_given_field_is_stored(client: FlaskClient) -> None:
    given = {
        "url": "https://93.184.216.34:8443/a?b=c",
        "statuses": ["failed", "completed"],
        "job_types": ["domain_scrape", "full:2.0"],
        "domains": ["example.com", "shop.example"],
        "active": False,
        "description": "Tells the \U0001f600 shop",
        "secret": new_secret(),
    }
    made = create_webhook(client, **given)
    assert {name: made[name] for name in given} == given
    del given["secret"]
    assert {name: get_webhook(client, made)[name] for name in given} == given


def test_values_are_normalised(client: FlaskClient) -> None:
    made = create_webhook(
        client,
        domains=["BÜCHER.example", "xn--bcher-kva.example.", "Example.COM"],
        statuses=["failed", "failed"],
        description="a\u202e https://user:hunter2@example.com",
    )
    assert made["domains"] == ["xn--bcher-kva.example", "example.com"]
    assert made["statuses"] == ["failed"]
    assert made["description"] == "a https://***@example.com"


def test_null_filters_match_all(client: FlaskClient) -> None:
    made = create_webhook(client, statuses=None, job_types=None, domains=None, description=None)
    assert [made[name] for name in ("statuses", "job_types", "domains", "description")] == [
        None
    ] * 4


def test_each_endpoint_gets_its_own_secret(client: FlaskClient) -> None:
    assert len({create_webhook(client)["secret"] for _ in range(5)}) == 5


@pytest.mark.parametrize("count", [1, 200])
def test_a_filter_has_up_to_200_values(client: FlaskClient, count: int) -> None:
    names = [f"t{n}" for n in range(count)]
    assert create_webhook(client, job_types=names)["job_types"] == names


def test_pages_list_endpoints_oldest_first(client: FlaskClient) -> None:
    made = [create_webhook(client)["id"] for _ in range(5)]
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


def test_a_new_endpoint_does_not_shift_pages(client: FlaskClient) -> None:
    made = [create_webhook(client)["id"] for _ in range(3)]
    first = client.get(WEBHOOKS, query_string={"limit": 2}).get_json()
    data(client.delete(f"{WEBHOOKS}/{made[0]}"))
    made.append(create_webhook(client)["id"])
    rest = client.get(
        WEBHOOKS, query_string={"limit": 2, "cursor": first["pagination"]["next_cursor"]}
    ).get_json()
    assert [webhook["id"] for webhook in rest["data"]] == made[2:]


def test_an_empty_list_is_one_page(client: FlaskClient) -> None:
    assert client.get(WEBHOOKS).get_json() == {
        "success": True,
        "data": [],
        "pagination": {"limit": 50, "next_cursor": None, "has_more": False},
    }


def test_an_update_changes_only_the_given_fields(client: FlaskClient) -> None:
    made = create_webhook(client, statuses=["failed"], description="one")
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
    assert get_webhook(client, made) == changed


def test_null_removes_filters_and_description(client: FlaskClient) -> None:
    made = create_webhook(
        client, statuses=["failed"], job_types=["x"], domains=["a.example"], description="x"
    )
    nothing = {"statuses": None, "job_types": None, "domains": None, "description": None}
    changed = data(client.put(f"{WEBHOOKS}/{made['id']}", json=nothing))
    assert {name: changed[name] for name in nothing} == nothing


def test_an_endpoint_can_be_sent_back_as_read(client: FlaskClient, query: Query) -> None:
    made = create_webhook(client)
    read = get_webhook(client, made)
    changed = data(
        client.put(
            f"{WEBHOOKS}/{made['id']}",
            json={**read, "id": UNKNOWN_ID, "from_settings": True, "secret": "x"},
        )
    )
    assert changed == {**read, "updated_at": changed["updated_at"]}
    sealed = query("SELECT secret FROM webhook_endpoints WHERE id = %s", made["id"])[0][0]
    assert Vault([KEY]).open(sealed) == made["secret"]


def test_activation_clears_the_failures(client: FlaskClient, query: Query) -> None:
    made = create_webhook(client)
    disable_webhook(query, made, "The receiver answered 410 Gone")
    found = get_webhook(client, made)
    assert (found["active"], found["disabled_reason"]) == (False, "The receiver answered 410 Gone")
    assert TIMESTAMP.fullmatch(found["failing_since"])
    changed = data(client.put(f"{WEBHOOKS}/{made['id']}", json={"active": True}))
    assert (changed["active"], changed["disabled_reason"], changed["failing_since"]) == (
        True,
        None,
        None,
    )


@pytest.mark.parametrize("fields", [{"description": "x"}, {"active": False}])
def test_other_updates_keep_the_disabled_reason(
    client: FlaskClient, query: Query, fields: dict[str, Any]
) -> None:
    made = create_webhook(client)
    disable_webhook(query, made, "Nothing but failures for 5 days")
    changed = data(client.put(f"{WEBHOOKS}/{made['id']}", json=fields))
    assert (changed["active"], changed["disabled_reason"]) == (
        False,
        "Nothing but failures for 5 days",
    )
    assert changed["failing_since"] is not None


def test_deletion_removes_the_endpoint_and_its_deliveries(
    client: FlaskClient, query: Query
) -> None:
    made, other = create_webhook(client), create_webhook(client)
    gone, kept = insert_delivery(query, made), insert_delivery(query, other)
    answer = client.delete(f"{WEBHOOKS}/{made['id']}")
    assert answer.get_json() == {
        "success": True,
        "data": None,
        "message": "Webhook deleted successfully",
    }
    assert refusal(client.get(f"{WEBHOOKS}/{made['id']}"), 404) == {
        "success": False,
        "error": "Webhook not found",
    }
    assert refusal(client.delete(f"{WEBHOOKS}/{made['id']}"), 404) == {
        "success": False,
        "error": "Webhook not found",
    }
    assert refusal(client.get(f"{WEBHOOKS}/{made['id']}/deliveries"), 404) == {
        "success": False,
        "error": "Webhook not found",
    }
    assert [str(row[0]) for row in query("SELECT id FROM webhook_deliveries")] == [kept]
    assert gone != kept
    assert [webhook["id"] for webhook in data(client.get(WEBHOOKS))] == [other["id"]]


def test_an_id_may_be_upper_case(client: FlaskClient) -> None:
    made = create_webhook(client)
    assert data(client.get(f"{WEBHOOKS}/{made['id'].upper()}"))["id"] == made["id"]
