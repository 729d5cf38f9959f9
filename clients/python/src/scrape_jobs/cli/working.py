"""The command `work`: runs any program for each claimed job."""

import json
import logging
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from scrape_jobs.cli.context import CommandContext, JSONCommand, pass_context
from scrape_jobs.cli.programs import Program, ProgramRun, print_line


@click.command(cls=JSONCommand, context_settings={"allow_interspersed_args": False})
@click.option("--type", "job_types", multiple=True, help="Type of the jobs to claim; repeatable.")
@click.option("--domain", "domains", multiple=True, help="Domain of the jobs; repeatable.")
@click.option(
    "--concurrency",
    "-c",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Maximum number of jobs at the same time.",
)
@click.option(
    "--lease",
    type=click.IntRange(5, 3600),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Time without a heartbeat after which another worker gets the job.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=25,
    show_default=True,
    metavar="SECONDS",
    help="Time that running programs have to end after SIGTERM; then their jobs are given back.",
)
@click.option("--name", "worker_id", help="Name of the worker, which the jobs show.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_context
def work(
    context: CommandContext,
    /,
    command: Sequence[str],
    job_types: Sequence[str],
    domains: Sequence[str],
    **options: Any,
) -> None:
    """Claim jobs and run COMMAND for each of them.

    COMMAND gets the job as a line of JSON on standard input, and as SCRAPE_JOB_ID,
    SCRAPE_JOB_DOMAIN, SCRAPE_JOB_TYPE and SCRAPE_JOB_ATTEMPT in its environment. Each line of its
    standard output that is a JSON object is reported as progress, such as {"pagesProcessed": 5,
    "totalPages": 20}. Other lines are printed.

    \b
    Exit codes of COMMAND:
      0      the job is completed
      75     the job is sent back to the queue; a retry is counted
      other  the job fails with the last line of standard error

    After a cancel, COMMAND and the processes that it has started get SIGTERM, and SIGKILL 5 seconds
    later. Processes that it leaves behind are ended, too.

    SIGTERM and Ctrl-C end the worker: it claims no more jobs and waits for the running ones. A
    second Ctrl-C gives them back at once.

    Example: scrape-jobs work --type crawl -- python crawl.py
    """
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"{command[0]!r} is not a program, or cannot be executed")
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", stream=sys.stderr)
    worker = context.client().worker(
        job_types=job_types or None, domains=domains or None, **options
    )

    def show(run: ProgramRun) -> None:
        if context.as_json:
            print_line(json.dumps(run.document), is_err=False)

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup
        # The programs have sessions of their own, so that the end of the terminal spares them.
        signal.signal(signal.SIGHUP, lambda *_: worker.stop())
    # With --json standard output has nothing but results.
    with Program(command, on_end=show, output_is_err=context.as_json) as program:
        worker.handler(program)
        worker.run()
