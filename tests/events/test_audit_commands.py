"""The commands `flask audit verify` and `flask audit show`."""

from datetime import datetime

from app.events.audit_queries import FIRST_SEQ, SHOWN_BATCH
from support.audit import (
    ADDRESS,
    NO_FAULTS,
    AuditedService,
    copy_event,
    export_events,
    fault_line,
    run_flask,
)


def test_export_shows_all_columns_exactly(audited: AuditedService) -> None:
    job = audited.create_with_history()
    for seq in (0, -1, FIRST_SEQ):
        audited.sql(copy_event(3, seq), job=job)
    rows = audited.sql(
        "SELECT to_jsonb(e), e.at, e.hash FROM job_events e WHERE job_id = %(job)s ORDER BY seq",
        job=job,
    )
    recorded = [{**row, "at": at, "hash": bytes(digest).hex()} for row, at, digest in rows]
    assert [row["seq"] for row in recorded] == [FIRST_SEQ, -1, 0, 1, 2, 3, 4, 5]
    assert any(row["at"].microsecond % 1000 for row in recorded)
    assert {ADDRESS} == {row["address"] for row in recorded}
    for column in ("stats", "previous_seq", "retry_count", "seconds", "error_message"):
        assert any(row[column] is not None for row in recorded), column
    assert [
        {**event, "at": datetime.fromisoformat(event["at"])}
        for event in export_events(audited, job)
    ] == recorded


def test_long_history_is_exported_in_full(audited: AuditedService) -> None:
    job, last = audited.create_with_history(), 2 * SHOWN_BATCH + 7
    audited.sql(
        copy_event(3, "n").replace(" WHERE", f", generate_series(6, {last}) AS n WHERE"), job=job
    )
    assert [event["seq"] for event in export_events(audited, job)] == list(range(1, last + 1))


def test_command_prints_faults_and_exits_with_1(audited: AuditedService) -> None:
    job = audited.create_with_history()
    intact = run_flask(audited.url, "audit", "verify")
    assert (intact.returncode, intact.stdout) == (0, f"{NO_FAULTS}\n")
    audited.sql("UPDATE job_events SET address = NULL WHERE job_id = %(job)s AND seq = 4", job=job)
    faulty = run_flask(audited.url, "audit", "verify")
    assert (faulty.returncode, faulty.stdout) == (1, f"{fault_line(job, 4, 'changed')}\n")
    assert faulty.stderr.splitlines()[-1] == "Error: The history of 1 job is not as it was written"


def test_command_without_database_prints_one_line() -> None:
    failed = run_flask("postgresql://nobody@127.0.0.1:1/none", "audit", "verify")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("Error: Database ")
