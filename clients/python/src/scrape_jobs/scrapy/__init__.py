"""Scrapy add-on: reports a crawl as a scrape job. Enable it with one setting.

ADDONS = {"scrape_jobs.scrapy.Addon": 0}
"""

from typing import Any

from scrape_jobs.scrapy.counting import CrawlCounters
from scrape_jobs.scrapy.extension import CrawlReporter

__all__ = ["Addon"]

NEXT_TO_ENGINE = 1
"""The place in DOWNLOADER_MIDDLEWARES that sees each request that was given up, and only once."""


class Addon:
    """Adds the reporter and the counters to a crawler."""

    def update_settings(self, settings: Any) -> None:
        """Enable the extension and the downloader middleware."""
        settings["EXTENSIONS"][CrawlReporter] = 0
        settings["DOWNLOADER_MIDDLEWARES"][CrawlCounters] = NEXT_TO_ENGINE
