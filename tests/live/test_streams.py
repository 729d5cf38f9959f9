"""Event streams of the service, over real HTTP."""

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
import requests

from support.factories import new_domain
from support.service import Service, wait_until
from support.streams import EventSource

pytestmark = pytest.mark.timed  # frames depend on the moments of changes and readings

STREAMS = 3


@pytest.fixture(scope="module")
def small_service(database_url: str) -> Iterator[Service]:
    """A service of one process, with few streams and one place for other requests."""
    settings = {"WEB_CONCURRENCY": "1", "THREADS": "1", "SCRAPE_JOBS_STREAMS": str(STREAMS)}
    with Service(database_url, **settings) as service:
        yield service


def test_stream_shows_changes_of_jobs(service: Service) -> None:
    domain = new_domain()
    with EventSource(f"{service.jobs}/events?domain={domain}").ready() as source:
        assert [frame.event for frame in source.frames] == ["ready"]
        headers = source.response.headers
        assert headers["Content-Type"].startswith("text/event-stream")
        assert (headers["X-Accel-Buffering"], headers["Cache-Control"]) == ("no", "no-store")
        job = service.create(domain=domain, metadata={"tags": ["a"]})
        service.create(domain=new_domain())
        created = source.wait_for_version(job["id"], 1)
        shown = {name: job[name] for name in job if name not in ("config", "metadata")}
        assert created == {
            "id": job["id"],
            "version": 1,
            "at": job["created_at"],
            "action": "created",
            "old_status": None,
            "new_status": "pending",
            "job": shown,
        }
        assert list(created["job"]) == list(shown)
        changed = service.change(job["id"], status="running", stats={"pagesProcessed": 1})
        frame = source.wait_for_version(job["id"], 2)
        facts = (frame["action"], frame["old_status"], frame["new_status"], frame["at"])
        assert facts == ("updated", "pending", "running", changed["updated_at"])
        assert frame["job"]["stats"] == {"pagesProcessed": 1}
        assert {change["id"] for change in source.changes()} == {job["id"]}


def test_stream_of_one_job_shows_whole_job(service: Service) -> None:
    job = service.create(config={"depth": 3}, metadata={"a": [1.50, 12345678901234567890]})
    time.sleep(1)  # a stream may begin with the changes of the last moment
    with EventSource(f"{service.jobs}/{job['id']}/events").ready() as source:
        service.create()
        changed = service.change(job["id"], status="running")
        assert source.wait_for_version(job["id"], 2)["job"] == changed
        assert [change["version"] for change in source.changes()] == [2]


def test_changes_of_one_second_share_a_frame(service: Service) -> None:
    job = service.create()
    time.sleep(1)
    with EventSource(f"{service.jobs}/{job['id']}/events").ready() as source:
        began = time.monotonic()
        service.change(job["id"], status="running")
        for number in range(30):
            service.change(job["id"], stats={"pagesProcessed": number})
            time.sleep(0.05)
        last = service.change(job["id"], status="completed")
        frame = source.wait_for_version(job["id"], 33)
        assert frame["job"] == last
        times = [each.at for each in source.frames if each.event == "job"]
        assert 2 <= len(times) <= time.monotonic() - began + 2
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert min(gaps) > 0.9
        assert source.changes()[0]["old_status"] == "pending"


