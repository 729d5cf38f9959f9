"""The test harness for handlers, which needs no service."""

from scrape_jobs import Cancelled, LeasedJob
from scrape_jobs.testing import run_handler

from support.worker_handlers import crawl


def test_a_completed_run_has_its_reports() -> None:
    run = run_handler(crawl, domain="example.org", config={"pages": 2, "seconds": 0})
    assert (run.outcome, run.message) == ("completed", "")
    assert run.reports == [
        {"pagesProcessed": 1, "totalPages": 2}, {"pagesProcessed": 2, "totalPages": 2},
    ]  # fmt: skip
    assert run.stats["dataExtracted"] == {"products": 156}


def test_failures_and_retries_are_told_apart() -> None:
    failed = run_handler(crawl, config={"act": "raise"})
    assert (failed.outcome, failed.message) == ("failed", "ValueError: broken page")
    retried = run_handler(crawl, config={"act": "retry"})
    assert (retried.outcome, retried.message, retried.delay) == ("retry", "site is down", 0)
    assert run_handler(crawl, config={"act": "retry"}, retry_count=1).outcome == "completed"
    assert run_handler(crawl, config={"act": "fatal"}).outcome == "fatal"


def test_interruptions_end_the_handler() -> None:
    config = {"pages": 5, "seconds": 0}
    cancelled = run_handler(crawl, config=config, cancel_after=2)
    assert (cancelled.outcome, len(cancelled.reports)) == ("cancelled", 2)
    assert run_handler(crawl, config=config, lose_lease_after=1).outcome == "lease_lost"
    assert run_handler(crawl, config=config, release_after=3).outcome == "released"


def test_a_wrong_return_value_fails() -> None:
    run = run_handler(lambda _: [1, 2])  # type: ignore[arg-type, return-value]
    assert run.message == "The handler returned list instead of a mapping or None"


def test_values_that_are_no_json_fail() -> None:
    returned = run_handler(lambda _: {"page": object()})
    assert (returned.outcome, "Object of type object" in returned.message) == ("failed", True)
    reported = run_handler(lambda job: job.progress(rate=float("nan")))
    assert reported.message.startswith("ValueError: ")


def test_an_interruption_lasts() -> None:
    caught = []

    def stubborn(job: LeasedJob) -> None:
        for _ in range(3):
            try:
                job.check()
            except Cancelled as verdict:
                caught.append(verdict)

    assert run_handler(stubborn, cancel_after=2).outcome == "completed"
    assert len(caught) == 2
