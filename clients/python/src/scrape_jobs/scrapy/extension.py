"""The extension that reports a crawl: progress, heartbeats, cancel and result.

A looping call of the reactor copies the statistics each second. The thread of the lease sends them.
Heartbeats stop when the reactor did not run for the length of a lease: a crawl that hangs loses its
job to another worker.
"""

import logging
import os
import platform
import threading
import time
from typing import Any, Self

from scrapy import signals
from scrapy.exceptions import NotConfigured
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from scrape_jobs.client import ScrapeJobs
from scrape_jobs.errors import LeaseLost, ScrapeJobsError, TransitionRefused
from scrape_jobs.jobs import Job
from scrape_jobs.lease import Lease
from scrape_jobs.outcomes import Cancelled
from scrape_jobs.scrapy.ending import CrawlEnd, decide
from scrape_jobs.scrapy.settings import ReportingSettings

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""How often the reactor copies the statistics."""

CANCELLED = "scrape_job_cancelled"
LEASE_LOST = "scrape_job_lease_lost"
NO_JOB = "no_scrape_job"
"""Reasons with which the extension closes the spider."""

DEAD_MAIN_THREAD = 70
"""Exit code of a process whose main thread has died (EX_SOFTWARE of sysexits.h)."""


class CrawlReporter:
    """Reports the crawl of one crawler as one job.

    The spider finds the job as `spider.scrape_job`, or None without one.
    """

    def __init__(self, crawler: Any, settings: ReportingSettings) -> None:
        self._crawler = crawler
        self._settings = settings
        self._api = ScrapeJobs(settings.url, settings.key)
        self._lease: Lease | None = None
        self._ticked_at = time.monotonic()
        self._ticks = LoopingCall(self._tick)
        self._has_no_job = False
        self._closing = False

    @classmethod
    def from_crawler(cls, crawler: Any) -> Self:
        """Take the job, before the spider starts.

        Raises:
            NotConfigured: SCRAPE_JOBS_URL is not set.
        """
        settings = ReportingSettings.from_scrapy(crawler.settings)
        if not (settings.url or os.environ.get("SCRAPE_JOBS_URL")):
            raise NotConfigured("SCRAPE_JOBS_URL is not set")
        reporter = cls(crawler, settings)
        reporter._take_job()
        crawler.signals.connect(reporter.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(reporter.spider_closed, signal=signals.spider_closed)
        return reporter

    def _take_job(self) -> None:
        """Begin or claim the job. If the service cannot be reached, the crawl runs unreported."""
        self._crawler.spider.scrape_job = None
        claimed_at = time.monotonic()
        try:
            job = self._begin_job() if self._settings.job_id else self._claim_job()
        except (TransitionRefused, LeaseLost) as refusal:
            log.error("the job is over, or another worker has it: %s", refusal)
            self._has_no_job = True
        except ScrapeJobsError as failure:
            log.error("the crawl is not reported: %s", failure)
        else:
            self._has_no_job = job is None
            if job is not None:
                self._crawler.spider.scrape_job = job
                seconds = self._settings.lease_seconds
                self._lease = Lease(self._api, job, seconds, claimed_at, self._may_extend)

    def _begin_job(self) -> Job:
        job_id, token = self._settings.job_id, self._settings.lease_token
        assert job_id is not None
        if token is not None:
            job = self._api.heartbeat(job_id, token)
            return Job.from_json({**job.document, "lease_token": token})
        return self._api.update(job_id, status="running")

    def _claim_job(self) -> Job | None:
        claimed = self._api.claim(
            self._settings.worker_id or f"scrapy-{platform.node()}-{os.getpid()}",
            job_types=self._settings.job_types or None,
            domains=self._settings.domains or None,
            lease_seconds=self._settings.lease_seconds,
        )
        return claimed[0] if claimed else None

    def spider_opened(self) -> None:
        """Start the reports; without a job, close the spider."""
        if self._lease is not None:
            self._lease.start()
            self._ticks.start(TICK_SECONDS)
        elif self._has_no_job:
            log.info("there is no job for this crawl")
            self._close(NO_JOB)

    def _tick(self) -> None:
        """Hand over the statistics, and close the spider if the job is over for it."""
        self._ticked_at = time.monotonic()
        assert self._lease is not None
        try:
            self._lease.report(self._stats())
        except Cancelled:
            self._close(CANCELLED)
        except LeaseLost:
            self._close(LEASE_LOST)
        except ScrapeJobsError as refusal:
            log.error("the statistics are refused: %s", refusal)
            self._ticks.stop()

    def _stats(self) -> dict[str, Any]:
        assert self._lease is not None
        max_pages = self._lease.job.config.get("maxPages")
        stats: dict[str, Any] = self._crawler.crawl_counters.stats(
            max_pages if isinstance(max_pages, int) else None
        )
        return stats

    def _close(self, reason: str) -> None:
        if self._closing:
            return
        self._closing = True
        engine, spider = self._crawler.engine, self._crawler.spider
        if hasattr(engine, "close_spider_async"):  # Scrapy 2.14
            from scrapy.utils.defer import deferred_from_coro

            deferred_from_coro(engine.close_spider_async(reason=reason))
        else:
            engine.close_spider(spider, reason)

    def _may_extend(self) -> bool:
        """Return whether the reactor still runs; called in the thread of the lease."""
        if not threading.main_thread().is_alive():
            assert self._lease is not None
            log.critical("the main thread has died")
            try:
                self._api.update(
                    self._lease.job.id,
                    status="failed",
                    error_message="The main thread of the crawl has died",
                    lease_token=self._lease.job.lease_token,
                )
            finally:
                os._exit(DEAD_MAIN_THREAD)
        return time.monotonic() - self._ticked_at < self._settings.lease_seconds

    async def spider_closed(self, reason: str) -> None:
        """Report how the crawl ended."""
        if self._lease is None:
            return
        if self._ticks.running:
            self._ticks.stop()
        counters = self._crawler.crawl_counters
        end = decide(
            reason,
            successes=counters.successful_requests,
            spider_errors=counters.spider_errors,
            items=sum(counters.items.values()),
            completed_reasons=self._settings.completed_reasons,
        )
        stats = self._stats()
        from scrapy.utils.defer import maybe_deferred_to_future

        await maybe_deferred_to_future(deferToThread(self._report_end, end, stats))

    def _report_end(self, end: CrawlEnd, stats: dict[str, Any]) -> None:
        """Send the final report; a failure is logged, because the crawl itself has ended."""
        lease = self._lease
        assert lease is not None
        lease.end()
        try:
            match end.kind:
                case "completed":
                    lease.complete(stats)
                case "failed":
                    lease.merge(stats)
                    lease.fail(end.message, for_good=False)
                case "cancelled":
                    lease.merge(stats)
                    lease.acknowledge_cancel()
                case "released" if lease.job.lease_token is not None:
                    lease.release()
                case "released":
                    lease.merge(stats)
                    lease.fail("The crawl was stopped", for_good=False)
                case "lease_lost":
                    pass  # another worker may have the job: nothing may be written
        except ScrapeJobsError as failure:
            log.error("the end of the crawl (%s) could not be reported: %s", end.kind, failure)
