"""The webhooks of the document are what the service sends."""

import json
from collections.abc import Iterator

import pytest
import requests

from support.database import migrate
from support.openapi import described, folded
from support.receiver import Received, Receiver
from support.service import Service

WEBHOOKS = described().document["webhooks"]
STATS = {"pagesProcessed": 100, "dataExtracted": {"products": 156}}


@pytest.fixture
def sent(empty_database: str) -> Iterator[dict[str, Received]]:
    """One received request for each kind of webhook."""
    migrate(empty_database)
    with (
        Receiver() as receiver,
        Service(empty_database, SCRAPE_JOBS_WEBHOOK_ALLOW="127.0.0.1/32") as service,
    ):
        hook = service.webhook(f"{receiver.url}/ok", statuses=["completed"])
        job = service.create()
        service.change(job["id"], status="running")
        service.change(job["id"], status="completed", stats=STATS)
        tested = requests.post(f"{service.url}/api/webhooks/{hook['id']}/test", timeout=30)
        assert tested.status_code == 202
        found = receiver.wait_for("/ok", 2, seconds=30)
        yield {json.loads(one.body)["event"]: one for one in found}


def test_webhooks_are_as_documented(sent: dict[str, Received]) -> None:
    assert len(WEBHOOKS) == len(sent)
    for item in WEBHOOKS.values():
        (content,) = item["post"]["requestBody"]["content"].values()
        (example,) = content["examples"].values()
        request = sent[example["value"]["event"]]
        body = json.loads(request.body)
        described().validate(content["schema"], body)
        assert folded(body) == folded(example["value"])
        assert request.headers["content-type"] == "application/json"
        for parameter in item["post"]["parameters"]:
            assert request.headers[parameter["name"]]
