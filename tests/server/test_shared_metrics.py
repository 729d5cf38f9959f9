"""Metrics in shared memory, which survive cleaned folders and crashes and leave no files."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.server import shared_memory
from app.server.shared_metrics import SharedMetrics
from support.metrics import metrics, value
from support.servers import SERVERS
from support.service import Service, wait_until

CREATED = {"old": "none", "new": "pending"}


@pytest.fixture(params=SERVERS)
def watched(request: pytest.FixtureRequest, database_url: str, folder: Path) -> Iterator[Service]:
    """A service that would create its temporary files in `folder`."""
    with Service(database_url, SERVER=request.param, TMPDIR=str(folder)) as service:
        yield service


def pids(service: Service) -> set[int]:
    return {worker.pid for worker in service.workers()}


def created(service: Service) -> float:
    return value(metrics(service), "scrape_jobs_transitions_total", **CREATED)


def test_service_survives_its_temporary_folder(watched: Service, folder: Path) -> None:
    assert list(folder.iterdir()) == []
    for _ in range(5):
        watched.create(domain="cleaned.example")
    assert created(watched) == 5
    shutil.rmtree(folder)
    for worker in watched.workers():
        before = pids(watched)
        worker.kill()
        wait_until(lambda known=before: len(pids(watched)) == 2 and pids(watched) != known)  # type: ignore[misc]
        watched.create(domain="cleaned.example")
    assert created(watched) == 7
    assert value(metrics(watched), "scrape_jobs_lease_expiries_total") == 0
    assert ("scrape_jobs_lease_expiries_total", ()) in metrics(watched)


def test_reload_keeps_counting(watched: Service) -> None:
    for number in range(3):
        watched.create(domain="reloaded.example")
        assert created(watched) == number + 1
        before = pids(watched)
        watched.master().send_signal(signal.SIGHUP)
        wait_until(lambda known=before: len(pids(watched)) == 2 and not pids(watched) & known, 30)  # type: ignore[misc]
    limit = "scrape_jobs_database_connections_limit"
    wait_until(lambda: value(metrics(watched), limit) == 2 * (4 + 3), 30)


def test_killed_service_leaves_no_files(watched: Service, folder: Path) -> None:
    watched.create()
    assert requests.get(f"{watched.url}/metrics", timeout=30).status_code == 200
    shared = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    workers = watched.workers()
    for process in [watched.master(), *workers]:
        process.kill()
    wait_until(lambda: not any(worker.is_running() for worker in workers))
    assert list(folder.iterdir()) == []
    if os.path.isdir("/dev/shm"):
        assert not {name for name in set(os.listdir("/dev/shm")) - shared if "gunicorn" in name}


def samples(shared: SharedMetrics) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("le", "")): sample.value
        for metric in shared.collect()
        for sample in metric.samples
    }


def name(kind: str, sample: str, **labels: str) -> str:
    return json.dumps([kind, "m", sample, labels, "help"], sort_keys=True)


def test_regions_add_up_and_are_used_again() -> None:
    shared = SharedMetrics()
    counter, gauge = name("counter", "m_total"), name("gauge", "g")
    first = shared.take()
    for region, amount in ((first, 2.0), (shared.take(), 3.0)):
        shared.enter(region)
        shared.add(counter, amount)
        shared.set(gauge, amount)
    assert samples(shared) == {("m_total", ""): 5, ("g", ""): 5}
    shared.release(first)
    assert samples(shared) == {("m_total", ""): 5, ("g", ""): 3}
    assert shared.take() == first
    shared.enter(first)
    shared.add(counter, 1)
    assert samples(shared)["m_total", ""] == 6


def test_histograms_are_cumulative_over_regions() -> None:
    shared = SharedMetrics()
    for _ in range(2):
        shared.enter(shared.take())
        for bound in ("+Inf", "0.5", "10.0"):
            shared.add(name("histogram", "m_bucket", le=bound), 1)
        shared.add(name("histogram", "m_sum"), 7)
    assert samples(shared) == {
        ("m_bucket", "0.5"): 2,
        ("m_bucket", "10.0"): 4,
        ("m_bucket", "+Inf"): 6,
        ("m_count", ""): 6,
        ("m_sum", ""): 14,
    }


def test_full_region_counts_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "REGION_BYTES", 64 * 1024)
    shared = SharedMetrics()
    for _ in range(2):
        for number in range(2000):
            shared.add(name("counter", f"m{number}_total"), 1)
    found = samples(shared)
    assert 100 < len(found) < 2000
    assert set(found.values()) == {2}


def test_file_without_memfd_has_no_name(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    shared = SharedMetrics()
    shared.add(name("counter", "m_total"), 1)
    assert samples(shared) == {("m_total", ""): 1}
    assert list(folder.iterdir()) == []
