"""The commands, the options that they share, and the exit codes of failures."""

import os
import sys

import click
from click.shell_completion import get_completion_class

from scrape_jobs import __version__
from scrape_jobs.cli import exit_codes
from scrape_jobs.cli.changing import cancel, retry
from scrape_jobs.cli.context import CommandContext
from scrape_jobs.cli.jobs import create, get, history, list_jobs, queue
from scrape_jobs.cli.listening import webhooks
from scrape_jobs.cli.output import print_error
from scrape_jobs.cli.statistics import stats
from scrape_jobs.cli.waiting import wait, watch
from scrape_jobs.cli.working import work
from scrape_jobs.errors import NotFound, ScrapeJobsError

PROGRAM = "scrape-jobs"

COMPLETION_VARIABLE = "_SCRAPE_JOBS_COMPLETE"


class _Program(click.Group):
    """The program: prints a failure as one line, and ends with the exit code of the command."""

    def invoke(self, context: click.Context) -> None:
        """Run the command that the arguments name; a command returns its exit code or None."""
        try:
            code = super().invoke(context)
        except NotFound as failure:
            print_error(failure.error)
            code = exit_codes.NOT_FOUND
        except ScrapeJobsError as failure:
            print_error(str(failure))
            code = exit_codes.SERVICE
        except KeyboardInterrupt:
            code = exit_codes.INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = exit_codes.BROKEN_PIPE
        context.exit(code or 0)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="SCRAPE_JOBS_URL", show_envvar=True, help="Address of the service.")
@click.option("--key", envvar="SCRAPE_JOBS_KEY", show_envvar=True, help="API key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one document per line.")
@click.version_option(__version__, package_name="scrape-jobs-client")
@click.pass_context
def commands(context: click.Context, url: str | None, key: str | None, as_json: bool) -> None:
    """Work with the jobs of a Scrape Job API.

    \b
    Exit codes:
      0    success; wait, watch: completed
      1    wait, watch: failed; cancel, retry: a job could not be changed
      2    wrong usage
      3    wait, watch: cancelled
      4    not found
      5    the service refused the request or cannot be reached
      6    wait: the job is not over in time
      130  Ctrl-C
    """
    context.obj = CommandContext(url, key, as_json)


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash: eval "$(scrape-jobs completion bash)"      in ~/.bashrc
    zsh:  eval "$(scrape-jobs completion zsh)"       in ~/.zshrc, after compinit
    fish: scrape-jobs completion fish | source       in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(commands, {}, PROGRAM, COMPLETION_VARIABLE).source())


for command in (
    create, get, list_jobs, watch, wait, cancel, retry, stats, history, queue, work, webhooks,
):  # fmt: skip
    commands.add_command(command)
