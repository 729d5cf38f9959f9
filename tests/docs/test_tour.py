"""The README's tour, run word for word against the service."""

from pathlib import Path

from support.documents import Page, answers, blocks, run_in_bash
from support.service import ROOT, Service

README = Page(ROOT / "README.md")
MAX_LINES = 150


def test_readme_is_short() -> None:
    assert len(README.text.splitlines()) <= MAX_LINES


def test_tour_does_as_described(own_database: str, tmp_path: Path) -> None:
    by_hand, by_worker = (
        blocks(README.section(title), "bash") for title in ("A job by hand", "A worker's day")
    )
    script = "\n".join([*by_hand, "echo THE WORKER", *by_worker])
    with Service(own_database) as service:
        output = run_in_bash(script, tmp_path, f"127.0.0.1:{service.port}")
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
