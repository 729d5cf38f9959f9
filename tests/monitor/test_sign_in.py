"""Sessions in a browser: sign in, what a key sees and may do, sign out."""

import uuid
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from app.api_keys.scopes import Scope
from app.vault import new_key
from support.factories import new_domain
from support.keyed_api import JOBS, KeyedApi
from support.pages import tab
from support.service import Service

CUSTOMER = uuid.UUID("5d1f0d4e-0d4e-4d4e-8d4e-0d4e0d4e0d4e")


@pytest.fixture(scope="module")
def api(own_database: str) -> KeyedApi:
    """The application in this process, for keys and jobs."""
    return KeyedApi(own_database)


@pytest.fixture(scope="module")
def site(own_database: str) -> Iterator[Service]:
    """The service with keys."""
    settings = {"SCRAPE_JOBS_AUTH": "keys", "SCRAPE_JOBS_SECRETS_KEY": new_key()}
    with Service(own_database, WEB_CONCURRENCY="2", THREADS="4", **settings) as service:
        yield service


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_sign_in_leads_back_and_sign_out_ends(page: Page, site: Service, api: KeyedApi) -> None:
    job = api.make(api.admin, JOBS, {"domain": new_domain()})
    page.goto(f"/jobs/{job['id']}")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, "sjk_wrong")
    expect(page.get_by_role("alert")).to_have_text("The key is not valid")
    sign_in(page, api.admin)
    page.wait_for_url(f"**/jobs/{job['id']}")
    expect(page.locator("#connection")).to_have_text("Live")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Lax", False)
    assert api.admin not in cookie["value"]
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator("h1 + .status")).to_have_text("cancelled")
    expect(page.locator(".timeline")).to_contain_text("by key a test's key")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto("/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_reading_key_sees_no_buttons(page: Page, site: Service, api: KeyedApi) -> None:
    job = api.make(api.admin, JOBS, {"domain": new_domain()})
    page.goto("/sign-in")
    sign_in(page, api.key(Scope.JOBS_READ))
    expect(page.locator("[data-row]").first).to_be_visible()
    expect(page.get_by_role("checkbox")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel…")).to_have_count(0)
    expect(page.get_by_role("link", name="Webhooks")).to_have_count(0)
    page.goto(f"/jobs/{job['id']}")
    expect(page.get_by_role("heading", name=job["domain"])).to_be_visible()
    expect(page.get_by_role("button", name="Cancel…")).to_have_count(0)
    answer = page.goto("/webhooks")
    assert answer is not None
    assert answer.status == 403
    expect(page.get_by_text("This needs the scope webhooks:manage")).to_be_visible()


def test_bound_key_sees_its_customer_alone(page: Page, site: Service, api: KeyedApi) -> None:
    other = api.make(api.admin, JOBS, {"domain": new_domain()})
    bound = api.key(Scope.JOBS_READ, Scope.JOBS_WRITE, customer=CUSTOMER)
    own = api.make(bound, JOBS, {"domain": new_domain()})
    page.goto("/sign-in")
    sign_in(page, bound)
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page.get_by_role("link", name=own["domain"])).to_be_visible()
    expect(page.locator("[data-count=all]")).to_have_text("1")
    page.goto(f"/jobs/{other['id']}")
    expect(page.get_by_role("heading", name="Job not found")).to_be_visible()


def test_revoked_key_ends_its_session(page: Page, site: Service, api: KeyedApi) -> None:
    key = api.key(Scope.JOBS_READ)
    page.goto("/sign-in")
    sign_in(page, key)
    page.wait_for_url("**/")
    assert api.command("keys", "revoke", key.split("_")[1]).exit_code == 0
    page.wait_for_timeout(5_000)
    page.goto("/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_page_of_another_site_cannot_use_the_session(
    browser: Browser, site: Service, api: KeyedApi
) -> None:
    job = api.make(api.admin, JOBS, {"domain": new_domain()})
    with tab(browser, site.url) as page:
        page.goto("/sign-in")
        sign_in(page, api.admin)
        page.wait_for_url("**/")
        cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    path = f"{site.jobs}/{job['id']}"
    forged = [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ]
    for headers in forged:
        answer = requests.delete(path, cookies=cookies, headers=headers, timeout=30)
        assert answer.status_code == 401, headers
    read = requests.get(path, cookies=cookies, headers={"Sec-Fetch-Site": "cross-site"}, timeout=30)
    assert read.status_code == 401
    link = requests.get(site.url, cookies=cookies, headers=forged[0], timeout=30)
    assert (link.status_code, link.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    own = requests.delete(path, cookies=cookies, headers={"Origin": site.url}, timeout=30)
    assert own.status_code == 200


def test_forged_and_old_cookies_are_refused(site: Service, api: KeyedApi) -> None:
    key_id = api.admin.split("_")[1]
    for cookie in (key_id, f"{key_id}.x.y", ""):
        answer = requests.get(site.jobs, cookies={"scrape_jobs_session": cookie}, timeout=30)
        assert answer.status_code == 401
