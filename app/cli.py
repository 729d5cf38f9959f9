"""The commands: flask --app wsgi COMMAND."""

import logging
import os
import signal

import click
from flask import Flask
from flask.cli import AppGroup

from app import signing, vault
from app.config import Settings
from app.webhooks.dispatcher import Dispatcher

log = logging.getLogger(__name__)


def register(app: Flask, settings: Settings, dispatcher: Dispatcher) -> None:
    """Give `app` its commands; `dispatcher` is the one that ``webhooks dispatch`` runs."""
    app.extensions["webhook_dispatcher"] = dispatcher

    @app.cli.command("settings")
    def show_settings() -> None:
        """Show every setting of the environment, with its default and purpose."""
        click.echo(Settings.described())

    webhooks = AppGroup("webhooks", help="Deliver webhooks, and make what their settings need.")
    app.cli.add_command(webhooks)

    @webhooks.command("dispatch")
    def dispatch() -> None:
        """Deliver webhooks until SIGTERM or Ctrl-C, which lets what is under way be finished.

        Any number of these may run, beside the service's own workers or instead of them
        (SCRAPE_JOBS_WEBHOOK_DISPATCH=off).
        """
        for warning in settings.warnings(os.environ):
            log.warning(warning)
        ending = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # for all threads: this one waits for them
        dispatcher.start()
        click.echo("Delivering webhooks; Ctrl-C ends it.", err=True)
        signal.sigwait(ending)
        dispatcher.stop()

    @webhooks.command("new-secret")
    def new_secret() -> None:
        """Print a new secret for SCRAPE_JOBS_WEBHOOK_SECRET."""
        click.echo(signing.new_secret())

    @webhooks.command("new-key")
    def new_key() -> None:
        """Print a new key for SCRAPE_JOBS_SECRETS_KEY."""
        click.echo(vault.new_key())
