"""Changes of many jobs from the list."""

import requests
from playwright.sync_api import Page, expect

from support.factories import new_domain
from support.pages import status_of
from support.service import Service


def test_marked_jobs_are_cancelled_with_outcomes(page: Page, site: Service) -> None:
    domain = new_domain()
    kept, done, gone = (site.create(domain=domain) for _ in range(3))
    site.change(done["id"], status="running")
    page.goto(f"/?domain={domain}")
    for job in (done, gone):
        page.locator(f'[data-row="{job["id"]}"]').get_by_role("checkbox").check()
    expect(page.locator("#marked")).to_have_text("2 marked")
    site.change(done["id"], status="completed")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_label("Reason").fill("season over")
    page.get_by_role("button", name="Cancel the jobs").click()
    expect(page.locator("#result")).to_contain_text("1 cancelled, 1 already completed")
    expect(status_of(page, gone["id"])).to_have_text("cancelled")
    expect(status_of(page, kept["id"])).to_have_text("pending")
    job = requests.get(f"{site.jobs}/{gone['id']}", timeout=30).json()["data"]
    assert job["error_message"] == "Cancelled via API: season over"


def test_all_that_match_are_retried(page: Page, site: Service) -> None:
    domain = new_domain()
    jobs = [site.create(domain=domain, max_retries=number) for number in (0, 3, 3)]
    for job in jobs:
        site.change(job["id"], status="running")
        site.change(job["id"], status="failed")
    page.goto(f"/?domain={domain}&status=failed")
    page.get_by_role("button", name="Retry…").click()
    expect(page.get_by_role("radio", name="All that match")).to_be_checked()
    page.get_by_role("button", name="Retry the jobs").click()
    expect(page.locator("#result")).to_contain_text("2 retried, 1 without a retry left")


def test_without_marks_or_filter_nothing_can_be_changed(page: Page, site: Service) -> None:
    site.create(domain=new_domain())
    page.goto("/")
    expect(page.locator("[data-row]").first).to_be_visible()
    expect(page.get_by_role("button", name="Cancel…")).to_be_disabled()
    expect(page.get_by_role("button", name="Retry…")).to_be_disabled()
