"""The commands `flask webhooks`."""

import click
from flask.cli import AppGroup

from app import cli, vault
from app.webhooks import signing

group = AppGroup("webhooks", help="Deliver webhooks, and create secrets for their settings.")


@group.command("dispatch")
def dispatch() -> None:
    """Deliver webhooks until SIGTERM or Ctrl-C; attempts under way are finished first.

    Any number of these processes may run, in addition to the service's workers or instead of them
    (SCRAPE_JOBS_WEBHOOK_DISPATCH=off).
    """
    cli.run_until_stopped("webhook_dispatcher", "Delivering webhooks")


@group.command("new-secret")
def new_secret() -> None:
    """Print a new secret for SCRAPE_JOBS_WEBHOOK_SECRET."""
    click.echo(signing.new_secret())


@group.command("new-key")
def new_key() -> None:
    """Print a new key for SCRAPE_JOBS_SECRETS_KEY."""
    click.echo(vault.new_key())
