"""The commands `flask jobs`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import click
from flask.cli import AppGroup

from app import cli
from app.jobs import retention


class PruneDeliveries(Protocol):
    """Removes webhook deliveries older than `cutoff` and returns their number."""

    def __call__(self, cutoff: datetime, *, dry_run: bool) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class FurtherRows:
    """Removes rows of higher layers that no job's removal covers."""

    prune_unsendable: PruneDeliveries
    """Runs first: a job with pending deliveries is kept."""

    prune_jobless: PruneDeliveries
    prune_keys: Callable[[], int]


def commands(further_rows: FurtherRows) -> AppGroup:
    """Return the commands; `jobs prune` also removes `further_rows`."""
    group = AppGroup("jobs", help="Maintain the jobs.")

    @group.command("prune")
    @click.option(
        "--older-than",
        type=cli.Age(),
        required=True,
        help="Minimum time since the last change, e.g. 90d.",
    )
    @click.option("--dry-run", is_flag=True, help="Only count the rows that would be removed.")
    def prune(older_than: float, dry_run: bool) -> None:
        """Remove ended jobs that have not changed for some time, with history and deliveries.

        Jobs are kept if they are pending or running, have a younger event, or have a pending
        webhook delivery. Statistics keep their totals. The command also removes webhook deliveries
        of that age that belong to no job (tests), pending deliveries of that age to inactive
        endpoints, deliveries to deleted endpoints, and expired idempotency keys. It works in small
        batches: you can interrupt it at any time and start it again.
        """
        with cli.administration():
            old = retention.prune_range(older_than)
            deliveries = further_rows.prune_unsendable(old.cutoff, dry_run=dry_run)
        removed, kept = _prune_jobs(old, dry_run)
        with cli.administration():
            deliveries += further_rows.prune_jobless(old.cutoff, dry_run=dry_run)
            keys = 0 if dry_run else further_rows.prune_keys()
        done = "Would remove" if dry_run else "Removed"
        click.echo(f"{done} {cli.jobs_of(removed)}; kept {cli.jobs_of(kept)} of that age.")
        if deliveries or keys:
            click.echo(
                f"{done} {deliveries} webhook deliveries without a job or recipient, "
                f"{keys} expired idempotency keys.",
                err=True,
            )

    return group


def _prune_jobs(old: retention.PruneRange, dry_run: bool) -> tuple[int, int]:
    """Remove the jobs in `old` with a progress bar; return how many were removed and kept."""
    removed = kept = 0
    oldest = old.oldest or old.cutoff
    length = _seconds(old.cutoff - oldest)
    label = "Looking" if dry_run else "Removing"
    with cli.administration(), cli.progress_bar(length, label) as bar:
        for batch in retention.prune(old, dry_run=dry_run):
            removed, kept = removed + batch.removed, kept + batch.kept
            bar.update(_seconds(batch.reached - oldest) - bar.pos)
        bar.update(length - bar.pos)
    return removed, kept


def _seconds(span: timedelta) -> int:
    return int(span / timedelta(seconds=1))
