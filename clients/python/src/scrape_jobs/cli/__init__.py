"""The command line `scrape-jobs`."""

import io
import sys


def main() -> None:
    """Run the command line; exit with its exit code."""
    try:
        from scrape_jobs.cli.commands import PROGRAM, commands
    except ModuleNotFoundError as missing:
        sys.exit(f"The command line needs {missing.name}: pip install 'scrape-jobs-client[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # texts of jobs may be in any language
    commands(prog_name=PROGRAM)
