"""The commands: flask --app wsgi COMMAND."""

import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import click
from flask import Flask
from flask.cli import AppGroup

from app import leftovers, signing, vault
from app.api_keys import secrets as key_form
from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.database.tenant_scope import all_customers
from app.errors import DatabaseFailure, InvalidInput, KeyNotFound
from app.events import audit_queries as audit
from app.jobs import retention
from app.queue import sweeper
from app.statistics import service as statistics

log = logging.getLogger(__name__)

LONGEST_SECONDS = 1000 * 365 * 86400.0
"""A length of time that is as good as any longer one, and that a calendar still has room for."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Age(click.ParamType[float]):
    """A length of time such as 90d, in seconds."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds; complains of anything else."""
        match = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value))
        if match is None:
            self.fail(f"{value!r} is no length of time such as 90d, 12h or 30m", param, ctx)
        return min(float(match[1]) * _UNITS[match[2]], LONGEST_SECONDS)


class Runner(Protocol):
    """Something that runs in threads of its own until it is stopped."""

    def start(self) -> None: ...  # noqa: D102

    def stop(self) -> None: ...  # noqa: D102


def register(app: Flask, settings: Settings) -> None:
    """Give `app` its commands."""

    @app.cli.command("settings")
    def show_settings() -> None:
        """Show every setting of the environment, with its default and purpose."""
        click.echo(Settings.described())

    @app.cli.command("housekeeping")
    def housekeeping() -> None:
        """Rescue expired leases and count statistics until SIGTERM or Ctrl-C.

        Any number of these may run, beside the service's own workers or instead of them
        (SCRAPE_JOBS_HOUSEKEEPING=off).
        """
        _run_until_told(app.extensions["housekeeping"], settings, "Keeping house")

    for group in (_webhooks(app, settings), _queue(), _statistics(), _jobs(), _keys(), _audit()):
        app.cli.add_command(group)


def _run_until_told(runner: Runner, settings: Settings, what: str) -> None:
    for warning in settings.warnings(os.environ):
        log.warning(warning)
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # for all threads: this one waits for them
    runner.start()
    click.echo(f"{what}; Ctrl-C ends it.", err=True)
    signal.sigwait(ending)
    runner.stop()


def _webhooks(app: Flask, settings: Settings) -> AppGroup:
    group = AppGroup("webhooks", help="Deliver webhooks, and make what their settings need.")

    @group.command("dispatch")
    def dispatch() -> None:
        """Deliver webhooks until SIGTERM or Ctrl-C, which lets what is under way be finished.

        Any number of these may run, beside the service's own workers or instead of them
        (SCRAPE_JOBS_WEBHOOK_DISPATCH=off).
        """
        _run_until_told(app.extensions["webhook_dispatcher"], settings, "Delivering webhooks")

    @group.command("new-secret")
    def new_secret() -> None:
        """Print a new secret for SCRAPE_JOBS_WEBHOOK_SECRET."""
        click.echo(signing.new_secret())

    @group.command("new-key")
    def new_key() -> None:
        """Print a new key for SCRAPE_JOBS_SECRETS_KEY."""
        click.echo(vault.new_key())

    return group


def _queue() -> AppGroup:
    group = AppGroup("queue", help="Look after the queue.")

    @group.command("sweep")
    def sweep() -> None:
        """Rescue the jobs of workers that gave no sign of life, once; safe at any time, and several
        times at once."""
        with _own_work():
            click.echo(f"Rescued {_jobs_of(sweeper.sweep())}.")

    return group


def _statistics() -> AppGroup:
    group = AppGroup("statistics", help="Look after the statistics.")

    @group.command("count")
    def count() -> None:
        """Add what happened to the running totals, once; what is not counted yet is looked at with
        every request."""
        with _own_work():
            counted = statistics.count()
        click.echo(f"Counted {counted} status change{'' if counted == 1 else 's'}.")

    return group


def _jobs() -> AppGroup:
    group = AppGroup("jobs", help="Look after the jobs.")

    @group.command("prune")
    @click.option(
        "--older-than",
        type=Age(),
        required=True,
        help="How long ago the last change has to be, e.g. 90d.",
    )
    @click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
    def prune(older_than: float, dry_run: bool) -> None:
        """Remove jobs that are over and have not changed for long, with their history and webhook
        deliveries.

        Kept are jobs that wait or run, jobs of which anything is recorded that is younger, and jobs
        that still owe a webhook. Statistics keep what they counted. Webhook deliveries go, too,
        that have no job (tests) and are as old, that an endpoint which is not active has been owed
        for so long, or whose endpoint is deleted; and idempotency keys that have expired. It works
        in small steps and may be broken off and started again at any time.
        """
        with _own_work():
            old = retention.prune_range(older_than)
            deliveries = leftovers.prune_unsendable(old.cutoff, dry_run=dry_run)
        oldest = old.oldest or old.cutoff
        removed = kept = 0
        length = int((old.cutoff - oldest) / timedelta(seconds=1))
        label = "Looking" if dry_run else "Removing"
        with _own_work(), click.progressbar(length=length, label=label, file=sys.stderr) as bar:
            for step in retention.prune(old, dry_run=dry_run):
                removed, kept = removed + step.removed, kept + step.kept
                bar.update(int((step.reached - oldest) / timedelta(seconds=1)) - bar.pos)
            bar.update(length - bar.pos)
        with _own_work():
            deliveries += leftovers.prune_jobless(old.cutoff, dry_run=dry_run)
            keys = 0 if dry_run else leftovers.prune_keys()
        done = "Would remove" if dry_run else "Removed"
        click.echo(f"{done} {_jobs_of(removed)}; kept {_jobs_of(kept)} of that age.")
        if deliveries or keys:
            click.echo(
                f"{done} {deliveries} webhook deliveries of nothing, {keys} expired idempotency keys.",
                err=True,
            )

    return group


