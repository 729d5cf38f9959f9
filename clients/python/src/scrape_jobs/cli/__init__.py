"""The command line `scrape-jobs`."""

import os
import sys

from scrape_jobs.errors import ScrapeJobsError


def main() -> None:
    """Run the command line; exit with its exit code."""
    try:
        from scrape_jobs.cli.commands import commands
    except ModuleNotFoundError as missing:
        sys.exit(f"The command line needs {missing.name}: pip install 'scrape-jobs-client[cli]'")
    try:
        commands()
    except ScrapeJobsError as failure:  # raised outside of a command's own handling
        sys.exit(str(failure))
    except BrokenPipeError:  # the reader of a pipe has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
