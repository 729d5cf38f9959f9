"""Verification of webhooks that the real service has sent."""

import pytest
from scrape_jobs import InvalidWebhook, ScrapeJobs, verify

from support.receiver import Receiver
from support.service import Service


def test_a_delivered_webhook_is_verified(database_url: str) -> None:
    with (
        Receiver() as receiver,
        Service(database_url, SCRAPE_JOBS_WEBHOOK_ALLOW="127.0.0.0/8") as service,
    ):
        api = ScrapeJobs(service.url)
        domain = "verified.example"
        endpoint = api.webhooks.create(f"{receiver.url}/ok", domains=[domain])
        job = api.create(domain)
        api.update(job.id, status="running")
        (received,) = receiver.wait_for("/ok", 1)
        api.webhooks.delete(endpoint["id"])
    event = verify(received.headers, received.body, endpoint["secret"])
    assert (event["job_id"], event["new_status"]) == (job.id, "running")
    with pytest.raises(InvalidWebhook):
        verify(received.headers, received.body + b" ", endpoint["secret"])
    signed = {name.lower(): value for name, value in received.headers.items()}
    for headers, body in [
        ({}, received.body),
        ({**signed, "webhook-signature": "garbage"}, received.body),
        ({**signed, "webhook-signature": "v1,é"}, received.body),
        ({**signed, "webhook-timestamp": "inf"}, received.body),
        (signed, b"\xff"),
    ]:
        with pytest.raises(InvalidWebhook):
            verify(headers, body, endpoint["secret"])
