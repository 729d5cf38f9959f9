"""The command `completion`: scripts for shells."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.command_line import CommandLine


def test_bash_completes_commands_and_options(cli: CommandLine, tmp_path: Path) -> None:
    program = tmp_path / "scrape-jobs"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m scrape_jobs.cli "$@"\n')
    program.chmod(0o755)
    script = tmp_path / "completion"
    script.write_text(cli("completion", "bash").stdout)
    subprocess.run(["bash", "-n", script], check=True, timeout=30)
    calls = """
        source "$0"
        complete -p scrape-jobs
        for words in "ca" "list --st" "list --status f" "webhooks l"; do
            COMPREPLY=()
            COMP_WORDS=(scrape-jobs $words) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _scrape_jobs_completion scrape-jobs
            echo "${COMPREPLY[@]}"
        done
    """
    path = cli.environment()["PATH"]
    result = subprocess.run(
        ["bash", "-c", calls, script],
        env=cli.environment(PATH=f"{tmp_path}:{path}"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    registered, *completed = result.stdout.splitlines()
    assert "_scrape_jobs_completion scrape-jobs" in registered
    assert completed == ["cancel", "--status", "failed", "listen"]


@pytest.mark.parametrize(
    ("shell", "beginning"),
    [("zsh", "#compdef scrape-jobs\n"), ("fish", "function _scrape_jobs_completion;\n")],
)
def test_other_shells_have_scripts(cli: CommandLine, shell: str, beginning: str) -> None:
    result = cli("completion", shell)
    assert result.exit_code == 0
    assert result.stdout.startswith(beginning)
    assert f"_SCRAPE_JOBS_COMPLETE={shell}_complete" in result.stdout
    assert cli("completion", "tcsh").exit_code == 2
