"""The commands, and the options that they share."""

import click

from scrape_jobs import __version__
from scrape_jobs.cli.context import CommandContext
from scrape_jobs.cli.jobs import cancel, create, get, history, list_jobs, queue, retry, stats
from scrape_jobs.cli.listening import webhooks
from scrape_jobs.cli.waiting import wait, watch
from scrape_jobs.cli.working import work

COMPLETION_VARIABLE = "_SCRAPE_JOBS_COMPLETE"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="SCRAPE_JOBS_URL", show_envvar=True, help="Address of the service.")
@click.option("--key", envvar="SCRAPE_JOBS_KEY", show_envvar=True, help="API key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one document per line.")
@click.version_option(__version__, package_name="scrape-jobs-client")
@click.pass_context
def commands(context: click.Context, url: str | None, key: str | None, as_json: bool) -> None:
    """Work with the jobs of a Scrape Job API.

    Exit codes: 0 success, 1 the job failed or could not be changed, 2 wrong usage, 3 the job was
    cancelled, 4 not found, 5 the service refused or cannot be reached, 6 timed out.
    """
    context.obj = CommandContext(url, key, as_json)


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    Add to ~/.bashrc: eval "$(scrape-jobs completion bash)"
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(commands, {}, "scrape-jobs", COMPLETION_VARIABLE).source())


for command in (
    create, get, list_jobs, watch, wait, cancel, retry, stats, history, queue, work, webhooks,
):  # fmt: skip
    commands.add_command(command)
