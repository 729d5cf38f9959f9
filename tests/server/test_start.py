"""The settings at the start of a process, and the commands that print them."""

import subprocess
import sys

import pytest

from app.config import Settings
from app.server.settings import read_settings
from app.vault import is_key
from app.webhooks.signing import is_secret
from support.service import ROOT, environment

URL_NEEDED = "DATABASE_URL: must be a URL such as postgresql://user@host/name"


def run(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    settings = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing", **settings}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_command_prints_every_setting() -> None:
    done = run("-m", "flask", "--app", "wsgi", "settings")
    assert (done.returncode, done.stdout) == (0, f"{Settings.as_text()}\n")
    done = run("-m", "flask", "--app", "wsgi", "settings", "--markdown")
    assert (done.returncode, done.stdout) == (0, f"{Settings.as_markdown()}\n")


@pytest.mark.parametrize("command", [["-c", "import wsgi"], ["-m", "gunicorn", "wsgi:app"]])
def test_service_does_not_start_with_invalid_settings(command: list[str]) -> None:
    done = run(*command, PORT="http", THREADS="many", SCRAPE_JOBS_WEBHOOK_SECRET="x")
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert (
        "PORT: must be a whole number from 1 to 65535\n"
        "SCRAPE_JOBS_WEBHOOK_SECRET: must be whsec_ and 24 to 64 bytes in base64\n"
        "THREADS: must be a whole number from 1 to 256\n"
    ) in output
    assert "Traceback" not in output


def test_fault_of_database_url_does_not_contain_it() -> None:
    done = run("-c", "import wsgi", DATABASE_URL="secret-nonsense")
    assert (done.returncode, done.stderr) == (1, f"{URL_NEEDED}\n")


def test_webhooks_help_lists_its_commands() -> None:
    done = run("-m", "flask", "--app", "wsgi", "webhooks", "--help")
    assert done.returncode == 0
    for command in ("dispatch", "new-secret", "new-key"):
        assert f"  {command} " in done.stdout


def test_printed_secrets_and_keys_are_valid_settings() -> None:
    secret, key = (
        run("-m", "flask", "--app", "wsgi", "webhooks", name) for name in ("new-secret", "new-key")
    )
    assert (secret.returncode, key.returncode) == (0, 0)
    assert is_secret(secret.stdout.removesuffix("\n"))
    assert is_key(key.stdout.removesuffix("\n"))
    settings = read_settings(
        {
            "SCRAPE_JOBS_WEBHOOK_SECRET": secret.stdout.strip(),
            "SCRAPE_JOBS_SECRETS_KEY": key.stdout.strip(),
        }
    )
    assert settings.secrets_keys == (key.stdout.strip(),)
