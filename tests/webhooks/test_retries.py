"""Retries: the order of a job's deliveries, 410 Gone, and Retry-After."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests

from support.receiver import Receiver
from support.service import Service, wait_until


def webhook_of(service: Service, webhook_id: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(
        f"{service.url}/api/webhooks/{webhook_id}", timeout=10
    ).json()["data"]
    return found


def test_only_later_events_of_the_job_wait(
    service: Service, receiver: Receiver, domain: str
) -> None:
    receiver.answer = lambda count: (503, {}, b"busy") if count == 1 else (204, {}, b"")
    webhook = service.webhook(f"{receiver.url}/answer", domains=[domain])
    first, other = service.create(domain=domain)["id"], service.create(domain=domain)["id"]
    service.change(first, status="running")
    receiver.wait_for("/answer", 1)
    service.change(first, status="failed")
    service.change(first, status="pending")
    service.change(other, status="running")
    received = [json.loads(one.body) for one in receiver.wait_for("/answer", 5)]
    assert [(one["job_id"], one["new_status"]) for one in received] == [
        (first, "running"),
        (other, "running"),
        (first, "running"),
        (first, "failed"),
        (first, "pending"),
    ]
    times = receiver.at("/answer")
    assert times[2].id == times[0].id
    assert 4.4 < times[2].at - times[0].at < 7
    assert times[1].at - times[0].at < 2
    wait_until(
        lambda: all(
            delivery["status"] == "delivered" for delivery in service.deliveries(webhook["id"])
        )
    )
    (tries,) = (d["tries"] for d in service.deliveries(webhook["id"]) if d["id"] == times[0].id)
    assert [attempt["status_code"] for attempt in tries] == [503, 204]
    assert tries[0]["answer"] == "busy"


def test_a_response_of_410_disables_the_endpoint(
    service: Service, receiver: Receiver, domain: str
) -> None:
    webhook = service.webhook(f"{receiver.url}/status/410", domains=[domain])
    first, second = service.create(domain=domain)["id"], service.create(domain=domain)["id"]
    service.change(first, status="running")
    wait_until(lambda: not webhook_of(service, webhook["id"])["active"])
    assert "410" in webhook_of(service, webhook["id"])["disabled_reason"]
    service.change(second, status="running")
    with Receiver() as witness:
        service.webhook(f"{witness.url}/ok", domains=[domain])
        service.change(second, status="completed")
        witness.wait_for("/ok", 1)
    assert len(receiver.received) == 1
    assert [delivery["job_id"] for delivery in service.deliveries(webhook["id"])] == [first]


@pytest.mark.parametrize(
    ("asked", "waited"),
    [("120", 120), ("86400", 3600), ("date", 600), ("nonsense", 5), ("0", 5)],
)
def test_retry_after_is_respected_up_to_an_hour(
    service: Service, receiver: Receiver, domain: str, asked: str, waited: int
) -> None:
    def answer(_: int) -> tuple[int, dict[str, str], bytes]:
        later = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
        return 429, {"Retry-After": later if asked == "date" else asked}, b""

    receiver.answer = answer
    webhook = service.webhook(f"{receiver.url}/answer", domains=[domain])
    service.change(service.create(domain=domain)["id"], status="running")
    wait_until(lambda: any(delivery["tries"] for delivery in service.deliveries(webhook["id"])))
    (delivery,) = service.deliveries(webhook["id"])
    wait = (
        datetime.fromisoformat(delivery["next_try_at"])
        - datetime.fromisoformat(delivery["tries"][0]["at"])
    ).total_seconds()
    assert 0.9 * waited - 2 < wait < 1.1 * waited + 2
