"""Commands that cancel and retry jobs, one or many."""

import sys
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import click

from scrape_jobs.bulk import Outcome
from scrape_jobs.cli import exit_codes
from scrape_jobs.cli.context import CommandContext, JSONCommand, pass_context
from scrape_jobs.cli.output import print_error
from scrape_jobs.cli.parameters import JobId, filter_options, given
from scrape_jobs.client import ScrapeJobs
from scrape_jobs.errors import APIError, Conflict, InvalidRequest, NotFound

MAX_COUNTED = 1000
"""The number of jobs that the question counts; more are "more than 1000"."""


def _change_command(function: Callable[..., Any]) -> click.Command:
    """Return the command with the arguments and options of changes of many jobs."""
    for add in (
        click.option("--yes", "-y", is_flag=True, help="Do not ask before several jobs change."),
        click.option("--limit", type=click.IntRange(1), help="Maximum number of jobs to select."),
        click.option("--all", "selects_all", is_flag=True, help="Select all jobs."),
        filter_options,
        click.argument("job_ids", nargs=-1, type=JobId()),
    ):
        function = add(function)
    return click.command(cls=JSONCommand)(pass_context(function))


@_change_command
@click.option("--reason", help="Reason, which the jobs show.")
def cancel(
    context: CommandContext,
    /,
    job_ids: Sequence[str],
    reason: str | None,
    yes: bool,
    **selection: Any,
) -> int:
    """Cancel jobs by id or by filters.

    Without JOB_IDS, options select among the pending, running and failed jobs; several
    options select the jobs that match all of them. Before several jobs change, the command asks;
    without a terminal it needs --yes.

    \b
    Examples: scrape-jobs cancel 01a2239c-3a3b-7351-8ca1-e552fd08cb84
              scrape-jobs cancel --domain example.com --status pending --reason "robots.txt"
    """
    api = context.client()
    if job_ids:
        _refuse_selection(selection)
        _confirm("Cancel", len(job_ids), yes)
        return _show(context, api.cancel_many(job_ids, reason=reason))
    filters, limit = _filters(selection, ("pending", "running", "failed"))
    if not yes and not _confirm_matching(api, "Cancel", filters, limit):
        return _show(context, ())
    return _show(context, api.cancel_many(reason=reason, limit=limit, **filters))


@_change_command
@click.option(
    "--delay",
    "delay_seconds",
    type=click.IntRange(0),
    metavar="SECONDS",
    help="Time until the jobs are due.",
)
@click.option(
    "--reset",
    "resets",
    is_flag=True,
    help="Count the retries from 0 again; only with JOB_IDS, one request each.",
)
def retry(
    context: CommandContext,
    /,
    job_ids: Sequence[str],
    delay_seconds: int | None,
    resets: bool,
    yes: bool,
    **selection: Any,
) -> int:
    """Retry failed jobs by id or by filters.

    Without JOB_IDS, options select among the failed jobs; several options select the jobs that
    match all of them. Before several jobs change, the command asks; without a terminal it needs
    --yes.

    \b
    Examples: scrape-jobs retry 01a2239c-3a3b-7351-8ca1-e552fd08cb84
              scrape-jobs retry --domain example.com --delay 600
    """
    api = context.client()
    if job_ids:
        _refuse_selection(selection)
        _confirm("Retry", len(job_ids), yes)
        if resets:
            return _show(context, [_reset(api, one, delay_seconds) for one in job_ids])
        return _show(context, api.retry_many(job_ids, delay_seconds=delay_seconds))
    if resets:
        raise click.UsageError("--reset needs JOB_IDS")
    filters, limit = _filters(selection, ("failed",))
    if not yes and not _confirm_matching(api, "Retry", filters, limit):
        return _show(context, ())
    return _show(context, api.retry_many(delay_seconds=delay_seconds, limit=limit, **filters))


def _refuse_selection(selection: dict[str, Any]) -> None:
    if any(selection.values()):
        raise click.UsageError("Give either JOB_IDS or options that select jobs")


def _filters(
    selection: dict[str, Any], changeable: Sequence[str]
) -> tuple[dict[str, Any], int | None]:
    """Return the filters and the limit; the statuses are those that can change."""
    limit, selects_all = selection.pop("limit"), selection.pop("selects_all")
    filters = given(selection)
    if not filters and not selects_all:
        raise click.UsageError("Name the jobs by JOB_IDS, select them by options, or give --all")
    wanted = filters.get("status", changeable)
    filters["status"] = [status for status in changeable if status in wanted]
    if not filters["status"]:
        raise click.UsageError(f"Only jobs that are {' or '.join(changeable)} can be changed")
    return filters, limit


def _confirm_matching(
    api: ScrapeJobs, verb: str, filters: dict[str, Any], limit: int | None
) -> bool:
    """Ask before the matching jobs change; return False if there are none."""
    counted = min(limit or MAX_COUNTED + 1, MAX_COUNTED + 1)
    count = sum(1 for _ in islice(api.list(limit=counted, page_size=200, **filters), counted))
    if count:
        _confirm(verb, count, yes=False)
    return count > 0


def _confirm(verb: str, count: int, yes: bool) -> None:
    """Ask before several jobs change."""
    if yes or count == 1:
        return
    jobs = f"more than {MAX_COUNTED} jobs" if count > MAX_COUNTED else f"{count} jobs"
    if not sys.stdin.isatty():
        raise click.UsageError(f"{verb} {jobs}? Without a terminal to ask, this needs --yes")
    click.confirm(f"{verb} {jobs}?", abort=True, err=True)


def _reset(api: ScrapeJobs, job_id: str, delay_seconds: int | None) -> Outcome:
    """Retry one job and count its retries from 0 again; return the outcome."""
    refused: dict[str, Any]
    try:
        job = api.retry(job_id, delay_seconds=delay_seconds, reset_retry_count=True)
    except NotFound as failure:
        refused = {"outcome": "not_found", "error": failure.error}
    except (Conflict, InvalidRequest) as failure:
        refused = {"outcome": "refused", "error": failure.error, **_details(failure)}
    else:
        return Outcome.from_json({"id": job.id, "outcome": "retried", "status": job.status})
    return Outcome.from_json({"id": job_id, **refused})


def _details(failure: APIError) -> dict[str, str]:
    return {} if failure.details is None else {"details": failure.details}


def _show(context: CommandContext, outcomes: Sequence[Outcome]) -> int:
    """Print the outcomes; return the exit code."""
    if not outcomes:
        click.echo("No jobs match.", err=True)
    for one in outcomes:
        reason = one.details or one.error
        text = f"{one.status}" if one.is_changed else f"not changed: {reason}"
        context.show(one.document, f"{one.id}  {text}")
    unchanged = [one for one in outcomes if not one.is_changed]
    if not unchanged:
        return exit_codes.COMPLETED
    if len(unchanged) > 1 or len(outcomes) > 1:
        print_error(f"{len(unchanged)} of {len(outcomes)} jobs were not changed")
    is_missing = all(one.outcome == "not_found" for one in outcomes)
    return exit_codes.NOT_FOUND if is_missing else exit_codes.FAILED
