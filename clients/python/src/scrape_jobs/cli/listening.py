"""The command `webhooks listen`: forwards status changes to a local URL."""

import base64
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import click
import requests
from standardwebhooks import Webhook

from scrape_jobs.cli.context import CommandContext, JSONCommand, pass_context
from scrape_jobs.cli.parameters import STATUSES
from scrape_jobs.status_changes import StatusChange

FORWARD_SECONDS = 10
"""Time that the local URL has to answer."""


class ForwardURL(click.ParamType):  # type: ignore[type-arg]  # older versions are not generic
    """A URL; without a scheme it is an http one."""

    name = "url"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the whole URL."""
        url = value if "://" in value else f"http://{value}"
        try:
            parts = urlsplit(url)
            is_valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            is_valid = False
        if not is_valid:
            self.fail(f"{value!r} is not an http(s) URL", param, ctx)
        return url


class Secret(click.ParamType):  # type: ignore[type-arg]
    """A secret that signs webhooks."""

    name = "secret"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the secret."""
        try:
            Webhook(value)
        except (ValueError, RuntimeError):
            self.fail("must be whsec_ and base64", param, ctx)
        return str(value)


@click.group()
def webhooks() -> None:
    """Develop a receiver of webhooks."""


@webhooks.command(cls=JSONCommand)
@click.option("--forward-to", required=True, type=ForwardURL(), help="URL that gets the events.")
@click.option(
    "--secret",
    type=Secret(),
    envvar="SCRAPE_JOBS_WEBHOOK_SECRET",
    show_envvar=True,
    help="Secret that signs the events, whsec_…; default: a new one.",
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(STATUSES),
    help="New status; repeatable.",
)
@click.option("--domain", help="Only jobs of this domain.")
@click.option("--type", "job_type", help="Only jobs of this type.")
@pass_context
def listen(
    context: CommandContext,
    /,
    forward_to: str,
    secret: str | None,
    statuses: Sequence[str],
    **filters: str | None,
) -> None:
    """Forward each status change to a local URL, signed as the service signs webhooks.

    The service need not reach this machine: the changes come from its event stream, from now on.
    An event is sent once, not repeated. Changes of one job within a second have the same `stats`.
    Ctrl-C ends the command.

    Example: scrape-jobs webhooks listen --forward-to localhost:8000/hooks
    """
    signing_secret = secret or new_secret()
    click.echo(f"Secret: {signing_secret}\nForwarding status changes to {forward_to}", err=True)
    with requests.Session() as session:
        session.trust_env = False  # no proxy before a local URL
        changes = context.client().status_changes(
            notify=lambda text: click.echo(text, err=True),
            **{name: value for name, value in filters.items() if value is not None},
        )
        for change in changes:
            if statuses and change.new_status not in statuses:
                continue
            body = webhook_body(change)
            result = _forward(session, forward_to, signing_secret, change, body)
            context.show(
                {"event": body, **result.document},
                f"{change.job.id}  {change.old_status} → {change.new_status}  {result.text}",
            )


def new_secret() -> str:
    """Return a new signing secret."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def webhook_body(change: StatusChange) -> dict[str, Any]:
    """Return the body of the webhook for a status change, as the service sends it."""
    return {
        "event": "job_status_changed",
        "job_id": change.job.id,
        "domain": change.job.domain,
        "old_status": change.old_status,
        "new_status": change.new_status,
        "stats": change.job.stats,
        "timestamp": change.at,
    }


@dataclass(frozen=True, slots=True)
class _Result:
    """The answer of the local URL: its status, or the failure."""

    status: int | None
    failure: str | None
    milliseconds: int

    @property
    def document(self) -> dict[str, Any]:
        return {"status": self.status, "error": self.failure, "milliseconds": self.milliseconds}

    @property
    def text(self) -> str:
        return f"{self.status or 'failed: ' + str(self.failure)} in {self.milliseconds} ms"


def _forward(
    session: requests.Session,
    url: str,
    secret: str,
    change: StatusChange,
    body: Mapping[str, Any],
) -> _Result:
    """Send the event once and return the result."""
    text = json.dumps(body, ensure_ascii=False)
    message_id = f"msg_{change.job.id}_{change.number}"
    now = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "scrape-jobs-webhooks",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, text),
    }
    status = failure = None
    started = time.monotonic()
    try:
        status = session.post(
            url, text.encode(), headers=headers, timeout=FORWARD_SECONDS, allow_redirects=False
        ).status_code
    except requests.RequestException as error:
        failure = type(error).__name__
    return _Result(status, failure, round((time.monotonic() - started) * 1000))
