"""The command line `scrape-jobs`."""

import sys


def main() -> None:
    """Run the command line; exit with its exit code."""
    try:
        from scrape_jobs.cli.commands import PROGRAM, commands
    except ModuleNotFoundError as missing:
        sys.exit(f"The command line needs {missing.name}: pip install 'scrape-jobs-client[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
    commands(prog_name=PROGRAM)
