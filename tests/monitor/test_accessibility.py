"""Each page passes axe-core, in both colour schemes and on a phone."""

import re
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from support.factories import new_domain
from support.pages import tab
from support.service import Service

SERIOUS = ("serious", "critical")

PAGES = [
    "/",
    "/?status=failed&tag=none",
    "/jobs/{job}",
    "/queue",
    "/webhooks",
    "/statistics",
    "/sign-in",
    "/jobs/x",
]


@pytest.fixture(scope="module")
def job(site: Service) -> str:
    """The id of a job with every part that its page has, among jobs of each status."""
    domain = new_domain()
    site.webhook("http://93.184.216.34/hook", domains=[domain])
    for status in ("pending", "running", "completed", "failed", "cancelled"):
        made = site.create(domain=domain)["id"]
        if status in ("completed", "failed", "running"):
            site.change(made, status="running")
        if status in ("completed", "failed", "cancelled"):
            site.change(made, status=status)
    job = site.create(domain=domain, config={"depth": 3}, metadata={"tags": ["a"]})["id"]
    site.change(job, status="running")
    for pages in (1, 2, 3):
        site.change(
            job, stats={"pagesProcessed": pages, "totalPages": 9, "dataExtracted": {"a": 1}}
        )
    site.change(job, error_message="Timeout")
    return str(job)


def serious_faults(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_pages_have_no_serious_faults(
    browser: Browser, site: Service, job: str, scheme: Literal["light", "dark"], width: int
) -> None:
    viewport = {"width": width, "height": 800}
    with tab(browser, site.url, color_scheme=scheme, viewport=viewport) as page:
        for path in PAGES:
            page.goto(path.format(job=job))
            expect(page).to_have_title(re.compile("Scrape Jobs"))
            page.wait_for_timeout(400)
            assert serious_faults(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_dialogs_have_no_serious_faults(page: Page, job: str) -> None:
    page.goto(f"/jobs/{job}")
    page.get_by_role("button", name="Cancel…").click()
    assert serious_faults(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keyboard help").click()
    assert serious_faults(page) == []
