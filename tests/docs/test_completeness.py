"""The documentation is complete, and names only things that exist."""

import dataclasses
import re
from pathlib import Path

import click
import pytest
from flask import Flask
from flask.testing import FlaskClient

import app as package
from app.api_keys.scopes import Scope
from app.config import Settings
from app.http.errors import ERROR_RESPONSES
from app.jobs.representation import FIELDS
from support.documents import Page, pages
from support.openapi import described
from support.routes import api_rules
from support.service import ROOT

API = Page(ROOT / "docs" / "api.md")
OPERATIONS = Page(ROOT / "docs" / "operations.md")
ARCHITECTURE = Page(ROOT / "docs" / "architecture.md")
CONTRIBUTING = Page(ROOT / "CONTRIBUTING.md")
SETTING = re.compile(r"\bSCRAPE_JOBS_[A-Z_]*[A-Z]\b(?!_)")
DOCUMENTS = [page for page in pages() if not page.name.startswith(("CHANGELOG", "docs/sql/"))]


def test_every_endpoint_is_documented(app: Flask) -> None:
    documented = set(
        re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", API.section("Endpoints"), re.MULTILINE)
    )
    served = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in api_rules(app)
        if not rule.rule.startswith("/api/docs/")  # the files of the page
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert documented == served


def test_every_parameter_is_documented() -> None:
    found = described().documentation.values()
    queries = [one.query for one in found if one.query is not None]
    bodies = [one.body.schema for one in found if one.body is not None]
    names = {
        field.data_key or name
        for schema in (*queries, *bodies)
        for name, field in schema.load_fields.items()
    }
    assert len(names) > 40
    assert not {name for name in names if not re.search(rf"[`\"?]{name}\b", API.text)}


def test_every_metric_is_documented(client: FlaskClient) -> None:
    text = client.get("/metrics").get_data(as_text=True)
    served = set(re.findall(r"^# TYPE (scrape_jobs_\w+) (?:counter|gauge|histogram)$", text, re.M))
    names = {name.removesuffix("_total") for name in served if not name.endswith("_created")}
    documented = set(
        re.findall(r"^\| `(scrape_jobs_\w+)` \|", OPERATIONS.section("Metrics"), re.MULTILINE)
    )
    assert documented == names


@pytest.mark.parametrize("scope", Scope)
def test_every_scope_is_documented(scope: Scope) -> None:
    assert f"| `{scope}` |" in API.section("Authentication")


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_job_is_documented(field: str) -> None:
    assert f"`{field}`" in API.section("The job")


def test_every_fixed_error_text_is_documented() -> None:
    source = Path(str(package.__file__)).with_name("http") / "errors.py"
    texts = set(re.findall(r'\(\s*\d{3},\s*"([A-Z][^"{]*)"', source.read_text()))
    assert len(texts) > 10
    assert len(ERROR_RESPONSES) > 20
    missing = {text for text in texts if text not in API.text}
    assert missing <= {"Key not found"}  # of the commands alone


def test_every_package_is_in_the_architecture() -> None:
    section = ARCHITECTURE.section("Packages and layers")
    packages = {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")}
    assert not {name for name in packages if f"`{name}/`" not in section}


def test_every_table_is_in_the_architecture(app: Flask) -> None:
    section = ARCHITECTURE.section("Tables")
    tables = app.extensions["sqlalchemy"].metadata.tables
    assert not {name for name in tables if f"`{name}`" not in section}


def test_changelog_names_the_version() -> None:
    assert f"## [{package.__version__}] - " in (ROOT / "CHANGELOG.md").read_text()


def test_every_make_target_is_documented() -> None:
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    missing = {name for name in targets if f"| `make {name}` |" not in CONTRIBUTING.text}
    assert missing <= {"help"}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_named_settings_exist(page: Page) -> None:
    of_service = {field.metadata["name"] for field in dataclasses.fields(Settings)}
    of_client = {
        name
        for path in (ROOT / "clients/python/src").rglob("*.py")
        for name in SETTING.findall(path.read_text())
    }
    assert set(SETTING.findall(page.text)) <= of_service | of_client


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_named_commands_exist(page: Page, app: Flask) -> None:
    for words in re.findall(r"\bflask (?:--app wsgi )?([a-z]+(?: [a-z-]+)?)", page.text):
        first, _, second = words.partition(" ")
        if first in ("run", "db"):  # of Flask and Flask-Migrate
            continue
        command = app.cli.commands.get(first)
        assert command is not None, f"{page.name}: flask {words}"
        if isinstance(command, click.Group):
            assert second in command.commands or not second, f"{page.name}: flask {words}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_named_files_exist(page: Page) -> None:
    named = re.findall(r"`((?:app|deploy|migrations|support|tests|docs)/[^`\s]*)`", page.text)
    real = {path for path in named if "<" not in path and "NNNN" not in path}
    assert not {path for path in real if not (ROOT / path).exists()}
