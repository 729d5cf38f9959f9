"""The rules of the Scrapy add-on that need no crawl."""

import pytest
from scrape_jobs.scrapy.counting import without_secrets
from scrape_jobs.scrapy.ending import decide


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("finished", "completed"),
        ("closespider_itemcount", "completed"),
        ("closespider_pagecount", "completed"),
        ("enough_products", "completed"),
        ("closespider_timeout", "failed"),
        ("closespider_errorcount", "failed"),
        ("memusage_exceeded", "failed"),
        ("another", "failed"),
        ("shutdown", "released"),
        ("scrape_job_cancelled", "cancelled"),
        ("scrape_job_lease_lost", "lease_lost"),
    ],
)
def test_the_reason_decides(reason: str, kind: str) -> None:
    end = decide(
        reason, successes=5, spider_errors=1, items=4, completed_reasons=["enough_products"]
    )
    assert end.kind == kind
    assert (reason in end.message) == (kind == "failed")


@pytest.mark.parametrize(
    ("successes", "spider_errors", "items", "message"),
    [
        (0, 0, 0, "No request succeeded"),
        (3, 3, 0, "The spider failed on all pages (3 errors)"),
        (3, 3, 1, ""),
        (3, 2, 0, ""),
    ],
)
def test_a_crawl_without_a_success_fails(
    successes: int, spider_errors: int, items: int, message: str
) -> None:
    end = decide("finished", successes=successes, spider_errors=spider_errors, items=items)
    assert (end.kind, end.message) == ("failed" if message else "completed", message)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@example.com/a?b=1#c", "https://example.com/a?b=1"),
        (
            "https://example.com/?api_key=abc&page=2",
            "https://example.com/?api_key=%2A%2A%2A&page=2",
        ),
        ("http://[::1/", "***"),
    ],
)
def test_secrets_leave_the_urls(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
