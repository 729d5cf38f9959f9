"""The command `webhooks listen`: forwards status changes to a local URL."""

import base64
import json
import secrets
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
import requests
from standardwebhooks import Webhook

from scrape_jobs.cli.context import CommandContext, pass_context, reported_failures
from scrape_jobs.watching import status_changes

FORWARD_SECONDS = 10
"""Time that the local URL has to answer, as the service's receivers do."""


@click.group()
def webhooks() -> None:
    """Develop a receiver of webhooks."""


@webhooks.command()
@click.option("--forward-to", required=True, help="URL that receives the events.")
@click.option("--secret", help="Secret that signs the events, whsec_…; default: a new one.")
@click.option("--domain", help="Only jobs of this domain.")
@click.option("--type", "job_type", help="Only jobs of this type.")
@pass_context
def listen(
    context: CommandContext,
    /,
    forward_to: str,
    secret: str | None,
    domain: str | None,
    job_type: str | None,
) -> None:
    """Forward each status change to a local URL, signed as the service signs webhooks.

    The service need not reach this machine: the changes come from its event stream. Ctrl-C ends it.
    """
    signing_secret = secret or new_secret()
    click.echo(f"Secret: {signing_secret}\nForwarding status changes to {forward_to}", err=True)
    filters = {"domain": domain, "job_type": job_type}
    with reported_failures():
        try:
            for frame in status_changes(context.client()._caller, filters):
                body = webhook_body(frame)
                click.echo(f"{body['job_id']}  {body['old_status']} → {body['new_status']}"
                           f"  {_forward(forward_to, signing_secret, frame, body)}")  # fmt: skip
        except KeyboardInterrupt:
            sys.exit(130)


def new_secret() -> str:
    """Return a new signing secret."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def webhook_body(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of the webhook for a status change, as the service sends it."""
    job = frame["job"]
    return {
        "event": "job_status_changed",
        "job_id": frame["id"],
        "domain": job["domain"],
        "old_status": frame["old_status"],
        "new_status": frame["new_status"],
        "stats": job.get("stats", {}),
        "timestamp": frame["at"],
    }


def _forward(url: str, secret: str, frame: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Send the event once and return the result as a text."""
    text = json.dumps(body, ensure_ascii=False)
    message_id = f"msg_{frame['id']}_{frame['version']}"
    now = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, text),
    }
    started = time.monotonic()
    try:
        answer = requests.post(
            url, text.encode(), headers=headers, timeout=FORWARD_SECONDS, allow_redirects=False
        )
    except requests.RequestException as failure:
        return f"failed: {type(failure).__name__}"
    return f"{answer.status_code} in {(time.monotonic() - started) * 1000:.0f} ms"
