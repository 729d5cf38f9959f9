"""The pages of the queue, the webhooks and the statistics in a browser."""

import requests
from playwright.sync_api import Page, expect

from support.factories import new_domain
from support.receiver import Receiver
from support.service import Service, wait_until


def test_queue_explains_why_jobs_wait(page: Page, site: Service) -> None:
    domain = new_domain()
    limited = {"domain": domain, "priority": 10, "config": {"maxConcurrent": 1}}
    running, waiting = site.create(**limited), site.create(**limited)
    claim = {"worker_id": "w-queue", "domains": [domain], "lease_seconds": 600}
    requests.post(f"{site.jobs}/next", json=claim, timeout=30)
    page.goto("/queue")
    row = page.locator(f'[data-row="{waiting["id"]}"]')
    expect(row).to_contain_text(f"1 job of {domain} is running, and config.maxConcurrent allows 1")
    expect(page.locator(".limits li")).to_contain_text("1 of 1 running")
    worker = page.locator('[data-row="w-queue"]')
    expect(worker.get_by_role("link", name=domain)).to_have_attribute(
        "href", f"/jobs/{running['id']}"
    )
    expect(worker).to_contain_text("lease ends in 9 min")


def test_webhook_is_tested_redelivered_and_rotated(page: Page, site: Service) -> None:
    with Receiver() as receiver:
        made = site.webhook(f"{receiver.url}/ok", description="Catalogue")
        page.goto("/webhooks")
        card = page.locator(f'[data-row="{made["id"]}"]')
        expect(card.get_by_text("No deliveries yet.")).to_be_visible()
        card.get_by_role("button", name="Send a test").click()
        delivery = card.locator("tbody tr")
        expect(delivery.locator(".delivery")).to_have_text("delivered")
        expect(card.locator(".figure", has_text="failure rate")).to_contain_text("0 %")
        delivery.get_by_role("button", name="again").click()
        wait_until(lambda: len(receiver.received) == 2)
        card.get_by_role("button", name="Rotate the secret…").click()
        page.get_by_role("button", name="Keep it").click()
        card.get_by_role("button", name="Rotate the secret…").click()
        page.get_by_role("button", name="Rotate", exact=True).click()
        shown = page.get_by_role("dialog").locator(".secret")
        expect(shown).to_contain_text("whsec_")
        assert shown.inner_text() != made["secret"]


def test_figures_of_a_window_lead_to_their_jobs(page: Page, site: Service) -> None:
    domain = new_domain()
    for status in ("completed", "failed"):
        job = site.create(domain=domain)
        site.change(job["id"], status="running")
        reason = {"error_message": "HTTP 503 from the shop"} if status == "failed" else {}
        site.change(job["id"], status=status, **reason)
    page.goto(f"/statistics?window=1h&domain={domain}")
    expect(page.locator(".figure", has_text="success rate")).to_contain_text("50 %")
    expect(page.locator(".chart canvas")).to_have_count(3)
    expect(page.locator(".patterns")).to_contain_text("HTTP <n> from the shop")
    page.get_by_text("As a table").first.click()
    expect(page.get_by_role("region", name="Throughput as a table").locator("td")).to_have_text(
        ["2", "1"]
    )
    page.locator(".by-status a", has_text="failed").click()
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page.locator("[data-row] .status")).to_have_text("failed")
