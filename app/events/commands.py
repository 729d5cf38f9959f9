"""The commands `flask audit`."""

from uuid import UUID

import click
from flask.cli import AppGroup

from app import cli
from app.events import audit_queries as audit

group = AppGroup("audit", help="Show the events of a job, and verify that none was altered.")


@group.command("show")
@click.argument("job", type=click.UUID)
def show(job: UUID) -> None:
    """Print all events of JOB as JSON, one per line, with all columns including addresses."""
    is_known = False
    with cli.administration():
        for event in audit.events(job):
            click.echo(event)
            is_known = True
    if not is_known:
        raise click.ClickException(f"Job {job} has no events")


@group.command("verify")
def verify() -> None:
    """Verify the hash chain of every job's events.

    For each job with a fault, the command prints the first event that was changed, removed or
    added. A job that differs from its last event is reported as missing an event after that.
    Jobs may change meanwhile. The exit code is 1 if there is a fault.
    """
    faults = []
    with cli.administration():
        length = audit.count_jobs()
    with cli.administration(), cli.progress_bar(length, "Verifying") as bar:
        for batch in audit.verify():
            faults.extend(batch.faults)
            bar.update(batch.jobs)
    for fault in faults:
        click.echo(f"job {fault.job_id}: event {fault.seq}: {fault.kind}")
    if faults:
        raise click.ClickException(
            f"The history of {cli.jobs_of(len(faults))} is not as it was written"
        )
    click.echo("The history is as it was written.")
