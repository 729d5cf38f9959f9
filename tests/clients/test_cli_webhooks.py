"""The command `webhooks listen`: forwards status changes as the service sends webhooks."""

import json
import signal

from scrape_jobs import ScrapeJobs, verify

from support.command_line import CommandLine
from support.receiver import Receiver
from support.service import wait_until


def test_events_are_forwarded_with_a_signature(
    cli: CommandLine, api: ScrapeJobs, kind: str
) -> None:
    with Receiver() as receiver:
        target = f"127.0.0.1:{receiver.port}/hooks"
        arguments = ("listen", "--forward-to", target, "--type", kind, "--json")
        with cli.running("webhooks", *arguments) as listening:
            listening.wait_for("Forwarding status changes to http://127.0.0.1")
            listening.wait_for("Listening")
            secret = listening.errors().split()[1]
            job = api.create("example.com", job_type=kind)
            api.create("example.com", job_type=f"{kind}-other")
            # Two changes within a second, which one frame of the stream covers.
            api.update(job.id, status="running")
            api.update(job.id, status="completed", stats={"pagesProcessed": 3})
            received = receiver.wait_for("/hooks", 2)
            events = [verify(one.headers, one.body, secret) for one in received]
            wait_until(lambda: listening.output().count("\n") == 2)
            assert listening.end(signal.SIGINT) == 130
            shown = [json.loads(line) for line in listening.output().splitlines()]
    assert [(one["old_status"], one["new_status"]) for one in events] == [
        ("pending", "running"), ("running", "completed"),
    ]  # fmt: skip
    last = events[1]
    updated = api.get(job.id, required=True).document["updated_at"]
    assert last == {
        "event": "job_status_changed",
        "job_id": job.id,
        "domain": "example.com",
        "old_status": "running",
        "new_status": "completed",
        "stats": {"pagesProcessed": 3},
        "timestamp": updated,
    }
    assert len({one.id for one in received}) == 2
    assert [(one["event"], one["status"]) for one in shown] == [(one, 204) for one in events]


def test_a_failing_receiver_is_shown(cli: CommandLine, api: ScrapeJobs, kind: str) -> None:
    with Receiver() as receiver:
        target = f"{receiver.url}/status/500"
        options = ("--type", kind, "--status", "cancelled")
        with cli.running("webhooks", "listen", "--forward-to", target, *options) as listening:
            listening.wait_for("Listening")
            job = api.create("example.com", job_type=kind)
            api.update(job.id, status="running")
            api.cancel(job.id)
            listening.wait_for(f"{job.id}  running → cancelled  500 in ")
    assert len(receiver.received) == 1