def _keys() -> AppGroup:
    group = AppGroup("keys", help="Make API keys, and take them back.")

    @group.command("create")
    @click.argument("name")
    @click.option(
        "--scope",
        "scopes",
        multiple=True,
        type=click.Choice([scope.value for scope in Scope]),
        help="May be given repeatedly.",
    )
    @click.option(
        "--customer", type=click.UUID, help="The customer_config_id to whose jobs it is bound."
    )
    @click.option(
        "--expires", type=Age(), help="For how long it is valid, e.g. 90d; for ever without."
    )
    def create(
        name: str, scopes: tuple[str, ...], customer: UUID | None, expires: float | None
    ) -> None:
        """Make a key for NAME and print it: this once, alone on standard output."""
        with _own_work():
            key, stored = keys.create(name, [Scope(scope) for scope in scopes], customer, expires)
        click.echo(str(key))
        click.echo(
            f"Key {stored.id} for {stored.name}: {', '.join(stored.scopes)}. It is not shown again.",
            err=True,
        )

    @group.command("list")
    def show() -> None:
        """Show all keys, without their secrets."""
        rows: list[tuple[str, ...]] = [
            ("ID", "NAME", "SCOPES", "CUSTOMER", "CREATED", "EXPIRES", "LAST USED", "STATE")
        ]
        with _own_work():
            found = keys.all_keys()
        for key in found:
            state = "valid" if key.is_valid else "revoked" if key.revoked_at else "expired"
            if key.is_valid and key.revoked_at:
                state = f"valid until {_moment(key.revoked_at)}"
            owner = str(key.customer_config_id or "all")
            moments = (_moment(at) for at in (key.created_at, key.expires_at, key.last_used_at))
            rows.append((key.id, key.name, ",".join(key.scopes), owner, *moments, state))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            click.echo(
                "  ".join(
                    f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)
                ).rstrip()
            )

    @group.command("revoke")
    @click.argument("id")
    def revoke(id: str) -> None:
        """Take the key ID back; every process refuses it within 5 seconds."""
        with _own_work():
            click.echo(f"Key {keys.revoke(_key_id(id)).id} is revoked.")

    @group.command("rotate")
    @click.argument("id")
    @click.option(
        "--grace",
        type=Age(),
        default="24h",
        show_default=True,
        help="How long the old one stays valid.",
    )
    def rotate(id: str, grace: float) -> None:
        """Make a key that may do the same as ID, and print it; the old one ends after the grace
        time."""
        with _own_work():
            old_id = _key_id(id)
            key, stored = keys.rotate(old_id, grace)
        click.echo(str(key))
        click.echo(f"Key {stored.id} for {stored.name} takes the place of {old_id}.", err=True)

    return group


def _audit() -> AppGroup:
    group = AppGroup("audit", help="See what was done, and that nobody altered the record of it.")

    @group.command("show")
    @click.argument("job", type=click.UUID)
    def show(job: UUID) -> None:
        """Show all that is recorded of JOB, every column of it, the addresses too: an event a line,
        as JSON."""
        known = False
        with _own_work():
            for event in audit.events(job):
                click.echo(event)
                known = True
        if not known:
            raise click.ClickException(f"Nothing is recorded of a job {job}")

    @group.command("verify")
    def verify() -> None:
        """Check the chain of every job's events; names the first one of each job that was changed,
        removed or added.

        A job that is not as its last event left it misses one after that. Exits with 1 where
        anything is found. Jobs may change meanwhile.
        """
        faults = []
        with _own_work():
            length = audit.count_jobs()
        with (
            _own_work(),
            click.progressbar(length=length, label="Verifying", file=sys.stderr) as bar,
        ):
            for step in audit.verify():
                faults.extend(step.faults)
                bar.update(step.jobs)
        for fault in faults:
            click.echo(f"job {fault.job_id}: event {fault.seq}: {fault.kind}")
        if faults:
            raise click.ClickException(
                f"The history of {_jobs_of(len(faults))} is not as it was written"
            )
        click.echo("The history is as it was written.")

    return group


def _key_id(text: str) -> str:
    """Return the id in `text`, which may be the whole key: who has it at hand need not take it
    apart.

    Raises KeyNotFound where it can be neither.
    """
    key_id = key_form.id_in(text)
    if key_id is None:
        raise KeyNotFound
    return key_id


def _moment(at: datetime | None) -> str:
    return "never" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


@contextmanager
def _own_work() -> Iterator[None]:
    """See all rows, and say in a line what is wrong or what the database did not do."""
    try:
        with all_customers():
            yield
    except InvalidInput as error:
        raise click.ClickException(error.faults[0]) from None
    except KeyNotFound:
        raise click.ClickException(
            "There is no such key that is valid; flask keys list shows all"
        ) from None
    except DatabaseFailure as failure:
        raise click.ClickException(f"{failure.details}; what was done stays done") from failure


def _jobs_of(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
