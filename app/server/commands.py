"""The commands `flask settings` and `flask housekeeping`."""

import click
from flask.cli import with_appcontext

from app import cli
from app.config import Settings


@click.command("settings")
@click.option("--markdown", is_flag=True, help="Print a Markdown table, for the documentation.")
def settings(markdown: bool) -> None:
    """Print all settings with their defaults and purposes."""
    click.echo(Settings.as_markdown() if markdown else Settings.as_text())


@click.command("housekeeping")
@with_appcontext
def housekeeping() -> None:
    """Rescue expired leases and count statistics until SIGTERM or Ctrl-C.

    Any number of these processes may run, in addition to the service's workers or instead of them
    (SCRAPE_JOBS_HOUSEKEEPING=off).
    """
    cli.run_until_stopped("housekeeping", "Rescuing expired leases and counting statistics")
