"""The live connection of the pages."""

import time
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from support.factories import new_domain
from support.pages import status_of, tab
from support.service import Service, free_port


@pytest.fixture
def other_page(browser: Browser, site: Service) -> Iterator[Page]:
    """A tab of another user."""
    with tab(browser, site.url) as page:
        yield page


def test_progress_moves_while_the_page_is_open(page: Page, site: Service) -> None:
    job = site.create(domain=new_domain())
    page.goto(f"/jobs/{job['id']}")
    expect(page.locator("#connection")).to_have_text("Live")
    site.change(job["id"], status="running", stats={"pagesProcessed": 0, "totalPages": 100})
    for pages in (30, 50, 80):
        site.change(job["id"], stats={"pagesProcessed": pages, "totalPages": 100})
        bar = page.get_by_role("progressbar")
        expect(bar).to_have_attribute("aria-valuenow", str(pages))
    expect(page.locator("#announcements")).to_contain_text("75 percent")
    site.change(job["id"], status="completed")
    expect(page.locator("#announcements")).to_contain_text("is completed")
    expect(page.locator(".timeline li.transition")).to_have_count(3)
    expect(page.locator(".chart canvas")).to_be_visible()


@pytest.mark.timed
def test_two_browsers_see_the_same_change(page: Page, other_page: Page, site: Service) -> None:
    domain = new_domain()
    job = site.create(domain=domain)
    for one in (page, other_page):
        one.goto(f"/?domain={domain}")
        expect(one.locator("#connection")).to_have_text("Live")
    site.change(job["id"], status="running")
    changed = time.monotonic()
    for one in (page, other_page):
        expect(status_of(one, job["id"])).to_have_text("running")
    assert time.monotonic() - changed < 3  # a second on an idle machine; without the stream 5 s


def test_rows_keep_their_place_and_marks(page: Page, site: Service) -> None:
    domain = new_domain()
    first, second = site.create(domain=domain), site.create(domain=domain)
    page.goto(f"/?domain={domain}&status=pending")
    expect(page.locator("#connection")).to_have_text("Live")
    page.locator(f'[data-row="{first["id"]}"]').get_by_role("checkbox").check()
    page.get_by_role("button", name="Cancel…").click()
    site.change(first["id"], status="running")
    site.create(domain=domain)
    expect(status_of(page, first["id"])).to_have_text("running")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("button", name="Keep them").click()
    expect(page.get_by_role("button", name="1 new – show")).to_be_visible()
    expect(page.locator("[data-count=running]")).to_have_text("1")
    rows = [row.get_attribute("data-row") for row in page.locator("[data-row]").all()]
    assert rows == [second["id"], first["id"]]
    assert page.locator(f'[data-row="{first["id"]}"]').get_by_role("checkbox").is_checked()
    page.get_by_role("button", name="1 new – show").click()
    expect(page.locator("[data-row]")).to_have_count(2)  # the running one has left the filter


def test_refused_stream_is_replaced_by_polling(browser: Browser, site: Service) -> None:
    job = site.create(domain=new_domain())
    with tab(browser, site.url) as page:
        refusals = 0

        def refuse(route: object) -> None:
            nonlocal refusals
            refusals += 1
            route.fulfill(status=503, headers={"Retry-After": "2"}, json={"success": False})  # type: ignore[attr-defined]

        page.route("**/events*", refuse)
        page.goto(f"/jobs/{job['id']}")
        expect(page.locator("#connection")).to_contain_text("asks every 5 s")
        site.change(job["id"], status="running")
        expect(page.locator("h1 + .status")).to_have_text("running")
        page.unroute("**/events*")
        expect(page.locator("#connection")).to_have_text("Live")
        assert refusals >= 1


def test_hidden_page_closes_its_stream(page: Page, site: Service) -> None:
    job = site.create(domain=new_domain())
    page.goto(f"/jobs/{job['id']}")
    expect(page.locator("#connection")).to_have_text("Live")
    ended: list[str] = []
    page.on("requestfailed", lambda request: ended.append(request.url))
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(300)
    assert any("/events" in url for url in ended)
    site.change(job["id"], status="running")
    with page.expect_request("**/events*") as opened:
        page.evaluate(hide, False)
    assert "last_event_id=" in opened.value.url
    expect(page.locator("h1 + .status")).to_have_text("running")


@pytest.mark.slow
def test_page_survives_a_restart_and_misses_nothing(browser: Browser, own_database: str) -> None:
    port = str(free_port())
    settings = {"PORT": port, "WEB_CONCURRENCY": "1", "THREADS": "4"}
    with tab(browser, f"http://127.0.0.1:{port}") as page:
        with Service(own_database, **settings) as service:
            job = service.create(domain=new_domain())
            stats = {"pagesProcessed": 1, "totalPages": 50}
            service.change(job["id"], status="running", stats=stats)
            page.goto(f"/jobs/{job['id']}")
            expect(page.locator("#connection")).to_have_text("Live")
        with Service(own_database, **settings) as service:
            for pages in range(2, 6):
                service.change(job["id"], stats={"pagesProcessed": pages, "totalPages": 50})
            expect(page.locator("#connection")).to_have_text("Live", timeout=20_000)
            expect(page.locator(".progress-text")).to_contain_text("5 of 50", timeout=20_000)
            stored = requests.get(f"{service.jobs}/{job['id']}/history", timeout=30).json()["data"]
            expect(page.locator(".timeline > li")).to_have_count(len(stored))
            assert len(stored) == 6
