"""The commands: flask --app wsgi COMMAND."""

import click
from flask import Flask

from app.config import Settings


def register(app: Flask) -> None:
    """Give `app` its commands."""

    @app.cli.command("settings")
    def settings() -> None:
        """Show every setting of the environment, with its default and purpose."""
        click.echo(Settings.described())
