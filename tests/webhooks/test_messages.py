"""The messages that receivers get: body, signature, filters, test events, redeliveries."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.webhooks.signing import new_secret
from support.factories import new_domain
from support.receiver import Received, Receiver
from support.service import Service, wait_until
from support.webhooks import (
    BODY_FIELDS,
)


def statuses(received: list[Received]) -> list[str]:
    return [json.loads(one.body)["new_status"] for one in received]


def test_each_status_change_is_posted_once(
    service: Service, receiver: Receiver, domain: str
) -> None:
    service.webhook(f"{receiver.url}/ok", domains=[domain])
    job = service.create(domain=domain)
    url = f"{service.jobs}/{job['id']}"
    service.change(job["id"], status="running")
    service.change(job["id"], stats={"pagesProcessed": 3})
    service.change(job["id"], metadata={"note": "no status"})
    service.change(job["id"], status="running", stats={"pagesProcessed": 4})
    service.change(job["id"], status="failed", error_message="it broke")
    service.change(job["id"], status="pending")
    merge = {"Content-Type": "application/merge-patch+json"}
    assert requests.patch(url, data='{"stats": {"again": true}}', headers=merge, timeout=30).ok
    assert requests.patch(url, data='{"status": "running"}', headers=merge, timeout=30).ok
    assert requests.delete(url, params={"reason": "enough"}, timeout=30).ok

    received = receiver.wait_for("/ok", 5)
    changes = [
        event
        for event in requests.get(f"{url}/history?limit=200", timeout=30).json()["data"]
        if event["old_status"] not in (None, event["new_status"])
    ]
    stats: list[dict[str, Any]] = [{}, {"pagesProcessed": 4}, {}, {"again": True}, {"again": True}]
    assert [list(json.loads(one.body).items()) for one in received] == [
        [
            ("event", "job_status_changed"),
            ("job_id", job["id"]),
            ("domain", domain),
            ("old_status", event["old_status"]),
            ("new_status", event["new_status"]),
            ("stats", then),
            ("timestamp", event["at"]),
        ]
        for event, then in zip(changes, stats, strict=True)
    ]
    assert statuses(received) == ["running", "failed", "pending", "running", "cancelled"]
    for one in received:
        assert one.headers["content-type"] == "application/json"
    assert len({one.id for one in received}) == 5


def test_the_official_library_verifies_large_unicode_messages(
    service: Service, receiver: Receiver, domain: str
) -> None:
    secret = service.webhook(f"{receiver.url}/ok", domains=[domain])["secret"]
    stats = {
        "Überschrift": "東京 🗼 \u2028 \\ \" ' \x7f \U0010ffff",
        "nested": {"ключ": [1, 2.5, None, True, -0.0, 10**18]},
        "large": "ß€😀" * (200 * 1024 // 9),
    }
    assert len(json.dumps(stats, ensure_ascii=False).encode()) > 200 * 1024
    job = service.create(domain=domain)
    service.change(job["id"], status="running", stats=stats)
    (received,) = receiver.wait_for("/ok", 1)
    body: Any = Webhook(secret).verify(received.body, received.headers)
    assert list(body) == BODY_FIELDS
    assert body["stats"] == stats
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(received.body.replace(b"running", b"runninG"), received.headers)


def test_an_endpoint_receives_what_its_filters_match(
    service: Service, receiver: Receiver, domain: str
) -> None:
    other = new_domain()
    filters: dict[str, dict[str, Any]] = {
        "statuses": {"statuses": ["completed", "failed"], "domains": [domain, other]},
        "types": {"job_types": ["full"], "domains": [domain, other]},
        "domain": {"domains": [domain]},
        "all": {"statuses": ["completed"], "job_types": ["full"], "domains": [domain]},
        "none": {"statuses": ["cancelled"], "domains": [domain, other]},
        "inactive": {"active": False, "domains": [domain, other]},
    }
    webhooks = {
        name: service.webhook(f"{receiver.url}/ok/{name}", **fields)
        for name, fields in filters.items()
    }
    sent = set()
    for job_domain in (domain, other):
        for job_type in ("full", "partial"):
            job = service.create(domain=job_domain, job_type=job_type)
            for status in ("running", "completed"):
                service.change(job["id"], status=status)
                sent.add((job_domain, job_type, status, job["id"]))
    expected = {
        "statuses": {one for one in sent if one[2] == "completed"},
        "types": {one for one in sent if one[1] == "full"},
        "domain": {one for one in sent if one[0] == domain},
        "all": {one for one in sent if one[:3] == (domain, "full", "completed")},
        "none": set(),
        "inactive": set(),
    }
    try:
        for name, wanted in expected.items():
            receiver.wait_for(f"/ok/{name}", len(wanted))
            assert {
                (d["job_id"], d["body"]["new_status"])
                for d in service.deliveries(webhooks[name]["id"])
            } == {(one[3], one[2]) for one in wanted}
            assert len(receiver.at(f"/ok/{name}")) == len(wanted)
    finally:
        for webhook in webhooks.values():
            requests.delete(f"{service.url}/api/webhooks/{webhook['id']}", timeout=30)


def test_messages_have_two_signatures_during_a_rotation(
    service: Service, receiver: Receiver, domain: str
) -> None:
    webhook = service.webhook(f"{receiver.url}/ok", domains=[domain])
    answer = requests.post(f"{service.url}/api/webhooks/{webhook['id']}/rotate-secret", timeout=30)
    rotated = answer.json()["data"]
    assert rotated["secret"] != webhook["secret"]
    until = datetime.fromisoformat(rotated["previous_secret_until"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < until <= timedelta(hours=24)
    service.change(service.create(domain=domain)["id"], status="running")
    (received,) = receiver.wait_for("/ok", 1)
    assert len(received.headers["webhook-signature"].split()) == 2
    for secret in (webhook["secret"], rotated["secret"]):
        Webhook(secret).verify(received.body, received.headers)


def test_a_test_event_is_signed(service: Service, receiver: Receiver, domain: str) -> None:
    webhook = service.webhook(f"{receiver.url}/ok", domains=[domain], statuses=["cancelled"])
    answer = requests.post(f"{service.url}/api/webhooks/{webhook['id']}/test", timeout=30)
    assert answer.status_code == 202
    (received,) = receiver.wait_for("/ok", 1)
    body: Any = Webhook(webhook["secret"]).verify(received.body, received.headers)
    assert list(body) == BODY_FIELDS
    assert received.id == answer.json()["data"]["id"]
    wait_until(lambda: service.deliveries(webhook["id"])[0]["status"] == "delivered")


def test_a_redelivery_has_the_same_id_and_bytes(
    service: Service, receiver: Receiver, domain: str
) -> None:
    webhook = service.webhook(f"{receiver.url}/ok", domains=[domain])
    job = service.create(domain=domain)
    service.change(job["id"], status="running", stats={"first": "ä"})
    receiver.wait_for("/ok", 1)
    wait_until(lambda: service.deliveries(webhook["id"])[0]["status"] == "delivered")
    service.change(job["id"], stats={"later": True})
    (delivery,) = service.deliveries(webhook["id"])
    url = f"{service.url}/api/webhooks/{webhook['id']}/deliveries/{delivery['id']}/redeliver"
    assert requests.post(url, timeout=30).status_code == 202
    first, again = receiver.wait_for("/ok", 2)
    assert (again.id, again.body) == (first.id, first.body)
    assert first.id == delivery["id"]
    Webhook(webhook["secret"]).verify(again.body, again.headers)
    wait_until(lambda: service.deliveries(webhook["id"])[0]["status"] == "delivered")
    assert [
        attempt["status_code"] for attempt in service.deliveries(webhook["id"])[0]["tries"]
    ] == [204, 204]
