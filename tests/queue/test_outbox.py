"""The status changes of the queue in the outbox, and in the running totals."""

import pytest

from app.queue import sweeper
from support.queue import IsolatedQueue, LeasedJob, claim, data, lease_job
from support.service import own_work


def test_only_status_changes_are_enqueued(isolated: IsolatedQueue) -> None:
    leased = lease_job(isolated.client)
    assert isolated.take_outbox() == [("pending", "running")]
    data(leased.post("heartbeat"))
    data(leased.put({"stats": {"a": 1}}))
    assert isolated.take_outbox() == []
    data(leased.post("retry"))
    assert isolated.take_outbox() == [("running", "failed"), ("failed", "pending")]
    (job,) = claim(isolated.client, leased.job["domain"])
    leased = LeasedJob(isolated.client, job, job["lease_token"])
    data(leased.post("release"))
    assert isolated.take_outbox() == [
        ("pending", "running"),
        ("running", "failed"),
        ("failed", "pending"),
    ]
    (job,) = claim(isolated.client, leased.job["domain"])
    leased = LeasedJob(isolated.client, job, job["lease_token"])
    leased.cancel()
    assert isolated.take_outbox() == [("pending", "running"), ("running", "cancelled")]
    leased.post("heartbeat")
    leased.put({"stats": {"a": 1}})
    assert leased.acknowledgements() == 1
    assert isolated.take_outbox() == []


@pytest.mark.parametrize(
    ("max_retries", "expected"),
    [(3, [("running", "failed"), ("failed", "pending")]), (0, [("running", "failed")])],
)
def test_rescue_enqueues_each_status_change(
    isolated: IsolatedQueue, max_retries: int, expected: list[tuple[str, str]]
) -> None:
    lease_job(isolated.client, max_retries=max_retries)
    isolated.execute("TRUNCATE outbox")
    isolated.execute("UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 ms'")
    with own_work(isolated.app):
        assert sweeper.sweep() == 1
    assert isolated.take_outbox() == expected


def test_refused_last_retry_enqueues_the_failure(isolated: IsolatedQueue) -> None:
    leased = lease_job(isolated.client, max_retries=0)
    isolated.execute("TRUNCATE outbox")
    assert leased.post("retry").status_code == 400
    assert isolated.take_outbox() == [("running", "failed")]


def test_each_status_change_is_counted_once(isolated: IsolatedQueue) -> None:
    leased = lease_job(isolated.client)
    data(leased.post("retry"))
    changes = (
        "SELECT job_id, seq FROM job_events"
        " WHERE old_status IS DISTINCT FROM new_status ORDER BY seq"
    )
    assert isolated.execute(
        "SELECT job_id, seq FROM uncounted_events ORDER BY seq"
    ) == isolated.execute(changes)
