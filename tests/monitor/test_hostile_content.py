"""Jobs whose every field tries to become a part of the page."""

import pytest
from playwright.sync_api import Page, expect

from support.factories import new_domain
from support.service import Service

IMAGE = "<img src=x onerror=alert(1)>"
CLOSING = "</script><script>alert(2)</script>"


@pytest.mark.parametrize("text", [IMAGE, CLOSING])
def test_hostile_job_is_shown_as_text(page: Page, site: Service, text: str) -> None:
    domain = new_domain()
    job = site.create(domain=domain, config={text: [text]}, metadata={text: text, "tags": [text]})
    stats = {
        "pagesProcessed": text, "totalPages": text, "successfulRequests": text,
        "dataExtracted": {text: text}, "inventory": {text: text}, "performance": {"memoryUsage": text},
        "products": {"total": text, "categories": [text], "priceRange": {"min": text}},
        "errors": [{"url": text, "error": text}], text: {text: text},
    }  # fmt: skip
    site.change(job["id"], status="running", stats=stats)
    site.change(job["id"], status="failed", error_message=text)
    page.goto(f"/?domain={domain}&tag={text}")
    expect(page.locator("[data-row] .note")).to_have_text(text)
    expect(page.get_by_label("Tag")).to_have_value(text)
    page.goto(f"/jobs/{job['id']}")
    expect(page.locator(".error-message pre")).to_have_text(text)
    expect(page.locator(".timeline li.transition").first).to_contain_text(text)
    for path in ("/queue", "/statistics", "/webhooks"):
        page.goto(path)
        expect(page.locator("main h1")).to_be_visible()
    page.goto(f"/jobs/{job['id']}")
    assert page.locator("img, main script").count() == 0


def test_numbers_out_of_bounds_break_nothing(page: Page, site: Service) -> None:
    job = site.create(domain=new_domain())
    stats = {
        "pagesProcessed": -5, "totalPages": 1e308, "avgResponseTime": -1, "bytesDownloaded": 1e300,
        "dataExtracted": [1, 2], "products": 7, "inventory": None, "performance": "fast",
        "errors": {"not": "a list"}, "deep": {"a": {"b": {"c": [[[[1]]]]}}},
    }  # fmt: skip
    site.change(job["id"], status="running", stats=stats)
    page.goto(f"/jobs/{job['id']}")
    expect(page.locator(".timeline li").first).to_be_visible()
    expect(page.locator(".tree", has_text="Stats")).to_contain_text("not: a list")


def test_large_documents_are_shown_in_parts(page: Page, site: Service) -> None:
    job = site.create(domain=new_domain())
    stats = {"many": {f"key {number}": "v" * 20 for number in range(3000)}}
    site.change(job["id"], status="running", stats=stats)
    page.goto(f"/jobs/{job['id']}")
    tree = page.locator(".tree", has_text="Stats")
    tree.get_by_text("many").click()
    expect(tree.locator(".leaf")).to_have_count(200)
    tree.get_by_role("button", name="2800 more").click()
    expect(tree.locator(".leaf")).to_have_count(400)
