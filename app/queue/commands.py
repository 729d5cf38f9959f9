"""The commands `flask queue`."""

import click
from flask.cli import AppGroup

from app import cli
from app.queue import sweeper

group = AppGroup("queue", help="Maintain the queue.")


@group.command("sweep")
def sweep() -> None:
    """Rescue jobs whose lease has expired, once.

    Several processes may do so at the same time.
    """
    with cli.administration():
        click.echo(f"Rescued {cli.jobs_of(sweeper.sweep())}.")
