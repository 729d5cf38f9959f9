"""The statistics of a crawl, in the names of the API, from Scrapy's own counters."""

import re
import sys
import time
from collections import Counter, deque
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from scrapy import signals
from scrapy.exceptions import IgnoreRequest
from scrapy.http.request import NO_CALLBACK

MAX_ERRORS = 100
"""The newest errors that are kept."""

MAX_ERROR_TEXT = 500

URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s<>\"']+", re.IGNORECASE)

SECRET_PARAMETERS = frozenset(
    {"token", "access_token", "key", "api_key", "apikey", "secret", "password", "sig", "signature"}
)


class CrawlCounters:
    """A downloader middleware that counts what Scrapy's own statistics lack.

    It stands next to the engine: a request that fails there is given up for good.
    """

    def __init__(self, crawler: Any) -> None:
        self._crawler = crawler
        self._started = time.monotonic()
        self.given_up = 0
        self.latency_seconds = 0.0
        self.responses = 0
        self.spider_errors = 0
        self.items: Counter[str] = Counter()
        self.errors: deque[dict[str, str]] = deque(maxlen=MAX_ERRORS)

    @classmethod
    def from_crawler(cls, crawler: Any) -> Self:
        """Return the counters of a crawler, which its extensions find in `crawl_counters`."""
        counters = cls(crawler)
        crawler.crawl_counters = counters
        connect = crawler.signals.connect
        connect(counters.count_response, signal=signals.response_received)
        connect(counters.count_spider_error, signal=signals.spider_error)
        connect(counters.count_item, signal=signals.item_scraped)
        return counters

    def process_exception(self, request: Any, exception: Exception) -> None:
        """Count a request that was given up, except a refused one and robots.txt."""
        if isinstance(exception, IgnoreRequest) or request.callback is NO_CALLBACK:
            return
        self.given_up += 1
        self._note(request.url, f"{type(exception).__name__}: {exception}")

    def count_response(self, response: Any) -> None:
        """Add the latency of a response."""
        latency = response.meta.get("download_latency")
        if latency is not None:
            self.responses += 1
            self.latency_seconds += latency

    def count_spider_error(self, failure: Any, response: Any) -> None:
        """Count an exception of the spider."""
        self.spider_errors += 1
        self._note(response.url, f"{failure.type.__name__}: {failure.getErrorMessage()}")

    def count_item(self, item: Any) -> None:
        """Count an item by its class."""
        name = type(item).__name__
        self.items["items" if name == "dict" else name] += 1

    def _note(self, url: str, error: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = error.splitlines()[0] if error else ""
        text = URL.sub(lambda match: without_secrets(match[0]), line)[:MAX_ERROR_TEXT]
        self.errors.append({"url": without_secrets(url), "error": text, "timestamp": at})

    @property
    def successful_requests(self) -> int:
        """The pages that were downloaded and reached the spider."""
        count = self._scrapy_count
        return max(
            0,
            count("response_received_count")
            - count("robotstxt/response_count")
            - count("httperror/response_ignored_count"),
        )

    @property
    def failed_requests(self) -> int:
        """The pages that were given up, or answered with an error."""
        return self.given_up + self._scrapy_count("httperror/response_ignored_count")

    def stats(self, max_pages: int | None) -> dict[str, Any]:
        """Return the statistics of the crawl up to now.

        Args:
            max_pages: The `maxPages` of the job's config, which bounds `totalPages`.
        """
        pages = self.successful_requests + self.failed_requests
        total = pages + self._queued_requests()
        if max_pages is not None:
            total = min(total, max_pages)
        return {
            "pagesProcessed": pages,
            "totalPages": max(pages, total),
            "successfulRequests": self.successful_requests,
            "failedRequests": self.failed_requests,
            "avgResponseTime": round(1000 * self.latency_seconds / max(1, self.responses)),
            "totalProcessingTime": round(1000 * (time.monotonic() - self._started)),
            "bytesDownloaded": self._scrapy_count("downloader/response_bytes"),
            "dataExtracted": dict(self.items),
            "errors": list(self.errors),
            **_performance(),
        }

    def _scrapy_count(self, name: str) -> int:
        return int(self._crawler.stats.get_value(name, 0))

    def _queued_requests(self) -> int:
        """Return the requests that are scheduled or being downloaded."""
        engine = self._crawler.engine
        slot = getattr(engine, "_slot", None) or getattr(engine, "slot", None)
        return 0 if slot is None else len(slot.scheduler) + len(slot.inprogress)


def without_secrets(url: str) -> str:
    """Return the URL without its user, password, and the values of secret parameters."""
    try:
        parts = urlsplit(url)
    except ValueError:  # an invalid IPv6 address
        return "***"
    host = parts.netloc.rpartition("@")[2]
    query = parts.query
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(name.lower() in SECRET_PARAMETERS for name, _ in pairs):
        query = urlencode(
            [(name, "***" if name.lower() in SECRET_PARAMETERS else value) for name, value in pairs]
        )
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def _performance() -> dict[str, Any]:
    """Return the peak of memory, where the system counts it."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mib = round(peak / (2**20 if sys.platform == "darwin" else 1024))
    return {"performance": {"memoryUsage": f"{mib}MB"}}
