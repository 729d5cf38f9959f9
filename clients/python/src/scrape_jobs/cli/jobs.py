"""Commands that create and show jobs."""

from collections.abc import Sequence
from typing import Any

import click

from scrape_jobs.cli.context import CommandContext, JSONCommand, pass_context
from scrape_jobs.cli.output import progress_text, table, time_text
from scrape_jobs.cli.parameters import JobId, JSONObject, filter_options, given
from scrape_jobs.jobs import Event, Job


@click.command(cls=JSONCommand)
@click.argument("domains", nargs=-1, required=True)
@click.option("--type", "job_type", help="Type of the job.")
@click.option("--priority", type=click.IntRange(1, 10), help="Priority, higher first.")
@click.option("--max-retries", type=click.IntRange(0, 100), help="Maximum number of retries.")
@click.option("--config", type=JSONObject(), help="Config as JSON, or @FILE.")
@click.option("--metadata", type=JSONObject(), help="Metadata as JSON, or @FILE.")
@click.option("--customer", "customer_config_id", help="Id of the customer.")
@click.option("--scheduled-for", help="When the job becomes due (ISO 8601).")
@click.option("--idempotency-key", help="Makes several calls with this key create the jobs once.")
@click.option("--quiet", "-q", is_flag=True, help="Print only the ids.")
@pass_context
def create(
    context: CommandContext,
    /,
    domains: Sequence[str],
    quiet: bool,
    idempotency_key: str | None,
    **fields: Any,
) -> None:
    """Create a job for each of DOMAINS, all or none.

    Example: id=$(scrape-jobs create -q example.com --type crawl --config '{"depth": 3}')
    """
    jobs = [{"domain": one, **given(fields)} for one in domains]
    for job in context.client().create_many(jobs, idempotency_key=idempotency_key):
        context.show(job.document, job.id if quiet else f"{job.id}  {job.domain}  {job.status}")


@click.command(cls=JSONCommand)
@click.argument("job_id", type=JobId())
@pass_context
def get(context: CommandContext, /, job_id: str) -> None:
    """Show a job."""
    context.show_job(context.client().get(job_id, required=True))


@click.command("list", cls=JSONCommand)
@filter_options
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of jobs."
)
@click.option("--all", "shows_all", is_flag=True, help="List all jobs, without a limit.")
@click.option(
    "--sort",
    type=click.Choice(["created_at", "-created_at", "updated_at", "-updated_at", "priority"]),
    default="-created_at",
    show_default=True,
    help="Order of the jobs; a minus sign puts the newest first.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print only the ids.")
@pass_context
def list_jobs(
    context: CommandContext, /, limit: int, shows_all: bool, sort: str, quiet: bool, **filters: Any
) -> None:
    """List jobs, newest first.

    Example: scrape-jobs list --status failed --all -q | xargs scrape-jobs retry --yes
    """
    total = None if shows_all else limit
    found = context.client().list(limit=total, page_size=200, sort=sort, **given(filters))
    if context.as_json or quiet:
        for job in found:
            context.show(job.document, job.id)
    else:
        click.echo(table(_row(job) for job in found) or "No jobs match.")


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
@click.argument("job_id", type=JobId())
@pass_context
def history(context: CommandContext, /, job_id: str) -> None:
    """Show the changes of a job, oldest first."""
    for event in context.client().history(job_id):
        context.show(event.document, _event_text(event))


def _event_text(event: Event) -> str:
    actor = event.actor.get("name") or event.actor.get("type")
    status = event.new_status if event.old_status != event.new_status else ""
    fields = ", ".join(event.changes) if event.action != "created" else ""
    line = (
        f"{event.id:>4}  {time_text(event.at)}  {event.action:<13} {status:<10} {actor}  {fields}"
    )
    return line.rstrip()


@click.command(cls=JSONCommand)
@click.argument("job_id", type=JobId())
@pass_context
def queue(context: CommandContext, /, job_id: str) -> None:
    """Show the position of a job in the queue, and the reason why it waits."""
    data = context.client().queue_position(job_id)
    rows = [(name, data.get(name)) for name in ("status", "position", "reason")]
    context.show(
        data, "\n".join(f"{name:<10} {value}" for name, value in rows if value is not None)
    )
