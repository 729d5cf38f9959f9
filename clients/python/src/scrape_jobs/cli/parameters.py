"""The types of arguments, and the options that select jobs."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import click

STATUSES = ("pending", "running", "completed", "failed", "cancelled")


class JobId(click.ParamType):  # type: ignore[type-arg]  # older versions are not generic
    """The id of a job."""

    name = "id"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the id in its usual form."""
        try:
            return str(UUID(value))
        except ValueError:
            self.fail(f"{value!r} is not the id of a job (a UUID)", param, ctx)


class JSONObject(click.ParamType):  # type: ignore[type-arg]
    """A JSON object, or `@FILE` for the object in a file."""

    name = "json"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the object as a dict."""
        if isinstance(value, dict):
            return value
        try:
            if value.startswith("@"):
                with open(value[1:], encoding="utf-8") as file:
                    value = file.read()
            document = json.loads(value)
        except (OSError, ValueError) as fault:
            self.fail(f"{fault}", param, ctx)
        if not isinstance(document, dict):
            self.fail("must be a JSON object", param, ctx)
        return document


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select jobs."""
    options = (
        click.option(
            "--status", multiple=True, type=click.Choice(STATUSES), help="Status; repeatable."
        ),
        click.option("--domain", help="Domain."),
        click.option("--type", "job_type", help="Type of the job."),
        click.option("--tag", help="Tag in the metadata."),
        click.option("--customer", "customer_config_id", help="Id of the customer."),
        click.option("--created-after", help="Created at this time (ISO 8601) or later."),
        click.option("--created-before", help="Created before this time (ISO 8601)."),
        click.option("--updated-after", help="Changed at this time (ISO 8601) or later."),
        click.option("--updated-before", help="Changed before this time (ISO 8601)."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the user has set."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value not in (None, ())
    }
