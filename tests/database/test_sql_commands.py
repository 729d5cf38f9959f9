"""The commands `flask sql`, `show`, `render` and `shell`."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import text

from app import database
from app.database import catalogue, psql
from app.database.catalogue import statements
from app.database.functions import functions
from support.service import ROOT


def flask_sql(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["sql", *words])


def test_list_names_all_statements_and_functions(app: Flask) -> None:
    done = flask_sql(app)
    assert done.exit_code == 0, done.output
    listed = [line for line in done.output.splitlines() if line[:1].strip()]
    assert listed == [*statements(), *functions()]
    assert "The migration that the database is at" in done.output


def test_show_prints_promise_parameters_and_sql(app: Flask) -> None:
    done = flask_sql(app, "show", "database_state")
    assert done.exit_code == 0, done.output
    assert done.output == catalogue.render(statements()["database_state"])
    assert done.output.startswith("-- database_state\n--\n-- The migration that the database is at")
    assert "-- Parameters: none\n\nSELECT\n    (SELECT string_agg(" in done.output


def test_show_prints_the_file_of_a_function(app: Flask) -> None:
    done = flask_sql(app, "show", "change_job_1")
    assert done.exit_code == 0, done.output
    file = ROOT / "app" / "jobs" / "sql" / "change_job_1.sql"
    assert done.output == file.read_text(encoding="utf-8")


def test_function_has_no_plan(app: Flask) -> None:
    done = flask_sql(app, "show", "change_job_1", "--explain")
    assert done.exit_code == 1
    assert "A function has no plan of its own" in done.output


@pytest.mark.parametrize("name", ["get_job", "change_job", "claim_all", "lock_totals"])
def test_explain_prints_the_plan(app: Flask, name: str) -> None:
    done = flask_sql(app, "show", name, "--explain")
    assert done.exit_code == 0, done.output
    assert "(cost=" in done.output


def test_explain_leaves_nothing_prepared(app: Flask) -> None:
    assert flask_sql(app, "show", "remove_old_jobs", "--explain").exit_code == 0
    with app.app_context(), database.db.engine.connect() as connection:
        found = connection.execute(text("SELECT name FROM pg_prepared_statements")).scalars()
        assert [name for name in found if name.startswith("explained")] == []


def test_unknown_name_is_answered_with_near_names(app: Flask) -> None:
    done = flask_sql(app, "show", "chnge_job")
    assert done.exit_code == 1
    assert "There is no statement or function chnge_job; did you mean change_job" in done.output
    assert "flask sql lists all" in flask_sql(app, "show", "zzz").output


def test_render_writes_changed_and_removes_unused(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "DOCUMENTS", tmp_path)
    assert flask_sql(app, "render").exit_code == 0
    assert {path.stem for path in tmp_path.iterdir()} == set(statements())
    (tmp_path / "get_job.sql").write_text("SELECT 2")
    (tmp_path / "no_statement.sql").write_text("SELECT 1")
    changed = ["get_job.sql", "no_statement.sql"]
    assert [path.name for path in catalogue.outdated_documents()] == changed
    done = flask_sql(app, "render")
    assert done.output == "Wrote docs/sql/get_job.sql\nRemoved docs/sql/no_statement.sql\n"
    assert catalogue.outdated_documents() == []


SHELL = """
import sys
from app.config import Settings
from app.factory import create_app
app = create_app(Settings(auth="off", rate_limit=False, database_url=sys.argv[1]))
app.cli(["sql", "shell", *sys.argv[2:]])
"""


def shell(url: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", SHELL, url, "--no-psqlrc", "-At", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_shell_opens_psql_on_the_database(database_url: str) -> None:
    done = shell(database_url, "-c", "SELECT version_num IS NOT NULL FROM alembic_version")
    assert (done.returncode, done.stdout) == (0, "t\n"), done.stderr
    assert shell(database_url, "-c", "SELECT nonsense").returncode == 1


def test_shell_hides_the_password(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = database_url.replace("postgresql://", "postgresql+psycopg2://").replace(
        "@", ":secret@", 1
    )
    calls = []

    def run(command: list[str], **options: object) -> "subprocess.CompletedProcess[str]":
        calls.append((command, options["env"]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert psql.run_psql(url, ["-c", "SELECT 1"]) == 0
    [(command, environment)] = calls
    assert "secret" not in " ".join(command)
    assert isinstance(environment, dict)
    assert environment["PGPASSWORD"] == "secret"


def test_missing_psql_is_an_error(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(psql, "programs_of", lambda _: None)
    done = flask_sql(app, "shell")
    assert done.exit_code == 1
    assert "psql is not installed" in done.output
