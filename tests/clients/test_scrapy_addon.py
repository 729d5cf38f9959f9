"""The Scrapy add-on: real crawls of a loopback site, reported to the real service."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from scrape_jobs import Job, ScrapeJobs

from support.crawled_site import CrawledSite
from support.cutting_proxy import CuttingProxy
from support.service import ROOT, Service, wait_until

SPIDER = ROOT / "support/site_spider.py"


@pytest.fixture
def job_type() -> str:
    """A type of jobs that no other test uses."""
    return f"type-{uuid4().hex[:12]}"


@contextmanager
def crawl(
    service_url: str, site_url: str, *arguments: str, **settings: object
) -> Iterator["subprocess.Popen[str]"]:
    """Run the spider in a process of its own, and kill it at the end."""
    given = {
        "ADDONS": '{"scrape_jobs.scrapy.Addon": 0}',
        "SCRAPE_JOBS_URL": service_url,
        "ROBOTSTXT_OBEY": True,
        "RETRY_TIMES": 1,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "INFO",
        "DOWNLOAD_TIMEOUT": 5,
        **settings,
    }
    options = [part for name, value in given.items() for part in ("-s", f"{name}={value}")]
    process = subprocess.Popen(
        [sys.executable, "-m", "scrapy", "runspider", str(SPIDER), "-a", f"url={site_url}"]
        + [part for argument in arguments for part in ("-a", argument)]
        + options,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "clients/python/src"),
            "PYTHONWARNINGS": "ignore",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def actions(api: ScrapeJobs, job: Job) -> list[str]:
    return [event.action for event in api.history(job.id)]


def finished(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=90)
    return output


def test_statistics_agree_with_the_site(service: Service, api: ScrapeJobs) -> None:
    job = api.create("127.0.0.1")
    with CrawledSite(6) as site:
        with crawl(service.url, site.url, SCRAPE_JOBS_JOB_ID=job.id) as process:
            output = finished(process)
        ended = api.get(job.id, required=True)
        assert (ended.status, process.returncode) == ("completed", 0), output
        stats = ended.stats
        # The first page, six pages, the slow one and the target of the redirect.
        assert stats["successfulRequests"] == site.count(200) == 9
        # 404 and 500 (once more after a retry), and the page that was cut twice.
        assert (site.count(404), site.count(500), site.count(0)) == (1, 2, 2)
        assert stats["failedRequests"] == 3
        assert stats["pagesProcessed"] == stats["totalPages"] == 12
        assert stats["dataExtracted"] == {"Product": 8}
        assert stats["avgResponseTime"] > 0
        assert stats["bytesDownloaded"] > 1000
        (error,) = stats["errors"]
        assert error["url"] == f"{site.url}/cut"
        assert ("/private", 200) not in site.log


def test_a_claimed_job_is_reported(service: Service, api: ScrapeJobs, job_type: str) -> None:
    job = api.create("127.0.0.1", job_type=job_type, config={"maxPages": 4})
    with (
        CrawledSite(3, special=False) as site,
        crawl(service.url, site.url, SCRAPE_JOBS_JOB_TYPES=job_type) as process,
    ):
        output = finished(process)
    ended = api.get(job.id, required=True)
    assert (ended.status, ended.stats.get("pagesProcessed")) == ("completed", 4), output
    assert actions(api, job)[:2] == ["created", "claimed"]


def test_without_a_job_nothing_is_crawled(service: Service, job_type: str) -> None:
    with (
        CrawledSite(3, special=False) as site,
        crawl(service.url, site.url, SCRAPE_JOBS_JOB_TYPES=job_type) as process,
    ):
        output = finished(process)
        assert "no_scrape_job" in output
        assert site.count(200) <= 1


def test_a_cancel_closes_the_spider(service: Service, api: ScrapeJobs, job_type: str) -> None:
    job = api.create("127.0.0.1", job_type=job_type)
    with (
        CrawledSite(500, delay=0.2, special=False) as site,
        crawl(
            service.url, site.url, SCRAPE_JOBS_JOB_TYPES=job_type, SCRAPE_JOBS_LEASE=6
        ) as process,
    ):
        wait_until(lambda: site.count(200) > 3, 20)
        api.cancel(job.id, "enough")
        output = finished(process)
        assert "scrape_job_cancelled" in output
        assert site.count(200) < 500
    ended = api.get(job.id, required=True)
    assert ended.status == "cancelled"
    assert ended.stats["pagesProcessed"] > 0
    assert "cancel_heard" in actions(api, job)


def test_a_terminated_crawl_gives_its_job_back(
    service: Service, api: ScrapeJobs, job_type: str
) -> None:
    job = api.create("127.0.0.1", job_type=job_type)
    with CrawledSite(60, delay=0.2, special=False) as site:
        with crawl(service.url, site.url, SCRAPE_JOBS_JOB_TYPES=job_type) as process:
            wait_until(lambda: site.count(200) > 3, 20)
            process.send_signal(signal.SIGTERM)
            finished(process)
        assert api.get(job.id, required=True).status == "pending"
        assert "released" in actions(api, job)
    with (
        CrawledSite(3, special=False) as site,
        crawl(service.url, site.url, SCRAPE_JOBS_JOB_TYPES=job_type) as process,
    ):
        finished(process)
    ended = api.get(job.id, required=True)
    assert (ended.status, ended.retry_count) == ("completed", 0)


def test_a_killed_crawl_is_rescued(service: Service, api: ScrapeJobs, job_type: str) -> None:
    job = api.create("127.0.0.1", job_type=job_type)
    with (
        CrawledSite(60, delay=0.2, special=False) as site,
        crawl(
            service.url, site.url, SCRAPE_JOBS_JOB_TYPES=job_type, SCRAPE_JOBS_LEASE=5
        ) as process,
    ):
        wait_until(lambda: site.count(200) > 3, 20)
        process.kill()
    wait_until(lambda: "lease_expired" in actions(api, job), 20)
    api.patch(job.id, {"scheduled_for": None})  # without the backoff of the rescue
    with (
        CrawledSite(3, special=False) as site,
        crawl(service.url, site.url, SCRAPE_JOBS_JOB_TYPES=job_type) as process,
    ):
        finished(process)
    ended = api.get(job.id, required=True)
    assert (ended.status, ended.retry_count) == ("completed", 1)


def test_a_spider_that_only_raises_fails(service: Service, api: ScrapeJobs) -> None:
    job = api.create("127.0.0.1")
    with (
        CrawledSite(3) as site,
        crawl(service.url, site.url, "act=fail", SCRAPE_JOBS_JOB_ID=job.id) as process,
    ):
        finished(process)
    ended = api.get(job.id, required=True)
    assert ended.status == "failed"
    assert ended.error_message == "The spider failed on all pages (1 errors)"
    assert ended.stats["errors"][0]["error"] == "ValueError: no products found"


def test_a_job_that_is_over_is_not_crawled(service: Service, api: ScrapeJobs) -> None:
    job = api.create("127.0.0.1")
    api.cancel(job.id)
    with (
        CrawledSite(3) as site,
        crawl(service.url, site.url, SCRAPE_JOBS_JOB_ID=job.id) as process,
    ):
        output = finished(process)
        assert "no_scrape_job" in output
        assert site.count(200) <= 1
    assert actions(api, job) == ["created", "cancelled"]


def test_a_crawl_outlives_an_outage(service: Service, api: ScrapeJobs, job_type: str) -> None:
    job = api.create("127.0.0.1", job_type=job_type)
    with (
        CuttingProxy(service.port, lambda _: False) as proxy,
        CrawledSite(180, delay=1, special=False) as site,
        crawl(proxy.url, site.url, SCRAPE_JOBS_JOB_TYPES=job_type) as process,
    ):
        wait_until(lambda: site.count(200) > 8)
        proxy.is_open = False
        before = site.count(200)
        time.sleep(20)
        assert site.count(200) >= before + 100
        proxy.is_open = True
        output = finished(process)
        assert site.count(200) == 181
    ended = api.get(job.id, required=True)
    assert (ended.status, ended.stats.get("successfulRequests")) == ("completed", 181), output
    assert ended.retry_count == 0


def test_a_blocked_reactor_loses_its_lease(
    service: Service, api: ScrapeJobs, job_type: str
) -> None:
    job = api.create("127.0.0.1", job_type=job_type)
    settings: dict[str, Any] = {"SCRAPE_JOBS_JOB_TYPES": job_type, "SCRAPE_JOBS_LEASE": 5}
    with (
        CrawledSite(3, special=False) as site,
        crawl(service.url, site.url, "act=block", **settings) as process,
    ):
        output = finished(process)
    assert "scrape_job_lease_lost" in output
    assert actions(api, job)[-2:] == ["lease_expired", "retried"]


def test_a_dead_main_thread_fails_its_job(service: Service, api: ScrapeJobs, job_type: str) -> None:
    job = api.create("127.0.0.1", job_type=job_type)
    settings: dict[str, Any] = {"SCRAPE_JOBS_JOB_TYPES": job_type, "SCRAPE_JOBS_LEASE": 6}
    with (
        CrawledSite(3, special=False) as site,
        crawl(service.url, site.url, "act=die", **settings) as process,
    ):
        finished(process)
    assert process.returncode == 70
    ended = api.get(job.id, required=True)
    assert (ended.status, ended.error_message) == (
        "failed",
        "The main thread of the crawl has died",
    )


def test_an_absent_service_does_not_stop_the_crawl() -> None:
    with CrawledSite(3) as site:
        environment: dict[str, Any] = {"SCRAPE_JOBS_JOB_ID": str(uuid4())}
        with crawl("http://127.0.0.1:9", site.url, **environment) as process:
            output = finished(process)
        assert "the crawl is not reported" in output
        assert process.returncode == 0
        assert site.count(200) == 6