def test_status_filter_shows_jobs_that_leave(service: Service) -> None:
    domain = new_domain()
    with EventSource(f"{service.jobs}/events?domain={domain}&status=running").ready() as source:
        job = service.create(domain=domain)
        service.change(job["id"], status="running")
        source.wait_for_version(job["id"], 2)
        time.sleep(1.2)
        service.change(job["id"], status="completed")
        left = source.wait_for_version(job["id"], 3)
        assert (left["old_status"], left["new_status"]) == ("running", "completed")
        service.change(job["id"], metadata={"seen": True})
        time.sleep(1.6)
        assert max(change["version"] for change in source.changes()) == 3


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ("job_type=sitemap", True),
        ("job_type=other", False),
        ("tag=red", True),
        ("tag=blue", False),
        ("created_after=2020-01-01T00:00:00Z", True),
        ("created_before=2020-01-01T00:00:00Z", False),
        ("fields=id,config", True),
    ],
)
def test_filters_are_those_of_the_list(service: Service, filters: str, matches: bool) -> None:
    domain = new_domain()
    with EventSource(f"{service.jobs}/events?domain={domain}&{filters}").ready() as source:
        fields = {"job_type": "sitemap", "metadata": {"tags": ["red"]}, "config": {"a": 1}}
        job = service.create(domain=domain, **fields)
        with EventSource(f"{service.jobs}/events?domain={domain}").ready() as other:
            service.change(job["id"], status="running")
            other.wait_for_version(job["id"], 2)
        time.sleep(0.7)
        listed = requests.get(f"{service.jobs}?domain={domain}&{filters}", timeout=30).json()
        assert bool(listed["data"]) == bool(source.changes()) == matches
        if filters.startswith("fields"):
            assert source.changes()[-1]["job"] == listed["data"][0]


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("status=nothing", "Invalid status"),
        ("fields=nothing", "Invalid fields"),
        ("limit=5", "Unknown field: limit"),
    ],
)
def test_faulty_parameters_are_refused(service: Service, query: str, fault: str) -> None:
    answer = requests.get(f"{service.jobs}/events?{query}", timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(fault)


def test_stream_of_missing_job_is_not_found(service: Service) -> None:
    unknown = "0190f3a0-0000-7000-8000-00000000ffff"
    answer = requests.get(f"{service.jobs}/{unknown}/events", timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (404, "Job not found")


def test_streams_past_the_limit_are_refused(small_service: Service) -> None:
    url = f"{small_service.jobs}/events"
    sources = [EventSource(url).ready() for _ in range(STREAMS)]
    refused = requests.get(url, timeout=30)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "30"
    assert refused.json()["error"] == "Too many event streams"
    # Other requests have their place as before.
    assert requests.get(small_service.jobs, timeout=30).ok
    metrics = requests.get(f"{small_service.url}/metrics", timeout=30).text
    assert f"scrape_jobs_streams_open {STREAMS}.0" in metrics
    assert f"scrape_jobs_streams_limit {STREAMS}.0" in metrics
    for source in sources:
        source.close()
    wait_until(lambda: has_free_slot(small_service))


def has_free_slot(service: Service) -> bool:
    with requests.get(f"{service.jobs}/events", stream=True, timeout=30) as answer:
        return answer.status_code == 200


def test_disconnected_client_frees_its_slot(small_service: Service) -> None:
    for _ in range(3 * STREAMS):
        wait_until(lambda: has_free_slot(small_service))
    wait_until(lambda: "scrape_jobs_streams_open 0.0" in metrics_of(small_service))


def test_head_frees_its_slot(small_service: Service) -> None:
    for _ in range(3 * STREAMS):
        answer = requests.head(f"{small_service.jobs}/events", timeout=30)
        assert answer.status_code == 200
    wait_until(lambda: "scrape_jobs_streams_open 0.0" in metrics_of(small_service))


def metrics_of(service: Service) -> str:
    return requests.get(f"{service.url}/metrics", timeout=30).text


def test_refused_streams_free_their_slots(small_service: Service) -> None:
    unknown = "0190f3a0-0000-7000-8000-00000000ffff"
    for _ in range(2 * STREAMS):
        assert requests.get(f"{small_service.jobs}/{unknown}/events", timeout=30).status_code == 404
    assert has_free_slot(small_service)


def test_stream_survives_hostile_texts(service: Service) -> None:
    domain, text = new_domain(), "\r\nevent: job\n\ndata: {}\u2028\u0085<img src=x onerror=y>"
    with EventSource(f"{service.jobs}/events?domain={domain}").ready() as source:
        job = service.create(domain=domain, metadata={"x": text})
        service.change(job["id"], status="running")
        changed = service.change(job["id"], status="failed", error_message=text, stats={text: text})
        frame = source.wait_for_version(job["id"], 3)
        assert frame["job"]["stats"] == {text: text}
        assert frame["job"]["error_message"] == changed["error_message"]
