"""The command `flask openapi`."""

import json
from typing import TextIO

import click
from flask import current_app
from flask.cli import with_appcontext

from app.openapi.document import document


@click.command("openapi")
@click.option(
    "--output",
    type=click.File("w", encoding="utf-8", atomic=True),
    default="-",
    help="The file to write; without it, standard output.",
)
@with_appcontext
def write_document(output: TextIO) -> None:
    """Write the OpenAPI document."""
    output.write(json.dumps(document(current_app), ensure_ascii=False, indent=2) + "\n")
