"""The commands `flask statistics`."""

import click
from flask.cli import AppGroup

from app import cli
from app.statistics import service

group = AppGroup("statistics", help="Maintain the statistics.")


@group.command("count")
def count() -> None:
    """Add new status changes to the running totals, once.

    Requests include status changes that are not counted yet.
    """
    with cli.administration():
        counted = service.count()
    click.echo(f"Counted {counted} status change{'' if counted == 1 else 's'}.")
