"""The page of one job in a browser."""

import re

import requests
from playwright.sync_api import Page, expect

from support.factories import new_domain
from support.service import Service


def test_job_shows_progress_figures_and_documents(page: Page, site: Service) -> None:
    job = site.create(domain=new_domain(), config={"depth": 3}, metadata={"source": "api"})
    stats = {
        "pagesProcessed": 45, "totalPages": 150, "successfulRequests": 44, "failedRequests": 1,
        "dataExtracted": {"products": 156, "images": 234},
        "products": {"total": 156, "priceRange": {"min": 9.99, "max": 1299.99, "average": 89.5}},
        "inventory": {"tracked": 156},
    }  # fmt: skip
    site.change(job["id"], status="running", stats=stats)
    page.goto(f"/jobs/{job['id']}")
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "30")
    expect(page.locator(".progress-text")).to_have_text("30 % · 45 of 150 pages")
    for figure in ("images234", "price range9.99 – 1,299.99 average 89.50", "tracked156"):
        expect(page.locator(".figure", has_text=figure)).to_have_count(1)
    expect(page.locator(".tree", has_text="Config")).to_contain_text("depth: 3")
    page.get_by_role("button", name="Copy as curl").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f'curl "{site.url}/api/scrape-jobs/{job["id"]}"'


def test_progress_without_total_or_past_it_is_true(page: Page, site: Service) -> None:
    job = site.create(domain=new_domain())
    site.change(job["id"], status="running", stats={"pagesProcessed": 12})
    page.goto(f"/jobs/{job['id']}")
    expect(page.locator(".bar")).to_have_class(re.compile("indeterminate"))
    expect(page.locator(".progress-text")).to_have_text("12 pages")
    site.change(job["id"], stats={"pagesProcessed": 6353, "totalPages": 150})
    page.reload()
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    expect(page.locator(".progress-text")).to_contain_text("6,353 of 150 pages, 6,203 more")


def test_cancel_waits_for_the_worker(page: Page, site: Service) -> None:
    domain = new_domain()
    job = site.create(domain=domain)
    claim = {"worker_id": "w1", "domains": [domain]}
    (claimed,) = requests.post(f"{site.jobs}/next", json=claim, timeout=30).json()["data"]
    page.goto(f"/jobs/{job['id']}")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator("h1 + .status")).to_have_text("running")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_label("Reason").fill("wrong shop")
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator("h1 + .status")).to_have_text("cancelled")
    expect(page.locator(".error-message")).to_contain_text("Cancelled via API: wrong shop")
    expect(page.locator("#remarks")).to_contain_text("Waiting for the worker")
    expect(page.get_by_role("button", name="Cancel…")).to_be_hidden()
    lease = {"X-Lease-Token": claimed["lease_token"]}
    requests.post(f"{site.jobs}/{job['id']}/heartbeat", headers=lease, timeout=30)
    expect(page.locator("#remarks")).to_contain_text("The worker heard it at")


def test_retry_starts_another_attempt(page: Page, site: Service) -> None:
    job = site.create(domain=new_domain())
    site.change(job["id"], status="running")
    site.change(job["id"], status="failed", error_message="HTTP 503 from the shop")
    page.goto(f"/jobs/{job['id']}")
    expect(page.locator("section", has_text="Attempts").locator("td.wrap")).to_have_text(
        "HTTP 503 from the shop"
    )
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("h1 + .status")).to_have_text("pending")
    expect(page.get_by_role("button", name="Retry")).to_be_hidden()
    expect(page.locator("#remarks")).to_contain_text("The job is the next")
    expect(page.locator(".timeline")).to_contain_text("Retried")


def test_refused_change_is_shown_and_clears(page: Page, site: Service) -> None:
    job = site.create(domain=new_domain())
    site.change(job["id"], status="running")
    page.goto(f"/jobs/{job['id']}")
    page.route("**/events*", lambda route: route.abort())  # the page does not know better
    page.get_by_role("button", name="Cancel…").click()
    site.change(job["id"], status="completed")
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_role("alert")).to_contain_text("Job is already completed")
    expect(page.locator("h1 + .status")).to_have_text("completed")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_transition_shows_its_deliveries(page: Page, site: Service) -> None:
    domain = new_domain()
    site.webhook("http://93.184.216.34:9/hook", domains=[domain])
    job = site.create(domain=domain)
    site.change(job["id"], status="running")
    page.goto(f"/jobs/{job['id']}")
    sent = page.locator(".timeline li.transition", has_text="running").locator(".deliveries li")
    expect(sent).to_contain_text("http://93.184.216.34:9/hook")


def test_missing_job_is_not_found(page: Page) -> None:
    answer = page.goto("/jobs/0190f3a0-0000-7000-8000-000000000000")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", name="Job not found")).to_be_visible()
