"""The tutorial, run from the first to the last command."""

from pathlib import Path

from support.documents import Page, answers, blocks, run_in_bash
from support.service import ROOT, Service, free_port

TUTORIAL = Page(ROOT / "docs" / "tutorial.md")
STEPS = (
    "1. Start the service",
    "2. Order a crawl",
    "3. Write a worker",
    "4. Look at the results",
    "5. A job that fails",
    "6. Receive webhooks",
)
KEYS = "7. Use API keys"


def assert_lines_in_order(output: str, lines: list[str]) -> None:
    """Assert that the lines end in this order; curl prints no newline before one of them."""
    position = 0
    for line in lines:
        found = output.find(f"{line}\n", position)
        assert found >= position, f"{line!r} is missing in {output[position:]!r}"
        position = found + len(line)


def test_tutorial_does_as_described(own_database: str, tmp_path: Path) -> None:
    worker, receiver = blocks(TUTORIAL.text, "python")
    (tmp_path / "worker.py").write_text(worker)
    (tmp_path / "receiver.py").write_text(receiver)
    script = "\n".join(line for title in STEPS for line in blocks(TUTORIAL.section(title), "bash"))
    port = str(free_port())
    with Service(own_database, SCRAPE_JOBS_WEBHOOK_ALLOW="127.0.0.1") as service:
        output = run_in_bash(
            script.replace("127.0.0.1:8000", f"127.0.0.1:{port}"),
            tmp_path,
            f"127.0.0.1:{service.port}",
            API=service.jobs,
            RECEIVER_PORT=port,
        )
        found = answers(output)
        assert all(answer["success"] for answer in found), output
        ready, ordered, repeated, listed, results, figures, history, retried, place, cancelled = (
            found[:10]
        )
        assert ready["data"] == {"status": "ready"}
        assert ordered == repeated
        assert len(listed["data"]) == 3
        assert set(listed["data"][0]) == {"domain", "status", "priority"}
        for text in blocks(TUTORIAL.text, "")[1:]:  # the first starts the service
            assert_lines_in_order(output, text.splitlines())
        assert sorted(job["status"] for job in results["data"]) == [
            "completed",
            "completed",
            "failed",
        ]
        assert len(figures["data"]["groups"]) == 3
        assert history["data"][-1]["new_status"] == "failed"
        assert retried["data"]["retry_count"] == 0
        assert place["data"]["reason"].startswith("The job is not due before")
        assert cancelled["data"]["status"] == "cancelled"
        assert len(found[-1]["data"]) == 3  # the deliveries


def test_keys_do_as_described(own_database: str, tmp_path: Path) -> None:
    script = "\n".join(blocks(TUTORIAL.section(KEYS), "bash"))
    with Service(own_database, SCRAPE_JOBS_AUTH="keys") as service:
        output = run_in_bash(
            script, tmp_path, f"127.0.0.1:{service.port}", DATABASE_URL=own_database
        )
    assert output.startswith("HTTP/1.1 401")
    ours, theirs, listed, figures = answers(output)
    assert (ours["data"]["domain"], theirs["data"]["domain"]) == ("ours.example", "theirs.example")
    assert [job["domain"] for job in listed["data"]] == ["theirs.example"]
    assert figures["data"]["total"] == 1
    assert "their dashboard" in output
    assert "The history is as it was written." in output
