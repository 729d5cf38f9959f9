"""A worker crawls a real site and reports to the service after every page."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urljoin

import psutil
import pytest
import requests

from support.factories import new_domain
from support.service import Service

PAGES = 30
MISSING = {7, 13, 22}
SLOW = {5, 11, 17, 28}
SLOW_SECONDS = 0.2


class Site:
    """A shop of PAGES pages, of which some are missing and some are slow.

    The start page and each product page link to the next products.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.bytes_sent = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                number = int(self.path.removeprefix("/page/") or 0) if self.path != "/" else 0
                if number in SLOW:
                    time.sleep(SLOW_SECONDS)
                if number in MISSING:
                    self.send_error(404)
                    return
                following = [n for n in range(number * 3 + 1, number * 3 + 4) if n < PAGES] + [0]
                links = "".join(
                    f'<a href="/page/{n}">{n}</a>' if n else '<a href="/">home</a>'
                    for n in following
                )
                # A missing page has no links, so the start page links to all pages.
                if number == 0:
                    links += "".join(f'<a href="/page/{n}">{n}</a>' for n in range(1, PAGES))
                product = f"<img src='/i.png'><p class=product>{number}</p>"
                page = f"<h1>Page {number}</h1>{links}{product}".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)
                site.bytes_sent += len(page)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


class Page(HTMLParser):
    """The links, images and products of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images = 0
        self.products = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a":
            self.links.append(found["href"] or "")
        self.images += tag == "img"
        self.products += found.get("class") == "product"


def crawl(job_url: str, start: str) -> dict[str, Any]:
    """Crawl the site from `start` and report to the job after every page; complete the job.

    Returns the last statistics.
    """
    with requests.Session() as api, requests.Session() as web:

        def report(**fields: Any) -> None:
            answer = api.put(job_url, json=fields, timeout=30)
            assert answer.status_code == 200, answer.text
            assert answer.json()["message"] == "Job updated successfully"

        report(status="running")
        process, began = psutil.Process(), time.perf_counter()
        known, waiting, times = {start}, [start], list[float]()
        extracted = {"products": 0, "images": 0, "links": 0, "documents": 0}
        stats: dict[str, Any] = {
            "successfulRequests": 0,
            "failedRequests": 0,
            "bytesDownloaded": 0,
            "errors": [],
        }
        while waiting:
            url = waiting.pop(0)
            asked = time.perf_counter()
            answer = web.get(url, timeout=30)
            times.append((time.perf_counter() - asked) * 1000)
            if answer.ok:
                page = Page(answer.text)
                stats["successfulRequests"] += 1
                stats["bytesDownloaded"] += len(answer.content)
                extracted["products"] += page.products
                extracted["images"] += page.images
                extracted["links"] += len(page.links)
                for link in (urljoin(url, href) for href in page.links):
                    if link not in known:
                        known.add(link)
                        waiting.append(link)
            else:
                stats["failedRequests"] += 1
                at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                stats["errors"].append(
                    {"url": url, "error": f"HTTP {answer.status_code}", "timestamp": at}
                )
            stats |= {
                "pagesProcessed": len(times),
                "totalPages": len(known),
                "avgResponseTime": round(sum(times) / len(times), 1),
                "totalProcessingTime": round((time.perf_counter() - began) * 1000),
                "dataExtracted": extracted,
                "performance": {
                    "memoryUsage": f"{process.memory_info().rss // 1024**2}MB",
                    "cpuUsage": process.cpu_percent(),
                    "networkLatency": round(min(times), 1),
                },
            }
            report(stats=stats)
        report(status="completed", stats=stats, metadata={"finishedBy": "crawler"})
        return stats


def test_crawl_is_recorded_exactly(service: Service, site: Site) -> None:
    domain = new_domain()
    created = requests.post(
        service.jobs,
        json={
            "domain": domain,
            "priority": 7,
            "config": {"maxPages": PAGES},
            "metadata": {"tags": ["crawl"]},
        },
        timeout=10,
    )
    job_url = service.url + created.headers["Location"]
    reported = crawl(job_url, site.url)

    # The requests that the site received.
    assert sorted(site.requests) == sorted(
        ["/", *(f"/page/{number}" for number in range(1, PAGES))]
    )
    job = requests.get(job_url, timeout=30).json()["data"]
    stats = job["stats"]
    assert stats == reported
    assert (stats["pagesProcessed"], stats["totalPages"]) == (PAGES, PAGES)
    assert (stats["successfulRequests"], stats["failedRequests"]) == (
        PAGES - len(MISSING),
        len(MISSING),
    )
    assert stats["bytesDownloaded"] == site.bytes_sent
    assert {error["url"] for error in stats["errors"]} == {
        f"{site.url}page/{number}" for number in MISSING
    }
    assert (
        stats["dataExtracted"]["products"]
        == stats["dataExtracted"]["images"]
        == PAGES - len(MISSING)
    )
    assert stats["totalProcessingTime"] >= len(SLOW) * SLOW_SECONDS * 1000
    assert (job["status"], job["error_message"], job["retry_count"]) == ("completed", None, 0)
    assert job["metadata"] == {"tags": ["crawl"], "finishedBy": "crawler"}
    assert job["created_at"] <= job["started_at"] < job["completed_at"] == job["updated_at"]
    assert job["allowed_transitions"] == []

    events = requests.get(f"{job_url}/history?limit=200", timeout=30).json()["data"]
    assert [event["id"] for event in events] == list(range(1, PAGES + 4))
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    steps = [(event["action"], event["old_status"], event["new_status"]) for event in events]
    assert steps == [
        ("created", None, "pending"),
        ("updated", "pending", "running"),
        *[("updated", "running", "running")] * PAGES,
        ("updated", "running", "completed"),
    ]
    progress = [event["changes"]["stats.pagesProcessed"] for event in events[2:-1]]
    assert [step["to"] for step in progress] == list(range(1, PAGES + 1))
    assert [step["from"] for step in progress] == [None, *range(1, PAGES)]
    assert events[-1]["changes"]["metadata.finishedBy"] == {"from": None, "to": "crawler"}
    assert events[-1]["changes"]["completed_at"] == {"from": None, "to": job["completed_at"]}
    assert not [name for name in events[-1]["changes"] if name.startswith("stats.")]

    listed = requests.get(service.jobs, params={"domain": domain}, timeout=30).json()
    assert listed["data"] == [job]
    assert listed["pagination"] == {"limit": 50, "next_cursor": None, "has_more": False}
    assert requests.delete(job_url, timeout=30).json()["details"] == "Job is already completed"
