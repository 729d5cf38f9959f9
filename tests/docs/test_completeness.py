"""Nothing that the service has is missing in its documentation."""

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import app as package
from app.api_keys.scopes import Scope
from app.http.errors import ANSWERS
from app.jobs.queries import FIELDS
from support.documents import Page
from support.service import ROOT

API = Page(ROOT / "docs" / "api.md")
OPERATIONS = Page(ROOT / "docs" / "operations.md")
ARCHITECTURE = Page(ROOT / "docs" / "architecture.md")


def test_every_endpoint_is_documented(app: Flask) -> None:
    documented = set(
        re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", API.section("Endpoints"), re.MULTILINE)
    )
    served = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert documented == served


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
    assert len(ANSWERS) > 20
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
