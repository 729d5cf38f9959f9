"""A real browser on the monitor's pages: Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip

SECONDS = 20
"""How long an expectation waits for the page."""


def chromium() -> str:
    """Return the path of the machine's Chromium; without one skip the test, in CI fail it."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        assert "CI" not in os.environ, "Chromium is not installed"
        pytest.skip("Chromium is not installed: the tests of the pages need it")
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Chromium without a window."""
    program = chromium()
    expect.set_options(timeout=SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def tab(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Open a tab with cookies of its own, which fails the test if a script of a page fails.

    Args:
        browser: The browser.
        url: The address of the service; the tab opens paths relative to it.
        options: Options of the tab, such as `color_scheme`.
    """
    context = browser.new_context(base_url=url, **options)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.extend(_policy_violation(message.text)))
    page.on("dialog", lambda dialog: failures.append(f"a script ran: {dialog.message}"))
    try:
        yield page
    finally:
        context.close()
    assert failures == []


def _policy_violation(text: str) -> list[str]:
    return [text] if "Content Security Policy" in text else []


def status_of(page: Page, job_id: str) -> Any:
    """Return the chip with the status of a job in the list."""
    return page.locator(f'[data-row="{job_id}"] .status')
