"""The README's tour, run word for word against the service."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from support.documents import ADDRESS, Page, answers, blocks, run_in_bash
from support.service import ROOT, Service, wait_until

README = Page(ROOT / "README.md")
MAX_LINES = 150


def test_readme_is_short() -> None:
    assert len(README.text.splitlines()) <= MAX_LINES


def test_tour_does_as_described(own_database: str, tmp_path: Path) -> None:
    by_hand, by_worker = (
        blocks(README.section(title), "bash") for title in ("A job by hand", "A worker's day")
    )
    (worker,) = blocks(README.section("A worker's day"), "python")
    script = "\n".join([*by_hand, "echo THE WORKER", *by_worker])
    with Service(own_database) as service:
        address = f"127.0.0.1:{service.port}"
        output = run_in_bash(script, tmp_path, address)
        left = ended_by_worker(worker.replace(ADDRESS, address), service)
    first, second = (answers(part) for part in output.split("THE WORKER"))

    assert [answer.get("error") for answer in first] == [
        *[None] * 6,
        "Cannot transition from 'cancelled' to 'running'",
        None,
    ]
    created, _, progress, shown, patched, cancelled, _, history = first
    assert created["data"]["priority"] == 7
    assert progress["data"] == shown["data"]
    assert shown["data"]["stats"] == {"pagesProcessed": 55, "totalPages": 100}
    assert patched["data"]["stats"]["dataExtracted"] == {"products": 156}
    assert cancelled["data"]["error_message"] == "Cancelled via API: User requested cancellation"
    assert [event["action"] for event in history["data"]] == [
        "created",
        *["updated"] * 3,
        "cancelled",
    ]

    assert all(answer["success"] for answer in second)
    low, high, upcoming, claimed, _, beat, completed, place, figures = second
    assert (low["data"]["priority"], high["data"]["priority"]) == (3, 9)
    assert [job["id"] for job in upcoming["data"]] == [high["data"]["id"], low["data"]["id"]]
    assert claimed["data"][0]["id"] == high["data"]["id"]
    assert beat["data"]["status"] == "running"
    assert completed["data"]["status"] == "completed"
    assert place["data"]["id"] == low["data"]["id"]
    assert place["data"]["reason"].startswith("The job is the next")
    assert figures["data"]["by_status"]["completed"] == 1

    assert (left["id"], left["status"]) == (low["data"]["id"], "completed")
    assert left["stats"] == {
        "pagesProcessed": 3, "totalPages": 3, "dataExtracted": {"products": 156},
    }  # fmt: skip


def ended_by_worker(script: str, service: Service) -> dict[str, Any]:
    """Run the worker of the README until no job of its domain is left; return the last job."""
    jobs = f"{service.jobs}?domain=shop.example&sort=-updated_at"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients/python/src")},
    )
    try:
        wait_until(
            lambda: not requests.get(f"{jobs}&status=pending,running", timeout=30).json()["data"]
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    last: dict[str, Any] = requests.get(jobs, timeout=30).json()["data"][0]
    return last
