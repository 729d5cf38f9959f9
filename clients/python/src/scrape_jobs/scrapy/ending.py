"""The rule that turns the closing reason of a spider into the result of its job."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

COMPLETED_REASONS = frozenset({"closespider_itemcount", "closespider_pagecount"})
"""Limits that the user has set: the crawl did what it was asked to do."""


@dataclass(frozen=True, slots=True)
class CrawlEnd:
    """The result of a crawl, with the error message if it failed."""

    kind: Literal["completed", "failed", "cancelled", "released", "lease_lost"]
    message: str = ""


def decide(
    reason: str,
    *,
    successes: int,
    spider_errors: int,
    items: int,
    completed_reasons: Collection[str] = (),
) -> CrawlEnd:
    """Return the result of a crawl.

    Args:
        reason: The reason with which Scrapy closed the spider.
        successes: The pages that were downloaded.
        spider_errors: The exceptions of the spider.
        items: The items that were scraped.
        completed_reasons: Further reasons that count as completed.
    """
    match reason:
        case "scrape_job_cancelled":
            return CrawlEnd("cancelled")
        case "scrape_job_lease_lost":
            return CrawlEnd("lease_lost")
        case "shutdown":
            return CrawlEnd("released")
        case "finished" if successes == 0:
            return CrawlEnd("failed", "No request succeeded")
        case "finished" if spider_errors >= successes and items == 0:
            return CrawlEnd("failed", f"The spider failed on all pages ({spider_errors} errors)")
        case "finished":
            return CrawlEnd("completed")
    if reason in COMPLETED_REASONS or reason in completed_reasons:
        return CrawlEnd("completed")
    return CrawlEnd("failed", f"The crawl was closed: {reason}")
