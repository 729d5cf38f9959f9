"""The page at /api/docs: complete in itself, under a strict policy, and readable by a browser."""

import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser

from app.openapi.assets import FOLDER
from app.openapi.page import POLICY
from support.pages import running_browser
from support.service import Service

LIBRARY = FOLDER / "swagger-ui"
HASHES = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
"""SHA-256 of the files in the package swagger-ui-dist of npm, version 5.35.0."""


class References(HTMLParser):
    """The files that a page refers to, and its scripts and styles that are not files."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.files: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        file = values.get("src") or (values.get("href") if tag == "link" else None)
        if file:
            self.files.append(file)
        elif tag in ("script", "style"):
            self.inline.append(tag)
        self.inline += [name for name in values if name == "style" or name.startswith("on")]


def test_page_has_files_of_the_service_only(client: FlaskClient) -> None:
    page = client.get("/api/docs")
    assert page.headers["Content-Security-Policy"] == POLICY
    assert "unsafe" not in POLICY
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    found = References(page.text)
    assert found.inline == []
    files = [file for file in found.files if file != "data:,"]
    assert len(files) == 4
    for file in files:
        answer = client.get(f"/api/{file}")
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Content-Type"].startswith(("text/javascript", "text/css"))
        digest = hashlib.sha256(answer.data).hexdigest()
        assert re.fullmatch(rf"docs/[a-z-]+\.{digest[:12]}\.(js|css)", file)


@pytest.mark.parametrize("name", ["swagger-ui.css", "docs.0123456789ab.js", "..%2Fpage.py"])
def test_other_names_are_not_found(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/api/docs/{name}")
    assert answer.status_code == 404
    assert answer.get_json()["success"] is False
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", HASHES)
def test_library_is_as_published(name: str) -> None:
    assert hashlib.sha256((LIBRARY / name).read_bytes()).hexdigest() == HASHES[name]


def test_library_has_its_license() -> None:
    assert "Apache License" in (LIBRARY / "LICENSE").read_text()
    assert "SmartBear" in (LIBRARY / "NOTICE").read_text()
    assert "5.35.0" in (LIBRARY / "README.md").read_text()


@pytest.fixture
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.mark.parametrize("width", [1280, 390])
def test_page_lists_and_tries_operations(browser: Any, service: Service, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: _note_foreign(request.url, service, problems))
    page.goto(f"{service.url}/api/docs")
    creation = page.locator("#operations-jobs-createJobs")
    creation.locator(".opblock-summary-control").click()
    creation.get_by_role("button", name="Try it out").click()
    creation.get_by_role("button", name="Execute").click()
    status = creation.locator(".live-responses-table .response-col_status").last
    assert status.inner_text().split()[0] == "201"
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert problems == []
    page.close()


def _note_foreign(url: str, service: Service, problems: list[str]) -> None:
    if not url.startswith((service.url, "data:")):
        problems.append(url)
