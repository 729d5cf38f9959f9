"""The command `stats`."""

from collections.abc import Mapping
from typing import Any

import click

from scrape_jobs.cli.context import CommandContext, JSONCommand, pass_context
from scrape_jobs.cli.output import table

MAX_ERRORS = 10
"""The number of error patterns that the text shows; JSON shows all."""


@click.command(cls=JSONCommand)
@click.option("--from", "from_", help="Begin of the window (ISO 8601).")
@click.option("--to", help="End of the window (ISO 8601).")
@click.option("--domain", help="Domain.")
@click.option("--type", "job_type", help="Type of the job.")
@click.option("--customer", "customer_config_id", help="Id of the customer.")
@click.option(
    "--group-by", type=click.Choice(["domain", "job_type", "hour", "day"]), help="Groups."
)
@click.option("--timezone", help="Time zone of hours and days, such as Europe/Berlin.")
@pass_context
def stats(context: CommandContext, /, **query: Any) -> None:
    """Show statistics: counts, rates and durations."""
    data = context.client().stats(**query)
    context.show(data, _text(data))


def _text(data: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in data["by_status"].items())
    lines = [f"{'jobs':<17} {data['total']} ({counts})"]
    lines += [
        f"{name.replace('_', ' '):<17} {_percent(data[name])}"
        for name in ("success_rate", "failure_rate", "retry_rate")
        if data[name] is not None
    ]
    if data["pages_per_minute"] is not None:
        lines.append(f"{'pages per minute':<17} {data['pages_per_minute']:.1f}")
    seconds = data["completion_seconds"]
    if seconds["p50"] is not None:
        lines.append(
            f"{'completion time':<17} {seconds['p50']:.1f} s (median),"
            f" {seconds['p95']:.1f} s (95th percentile)"
        )
    lines += [
        f"{'error':<17} {one['count']} x {one['pattern']}" for one in data["errors"][:MAX_ERRORS]
    ]
    groups = table(_row(group) for group in data.get("groups") or ())
    return "\n".join([*lines, *(["", groups] if groups else [])])


def _row(group: Mapping[str, Any]) -> dict[str, Any]:
    median = group["completion_seconds"]["p50"]
    return {
        "group": group["key"],
        "jobs": group["total"],
        **group["by_status"],
        "success rate": _percent(group["success_rate"]),
        "median": None if median is None else f"{median:.1f} s",
    }


def _percent(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.1%}"
