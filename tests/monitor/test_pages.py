"""The answers with pages and static files, without a browser."""

import json
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import app.monitor.assets as assets
from app.api_keys.scopes import Scope
from app.http.operation import operation_of
from support.documents import Page
from support.envelope import failure_body
from support.factories import make_job, new_domain
from support.routes import page_rules
from support.service import ROOT

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

PAGES = ["/", "/queue", "/statistics", "/webhooks", "/sign-in"]

SCRIPTS = sorted(assets.FOLDER.glob("js/*.js"))


@pytest.mark.parametrize("path", [*PAGES, "/jobs/x", "/statistics?window=7d&domain=example.com"])
def test_page_allows_only_its_own_files(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers.getlist("Content-Security-Policy") == [POLICY]
    assert answer.headers.getlist("Referrer-Policy") == ["same-origin"]
    assert answer.headers.getlist("Cache-Control") == ["no-store"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    tags = re.findall(r"<[^>]*>", re.sub(r'id="page-data">.*?</script>', "", answer.text))
    assert not [tag for tag in tags if re.search(r"\s(style|on\w+)=", tag)]
    assert all(
        "src=" in tag or 'type="application/json"' in tag
        for tag in re.findall(r"<script[^>]*>", answer.text)
    )
    addresses = re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', answer.text)
    assert addresses
    for address in addresses:
        assert client.get(address).status_code == 200, address


def first_answers(text: str) -> dict[str, object]:
    found = re.search(r'id="page-data">(.*?)</script>', text)
    assert found
    first: dict[str, object] = json.loads(found[1])["first"]
    return first


def test_first_data_are_the_answers_of_the_api(client: FlaskClient) -> None:
    job = make_job(client, domain=new_domain(), metadata={"b": 1, "a": 2})
    path = f"/api/scrape-jobs/{job['id']}"
    first = first_answers(client.get(f"/jobs/{job['id']}").text)
    assert first["job"] == client.get(path).get_json()
    assert list(client.get(path).get_json()["data"]) == list(first["job"]["data"])  # type: ignore[index]
    assert first["history"] == client.get(f"{path}/history").get_json()
    listed = first_answers(client.get(f"/?domain={job['domain']}&limit=&tag=").text)
    assert [one["id"] for one in listed["jobs"]["data"]] == [job["id"]]  # type: ignore[index]
    assert "metadata" not in listed["jobs"]["data"][0]  # type: ignore[index]
    assert listed["counts"]["data"]["by_status"]["pending"] == 1  # type: ignore[index]


def test_markup_in_data_stays_data(client: FlaskClient) -> None:
    job = make_job(client, domain=new_domain(), metadata={"x": "</script><b>&'\u2028"})
    text = client.get(f"/jobs/{job['id']}").text
    assert "</script><b>" not in text
    assert first_answers(text)["job"]["data"]["metadata"] == job["metadata"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/jobs/0190f3a0-0000-7000-8000-000000000000", 404, "Job not found"),
        ("/jobs/x", 400, "Invalid id: must be a UUID"),
        ("/?limit=0", 400, "Invalid limit: must be an integer from 1 to 200"),
        ("/?_scheme=javascript&_external=1", 400, "Unknown field: _scheme"),
    ],
)
def test_page_of_a_failure_has_its_status(
    client: FlaskClient, path: str, status: int, error: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert error in answer.text
    assert "javascript:" not in answer.text


@pytest.mark.parametrize(
    "path", ["/jobs", "/jobs/", "/static/x.css", "/index.html", "/queue/", "/sign-in/x"]
)
def test_unknown_route_stays_json(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert failure_body(answer)["error"] == "Not found"


def test_static_files_are_kept_for_a_year(client: FlaskClient) -> None:
    found = re.search(r'href="(/static/(\w+)/monitor\.css)"', client.get("/").text)
    assert found
    answer = client.get(found[1])
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    other = client.get(found[1].replace(found[2], "0" * 16))
    assert other.headers["Cache-Control"] == "no-cache"
    assert other.data == answer.data


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "../routes.py",
        "js/../../routes.py",
        "%2e%2e/routes.py",
        "vendor/uplot/LICENSE",
    ],
)
def test_other_files_are_not_sent(client: FlaskClient, name: str) -> None:
    assert client.get(f"/static/0/{name}").status_code == 404


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_name_only_files_of_this_site(script: Path) -> None:
    text = script.read_text()
    for name in re.findall(r'from "([^"]+)"', text):
        assert (script.parent / name).is_file(), name
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert "://" not in re.sub(r'"http://www\.w3\.org/2000/svg"|https://example\.com', "", text)


def test_every_page_declares_its_scope(app: Flask) -> None:
    scopes = {
        rule.rule: set(declared.scopes)
        for rule in page_rules(app)
        if (declared := operation_of(app.view_functions[rule.endpoint])) and not declared.is_open
    }
    read, manage = {Scope.JOBS_READ}, {Scope.WEBHOOKS_MANAGE}
    assert scopes == {
        "/": read, "/jobs/<id>": read, "/queue": read, "/statistics": read, "/webhooks": manage
    }  # fmt: skip


def test_every_page_is_documented(app: Flask) -> None:
    section = Page(ROOT / "docs" / "monitor.md").section("Pages")
    paths = {
        rule.rule.replace("<id>", "{id}")
        for rule in page_rules(app)
        if rule.methods and "GET" in rule.methods
    }
    assert not {path for path in paths if "static" not in path and f"| `{path}` |" not in section}
