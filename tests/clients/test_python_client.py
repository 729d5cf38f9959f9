"""The Python client against the real service."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from scrape_jobs import (
    ConfigurationError,
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    JobModified,
    LeaseLost,
    NotFound,
    RepeatedCursor,
    ScrapeJobs,
    TransitionRefused,
)
from scrape_jobs.transport import Answer, Request, RequestsTransport, Timeout


def unique(name: str) -> str:
    return f"{name}-{uuid4().hex[:12]}"


def test_a_job_is_created_and_read(api: ScrapeJobs) -> None:
    due = datetime(2030, 1, 1, 12, tzinfo=UTC)
    created = api.create("Example.com", priority=7, config={"depth": 3}, scheduled_for=due)
    job = api.get(created.id, required=True)
    assert (job.domain, job.priority, job.config) == ("example.com", 7, {"depth": 3})
    assert (job.status, job.scheduled_for, job.attempt, job.is_over) == ("pending", due, 1, False)
    assert job.allowed_transitions == ("running", "cancelled")
    assert job.etag == created.etag is not None


def test_a_missing_job_is_none_or_raises(api: ScrapeJobs) -> None:
    missing = str(uuid4())
    assert api.get(missing) is None
    with pytest.raises(NotFound) as raised:
        api.get(missing, required=True)
    assert (raised.value.status, raised.value.error) == (404, "Job not found")
    assert raised.value.request_id


def test_many_jobs_keep_their_order(api: ScrapeJobs) -> None:
    names = [f"{n}.example" for n in range(20)]
    assert [job.domain for job in api.create_many([{"domain": name} for name in names])] == names


def test_a_key_makes_creation_idempotent(api: ScrapeJobs) -> None:
    key = unique("key")
    first = api.create("example.com", idempotency_key=key)
    assert api.create("example.com", idempotency_key=key).id == first.id
    with pytest.raises(InvalidRequest) as raised:
        api.create("example.org", idempotency_key=key)
    assert raised.value.status == 422


def test_an_update_changes_given_fields_only(api: ScrapeJobs) -> None:
    job = api.create("example.com", metadata={"a": 1})
    running = api.update(job.id, status="running", stats={"pagesProcessed": 1}, metadata={"b": 2})
    assert (running.status, running.stats) == ("running", {"pagesProcessed": 1})
    assert running.metadata == {"a": 1, "b": 2}
    failed = api.update(job.id, status="failed", error_message="broken")
    assert (failed.error_message, failed.stats) == ("broken", {"pagesProcessed": 1})
    assert api.update(job.id, error_message=None).error_message is None


def test_a_patch_removes_keys(api: ScrapeJobs) -> None:
    job = api.create("example.com", metadata={"a": 1, "b": 2})
    patched = api.patch(job.id, {"metadata": {"a": None}, "priority": 9})
    assert (patched.metadata, patched.priority) == ({"b": 2}, 9)


def test_refusals_have_their_own_classes(api: ScrapeJobs) -> None:
    job = api.create("example.com")
    with pytest.raises(TransitionRefused, match="Cannot transition from 'pending' to 'completed'"):
        api.update(job.id, status="completed")
    with pytest.raises(InvalidRequest, match="Invalid retry_count") as raised:
        api.update(job.id, retry_count=-1)
    assert not isinstance(raised.value, TransitionRefused)
    api.update(job.id, status="running")
    with pytest.raises(JobModified):
        api.update(job.id, stats={}, if_match=job.etag)
    with pytest.raises(LeaseLost):
        api.update(job.id, stats={}, lease_token="another")


def test_a_cancelled_job_is_not_cancelled_twice(api: ScrapeJobs) -> None:
    job = api.create("example.com")
    cancelled = api.cancel(job.id, "no longer needed")
    assert cancelled.error_message == "Cancelled via API: no longer needed"
    with pytest.raises(Conflict) as raised:
        api.cancel(job.id)
    assert raised.value.details == "Job is already cancelled"


def test_a_failed_job_is_retried(api: ScrapeJobs) -> None:
    job = api.create("example.com")
    api.update(job.id, status="running")
    api.update(job.id, status="failed", error_message="broken")
    retried = api.retry(job.id, delay_seconds=3600)
    assert (retried.status, retried.retry_count, retried.attempt) == ("pending", 1, 2)
    assert retried.scheduled_for is not None
    assert [event.action for event in api.history(job.id)] == [
        "created", "updated", "updated", "retried",
    ]  # fmt: skip


def test_a_list_follows_all_pages(api: ScrapeJobs) -> None:
    job_type = unique("type")
    created = api.create_many([{"domain": "example.com", "job_type": job_type}] * 7)
    ids = {job.id for job in created}
    found = list(api.list(job_type=job_type, page_size=2))
    assert len(found) == 7
    assert {job.id for job in found} == ids
    assert len(list(api.list(job_type=job_type, page_size=2, limit=5))) == 5
    since = datetime.now(UTC) - timedelta(hours=1)
    assert (
        len(list(api.list(job_type=job_type, status=["pending", "running"], created_after=since)))
        == 7
    )
    assert list(api.list(job_type=job_type, status="failed")) == []


def test_a_repeated_cursor_raises(api: ScrapeJobs, service_url: str) -> None:
    class Stuck(RequestsTransport):
        def send(self, request: Request, timeout: Timeout) -> Answer:  # noqa: ARG002
            page = b'{"data":[{}],"pagination":{"has_more":true,"next_cursor":"again"}}'
            return Answer(200, {}, page)

    stuck = ScrapeJobs(service_url, transport=Stuck())
    with pytest.raises(RepeatedCursor):
        list(stuck.webhooks.list())


@pytest.fixture
def service_url(api: ScrapeJobs) -> str:
    return api._caller.base_url


def test_statistics_and_queue_position_are_read(api: ScrapeJobs) -> None:
    job_type = unique("type")
    job = api.create("example.com", job_type=job_type)
    assert api.queue_position(job.id)["status"] == "pending"
    assert "by_status" in api.stats(job_type=job_type, from_=datetime(2024, 1, 1, tzinfo=UTC))


def test_claimed_jobs_are_kept_and_released(api: ScrapeJobs) -> None:
    job_type = unique("type")
    created = api.create("example.com", job_type=job_type)
    (job,) = api.claim("tester", job_types=[job_type], lease_seconds=30)
    assert (job.id, job.status, job.worker_id) == (created.id, "running", "tester")
    assert job.lease_token
    assert job.lease_token not in repr(job)
    assert api.heartbeat(job.id, job.lease_token).status == "running"
    assert api.release(job.id, job.lease_token).status == "pending"
    assert api.claim("tester", job_types=[unique("type")]) == []


def test_waiting_returns_however_the_job_ends(api: ScrapeJobs) -> None:
    job = api.create("example.com")
    timer = threading.Timer(0.3, lambda: api.cancel(job.id))
    timer.start()
    assert api.wait(job.id, deadline=60).status == "cancelled"
    timer.join()


def test_waiting_ends_at_its_own_deadline(api: ScrapeJobs) -> None:
    job = api.create("example.com")
    with pytest.raises(DeadlineExceeded, match=r"is pending after 0\.5 s"):
        api.wait(job.id, deadline=0.5)
    with pytest.raises(NotFound):
        api.wait(str(uuid4()), deadline=5)


class WithoutStreams(RequestsTransport):
    """A transport for which no event stream is free."""

    @contextmanager
    def stream(
        self,
        request: Request,  # noqa: ARG002
        timeout: Timeout,  # noqa: ARG002
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        yield Answer(503, {}, b""), iter(())


@pytest.mark.parametrize("transport", [RequestsTransport, WithoutStreams])
def test_watching_yields_each_change_once(
    service_url: str, transport: type[RequestsTransport]
) -> None:
    api = ScrapeJobs(service_url, transport=transport())
    job = api.create("example.com")
    seen = []
    for state in api.watch(job.id):
        seen.append((state.status, state.stats.get("pagesProcessed")))
        match seen[-1]:
            case ("pending", None):
                api.update(job.id, status="running")
            case ("running", None):
                api.update(job.id, stats={"pagesProcessed": 1})
            case ("running", 1):
                api.update(job.id, status="completed")
    assert seen == [("pending", None), ("running", None), ("running", 1), ("completed", 1)]


def test_webhook_endpoints_are_managed(api: ScrapeJobs) -> None:
    endpoint = api.webhooks.create("https://example.com/hook", statuses=["failed"])
    assert endpoint["secret"].startswith("whsec_")
    assert api.webhooks.get(endpoint["id"])["url"] == "https://example.com/hook"
    assert endpoint["id"] in {one["id"] for one in api.webhooks.list()}
    assert api.webhooks.update(endpoint["id"], active=False)["active"] is False
    assert api.webhooks.rotate_secret(endpoint["id"])["secret"] != endpoint["secret"]
    assert list(api.webhooks.deliveries(endpoint["id"])) == []
    api.webhooks.delete(endpoint["id"])
    with pytest.raises(NotFound):
        api.webhooks.get(endpoint["id"])


def test_settings_come_from_the_environment(
    service_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCRAPE_JOBS_URL", raising=False)
    with pytest.raises(ConfigurationError, match="SCRAPE_JOBS_URL"):
        ScrapeJobs()
    monkeypatch.setenv("SCRAPE_JOBS_URL", service_url + "/")
    monkeypatch.setenv("SCRAPE_JOBS_KEY", "sjk_test")
    client = ScrapeJobs()
    assert client.get(str(uuid4())) is None
    assert client._caller.key == "sjk_test"
