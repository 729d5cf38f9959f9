"""The list of jobs in a browser."""

import requests
from playwright.sync_api import Page, expect

from support.factories import new_domain
from support.pages import status_of
from support.service import Service


def test_example_job_is_created_from_the_empty_list(page: Page, site: Service) -> None:
    page.goto("/?domain=" + new_domain())
    expect(page.get_by_role("heading", name="No job matches these filters")).to_be_visible()
    page.get_by_role("link", name="Clear the filters").click()
    expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
    page.get_by_role("button", name="Create an example job").click()
    expect(page.locator("[data-row]")).to_have_count(1)
    (job,) = requests.get(site.jobs, timeout=30).json()["data"]
    expect(page.get_by_role("link", name="example.com")).to_have_attribute(
        "href", f"/jobs/{job['id']}"
    )


def test_filters_are_in_the_address(page: Page, site: Service) -> None:
    domain = new_domain()
    wanted = site.create(domain=domain, job_type="price_check", metadata={"tags": ["nightly"]})
    site.create(domain=domain, job_type="other")
    page.goto("/")
    page.get_by_label("Domain").fill(domain)
    page.get_by_label("Type").fill("price_check")
    page.get_by_label("Tag").fill("nightly")
    page.get_by_label("Created from").fill("2020-01-01T00:00")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(status_of(page, wanted["id"])).to_have_text("pending")
    assert f"domain={domain}" in page.url
    assert "created_after=2020-01-01T00%3A00%3A00.000Z" in page.url
    assert "customer_config_id" not in page.url
    page.reload()
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page.get_by_label("Type")).to_have_value("price_check")
    expect(page.get_by_label("Created from")).to_have_value("2020-01-01T00:00")


def test_invalid_filter_is_explained(page: Page) -> None:
    answer = page.goto("/?domain=not%20a%20host")
    assert answer is not None
    assert answer.status == 400
    expect(page.get_by_role("alert")).to_contain_text("Invalid domain")
    expect(page.get_by_label("Domain")).to_have_value("not a host")


def test_tabs_count_jobs_by_status(page: Page, site: Service) -> None:
    domain = new_domain()
    for status in ("running", "running", None):
        job = site.create(domain=domain)
        if status:
            site.change(job["id"], status=status)
    page.goto(f"/?domain={domain}")
    expect(page.locator("[data-count=all]")).to_have_text("3")
    expect(page.locator("[data-count=running]")).to_have_text("2")
    page.get_by_role("link", name="Pending").click()
    expect(page.locator("[data-row]")).to_have_count(1)
    assert f"domain={domain}" in page.url


def test_pages_follow_each_other_without_gaps(page: Page, site: Service) -> None:
    domain = new_domain()
    batch = [{"domain": domain}] * 7
    ids = {job["id"] for job in requests.post(site.jobs, json=batch, timeout=30).json()["data"]}
    page.goto(f"/?domain={domain}&limit=3")
    seen: list[str] = []
    for size in (3, 3, 1):
        expect(page.locator("[data-row]")).to_have_count(size)
        seen += [row.get_attribute("data-row") or "" for row in page.locator("[data-row]").all()]
        if size == 3:
            page.get_by_role("link", name="Older jobs").click()
    assert len(seen) == 7
    assert set(seen) == ids
    page.get_by_role("link", name="Newest").click()
    expect(page.locator("[data-row]")).to_have_count(3)


def test_keys_move_and_mark_but_change_nothing(page: Page, site: Service) -> None:
    domain = new_domain()
    older, newer = site.create(domain=domain), site.create(domain=domain)
    page.goto(f"/?domain={domain}")
    expect(page.locator("[data-row]")).to_have_count(2)
    for key in "cdrqwzy":
        page.keyboard.press(key)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator(f'[data-row="{older["id"]}"] input')).to_be_checked()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs/{newer['id']}")
    page.go_back()
    page.keyboard.press("/")
    expect(page.get_by_label("Domain")).to_be_focused()
    page.get_by_label("Domain").blur()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    statuses = requests.get(f"{site.jobs}?domain={domain}", timeout=30).json()["data"]
    assert {job["status"] for job in statuses} == {"pending"}


def test_times_switch_between_zones(page: Page, site: Service) -> None:
    job = site.create(domain=new_domain())
    context = page.context.browser.new_context(base_url=site.url, timezone_id="Asia/Tokyo")  # type: ignore[union-attr]
    with context.new_page() as tokyo:
        tokyo.goto(f"/jobs/{job['id']}")
        created = tokyo.locator("time").first
        local = created.inner_text()
        tokyo.get_by_role("button", name="Times are in Asia/Tokyo").click()
        expect(created).not_to_have_text(local)
        assert tokyo.get_by_role("button", name="Times are in UTC").is_visible()
    context.close()
