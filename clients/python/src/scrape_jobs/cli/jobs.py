"""Commands that create, show and change jobs."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from scrape_jobs.cli import exit_codes
from scrape_jobs.cli.context import (
    CommandContext,
    JSONCommand,
    pass_context,
    progress_text,
    reported_failures,
    table,
    time_text,
)
from scrape_jobs.client import ScrapeJobs
from scrape_jobs.errors import Conflict, InvalidRequest, NotFound
from scrape_jobs.jobs import Job

STATUSES = ("pending", "running", "completed", "failed", "cancelled")


class JSONObject(click.ParamType):  # type: ignore[type-arg]  # older versions are not generic
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


@click.command(cls=JSONCommand)
@click.argument("domains", nargs=-1, required=True)
@click.option("--type", "job_type", help="Type of the job.")
@click.option("--priority", type=click.IntRange(1, 10), help="Priority, higher first.")
@click.option("--max-retries", type=click.IntRange(0, 100), help="Maximum number of retries.")
@click.option("--config", type=JSONObject(), help="Config as JSON, or @FILE.")
@click.option("--metadata", type=JSONObject(), help="Metadata as JSON, or @FILE.")
@click.option("--scheduled-for", help="When the job becomes due (ISO 8601).")
@click.option("--quiet", "-q", is_flag=True, help="Print the ids only.")
@pass_context
def create(context: CommandContext, /, domains: Sequence[str], quiet: bool, **fields: Any) -> None:
    """Create a job for each of DOMAINS, all or none."""
    given = {name: value for name, value in fields.items() if value is not None}
    with reported_failures():
        created = context.client().create_many([{"domain": one, **given} for one in domains])
    for job in created:
        context.show(job.document, job.id if quiet else f"{job.id}  {job.domain}  {job.status}")


@click.command(cls=JSONCommand)
@click.argument("job_id")
@pass_context
def get(context: CommandContext, /, job_id: str) -> None:
    """Show a job."""
    with reported_failures():
        context.show_job(context.client().get(job_id, required=True))


def _filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select jobs."""
    options = (
        click.option(
            "--status", multiple=True, type=click.Choice(STATUSES), help="Status; repeatable."
        ),
        click.option("--domain", help="Domain."),
        click.option("--type", "job_type", help="Type of the job."),
        click.option("--tag", help="Tag in the metadata."),
        click.option("--customer", "customer_config_id", help="Id of the customer."),
        click.option("--created-after", help="Created at or after this time (ISO 8601)."),
        click.option("--created-before", help="Created before this time (ISO 8601)."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command("list", cls=JSONCommand)
@_filter_options
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of jobs."
)
@click.option("--all", "shows_all", is_flag=True, help="List all jobs, without a limit.")
@click.option(
    "--sort",
    type=click.Choice(["created_at", "-created_at", "updated_at", "-updated_at", "priority"]),
    default="-created_at",
    show_default=True,
    help="Order of the jobs.",
)
@pass_context
def list_jobs(
    context: CommandContext, /, limit: int, shows_all: bool, sort: str, **filters: Any
) -> None:
    """List jobs, newest first."""
    with reported_failures():
        found = context.client().list(
            limit=None if shows_all else limit, page_size=200, sort=sort, **_given(filters)
        )
        if context.as_json:
            for job in found:
                context.show(job.document, "")
        else:
            click.echo(table(_row(job) for job in found) or "No jobs match.")


def _given(filters: dict[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in filters.items()
        if value not in (None, ())
    }


def _row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status,
        "domain": job.domain,
        "type": job.job_type,
        "progress": progress_text(job),
        "created": time_text(job.created_at),
    }


@click.command(cls=JSONCommand)
@click.argument("job_ids", nargs=-1)
@_filter_options
@click.option("--reason", help="Reason, which the job shows.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_context
def cancel(
    context: CommandContext,
    /,
    job_ids: Sequence[str],
    reason: str | None,
    yes: bool,
    **filters: Any,
) -> None:
    """Cancel jobs: those with JOB_IDS, or all that match the options."""
    with reported_failures():
        api = context.client()
        _change_each(context, "cancel", _selected(api, job_ids, filters), yes,
                     lambda job_id: api.cancel(job_id, reason))  # fmt: skip


@click.command(cls=JSONCommand)
@click.argument("job_ids", nargs=-1)
@_filter_options
@click.option(
    "--delay", "delay_seconds", type=click.FloatRange(0), help="Seconds until the jobs are due."
)
@click.option("--reset", "reset_retry_count", is_flag=True, help="Count the retries from 0 again.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_context
def retry(
    context: CommandContext,
    /,
    job_ids: Sequence[str],
    delay_seconds: float | None,
    reset_retry_count: bool,
    yes: bool,
    **filters: Any,
) -> None:
    """Retry failed jobs: those with JOB_IDS, or all failed ones that match the options."""
    with reported_failures():
        api = context.client()
        if not job_ids:
            filters["status"] = ("failed",)
        _change_each(
            context, "retry", _selected(api, job_ids, filters), yes,
            lambda job_id: api.retry(
                job_id, delay_seconds=delay_seconds, reset_retry_count=reset_retry_count
            ),
        )  # fmt: skip


def _selected(api: ScrapeJobs, job_ids: Sequence[str], filters: dict[str, Any]) -> list[str]:
    """Return the ids of the jobs to change."""
    given = _given(filters)
    if job_ids and given:
        raise click.UsageError("Give either JOB_IDS or options that select jobs")
    if job_ids:
        return list(job_ids)
    if not given:
        raise click.UsageError("Name the jobs by JOB_IDS, or select them by options")
    return [job.id for job in api.list(page_size=200, **given)]


def _change_each(
    context: CommandContext,
    verb: str,
    job_ids: Sequence[str],
    yes: bool,
    change: Callable[[str], Job],
) -> None:
    """Change each job and print what happened; ask first if there are several."""
    if not job_ids:
        click.echo("No jobs match.", err=True)
        return
    if len(job_ids) > 1 and not yes:
        click.confirm(f"{verb.capitalize()} {len(job_ids)} jobs?", abort=True, err=True)
    refused = 0
    for job_id, outcome in _outcomes(job_ids, change):
        if isinstance(outcome, Job):
            context.show(outcome.document, f"{job_id}  {outcome.status}")
        else:
            refused += 1
            context.show({"id": job_id, "error": outcome}, f"{job_id}  not changed: {outcome}")
    if refused:
        is_missing = len(job_ids) == 1 and outcome == "Job not found"
        sys.exit(exit_codes.NOT_FOUND if is_missing else exit_codes.FAILED)


def _outcomes(
    job_ids: Sequence[str], change: Callable[[str], Job]
) -> Iterator[tuple[str, Job | str]]:
    for job_id in job_ids:
        try:
            yield job_id, change(job_id)
        except (Conflict, NotFound, InvalidRequest) as refusal:
            yield job_id, refusal.details or refusal.error


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
    with reported_failures():
        data = context.client().stats(**query)
    counts = ", ".join(f"{count} {status}" for status, count in data["by_status"].items())
    lines = [f"jobs          {data['total']} ({counts})"]
    lines += [
        f"{name.replace('_', ' '):<13} {data[name]:.3g}"
        for name in ("success_rate", "failure_rate", "retry_rate", "pages_per_minute")
        if data.get(name) is not None
    ]
    seconds = data["completion_seconds"]
    if seconds.get("p50") is not None:
        lines.append(f"completion    p50 {seconds['p50']:.3g} s, p95 {seconds['p95']:.3g} s")
    lines += [f"error         {one['count']} x {one['pattern']}" for one in data["errors"][:10]]
    context.show(data, "\n".join(lines))


@click.command(cls=JSONCommand)
@click.argument("job_id")
@pass_context
def history(context: CommandContext, /, job_id: str) -> None:
    """Show the changes of a job, oldest first."""
    with reported_failures():
        for event in context.client().history(job_id):
            actor = event.actor.get("name") or event.actor.get("type")
            status = event.new_status if event.old_status != event.new_status else ""
            document = {
                "id": event.id, "at": event.at.isoformat(), "actor": dict(event.actor),
                "request_id": event.request_id, "action": event.action,
                "old_status": event.old_status, "new_status": event.new_status,
                "changes": dict(event.changes),
            }  # fmt: skip
            text = f"{event.id:>4}  {time_text(event.at)}  {event.action:<13} {status:<10} {actor}"
            context.show(document, text.rstrip())


@click.command(cls=JSONCommand)
@click.argument("job_id")
@pass_context
def queue(context: CommandContext, /, job_id: str) -> None:
    """Show the position of a job in the queue, and the reason why it waits."""
    with reported_failures():
        position = context.client().queue_position(job_id)
    place = position.get("position")
    text = f"position   {place}\n" if place is not None else ""
    context.show(
        position, f"status     {position['status']}\n{text}reason     {position['reason']}"
    )
