"""Jobs that retention removes or keeps."""

import os
import pty

import pytest

from app.jobs import retention
from support.retention import NINETY_DAYS, TABLES, OldJobs
from support.service import own_work

PENDING_WORK = {
    "a webhook that is not told yet": "INSERT INTO outbox (job_id, seq, created_at) VALUES (%(id)s, 2, now())",
    "a delivery under way": "UPDATE webhook_deliveries SET status = 'pending' WHERE job_id = %(id)s",
    "an event that is not counted": "INSERT INTO uncounted_events (job_id, seq) VALUES (%(id)s, 2)",
}
SETTLED = """
UPDATE webhook_deliveries SET status = 'failed';
TRUNCATE outbox, uncounted_events
"""


def test_old_jobs_are_removed_with_dependent_rows(old_jobs: OldJobs) -> None:
    for status in ("completed", "failed", "cancelled"):
        old_jobs.fill(400, status)
    kept = (
        old_jobs.fill(2, "pending")
        + old_jobs.fill(1, "running")
        + old_jobs.fill(5, "completed", days=80)
    )
    process = old_jobs.start()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "Removed 1200 jobs; kept 3 jobs of that age.\n")
    assert err == "Removing\n"  # no terminal, so no progress bar
    assert old_jobs.left() == set(kept)


def test_terminal_shows_a_progress_bar(
    old_jobs: OldJobs,
) -> None:
    old_jobs.fill(1, days=101)
    old_jobs.fill(700)
    terminal, end = pty.openpty()
    process = old_jobs.start(stderr=end)
    os.close(end)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.read() == "Removed 701 jobs; kept 0 jobs of that age.\n"
    assert process.wait(60) == 0
    assert b"Removing" in shown
    assert b"\r" in shown
    assert b"100%" in shown
    assert b"Removed" not in shown


def test_each_batch_is_committed_before_progress(old_jobs: OldJobs) -> None:
    old_jobs.fill(1100)
    old_jobs.fill(1, "pending", days=99)
    with own_work(old_jobs.app):
        old = retention.prune_range(NINETY_DAYS)
        steps = []
        for step in retention.prune(old, dry_run=False):
            steps.append(step)
            assert len(old_jobs.left()) == 1101 - sum(step.removed for step in steps)
    assert [(step.removed, step.kept) for step in steps] == [(500, 0), (500, 0), (100, 1)]
    assert old.oldest is not None
    assert old.oldest < steps[0].reached < steps[1].reached < steps[2].reached < old.cutoff


def test_jobs_of_one_moment_are_all_found(old_jobs: OldJobs) -> None:
    old_jobs.fill(1201)
    old_jobs.sql("UPDATE scrape_jobs SET updated_at = now() - interval '95 days'")
    assert old_jobs.prune() == "Removed 1201 jobs; kept 0 jobs of that age.\n"
    assert old_jobs.left() == set()


def test_age_counts_from_the_last_change(old_jobs: OldJobs) -> None:
    young = old_jobs.fill(1, days=90, minutes=-1)
    old_jobs.fill(1, days=90, minutes=1)
    old_jobs.sql("UPDATE scrape_jobs SET created_at = '2020-01-01Z'")
    assert old_jobs.prune() == "Removed 1 job; kept 0 jobs of that age.\n"
    assert old_jobs.left() == set(young)


@pytest.mark.parametrize(
    ("older_than", "removed"),
    [("5400s", 3), ("90m", 3), ("5h", 2), ("2d", 1), ("1w", 0), ("0s", 4)],
)
def test_units_of_age(old_jobs: OldJobs, older_than: str, removed: int) -> None:
    for minutes in (1, 120, 360, 4320):
        old_jobs.fill(1, days=0, minutes=minutes)
    assert old_jobs.prune(older_than=older_than).startswith(f"Removed {removed} job")
    assert len(old_jobs.left()) == 4 - removed


def test_where_nothing_is_old_nothing_is_done(old_jobs: OldJobs) -> None:
    kept = old_jobs.fill(3, days=1)
    assert old_jobs.prune() == "Removed 0 jobs; kept 0 jobs of that age.\n"
    assert old_jobs.left() == set(kept)


@pytest.mark.parametrize("status", ["pending", "running"])
def test_unfinished_jobs_are_kept(old_jobs: OldJobs, status: str) -> None:
    kept = old_jobs.fill(2, status, days=4000)
    old_jobs.fill(1)
    assert old_jobs.prune() == "Removed 1 job; kept 2 jobs of that age.\n"
    assert old_jobs.left() == set(kept)


@pytest.mark.parametrize("work", PENDING_WORK)
@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_job_with_pending_work_is_kept(old_jobs: OldJobs, status: str, work: str) -> None:
    (kept,) = old_jobs.fill(1, status)
    old_jobs.sql(PENDING_WORK[work], {"id": kept})
    old_jobs.fill(3, status)
    assert old_jobs.prune("--dry-run") == "Would remove 3 jobs; kept 1 job of that age.\n"
    assert old_jobs.prune() == "Removed 3 jobs; kept 1 job of that age.\n"
    assert old_jobs.left() == {kept}
    old_jobs.sql(SETTLED)
    assert old_jobs.prune() == "Removed 1 job; kept 0 jobs of that age.\n"
    assert old_jobs.left() == set()


@pytest.mark.parametrize("seq", [1, 2])
def test_job_with_recent_event_is_kept(old_jobs: OldJobs, seq: int) -> None:
    kept, _ = old_jobs.fill(2)
    young = "UPDATE job_events SET at = now() - interval '89 days' WHERE job_id = %(id)s AND seq = %(seq)s"
    old_jobs.sql(young, {"id": kept, "seq": seq})
    assert old_jobs.prune("--dry-run") == "Would remove 1 job; kept 1 job of that age.\n"
    assert old_jobs.prune() == "Removed 1 job; kept 1 job of that age.\n"
    assert old_jobs.left() == {kept}
    assert old_jobs.prune(older_than="88d") == "Removed 1 job; kept 0 jobs of that age.\n"


def test_kept_jobs_do_not_block_others(old_jobs: OldJobs) -> None:
    kept = old_jobs.fill(1100, "running", days=200) + old_jobs.fill(600, "pending", days=110)
    old_jobs.fill(10, days=150)
    old_jobs.fill(10, days=100)
    assert old_jobs.prune() == "Removed 20 jobs; kept 1700 jobs of that age.\n"
    assert old_jobs.left() == set(kept)


def test_dry_run_prints_number_and_removes_nothing(old_jobs: OldJobs) -> None:
    old_jobs.fill(1020, "failed")
    old_jobs.fill(7, "running")
    (owing,) = old_jobs.fill(1)
    old_jobs.sql(PENDING_WORK["a delivery under way"], {"id": owing})
    before = [old_jobs.sql(f"SELECT t::text FROM {table} t ORDER BY 1") for table in TABLES]
    process = old_jobs.start("--dry-run")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (
        0,
        "Would remove 1020 jobs; kept 8 jobs of that age.\n",
        "Looking\n",
    )
    assert [old_jobs.sql(f"SELECT t::text FROM {table} t ORDER BY 1") for table in TABLES] == before
    assert old_jobs.prune() == "Removed 1020 jobs; kept 8 jobs of that age.\n"


def test_nothing_else_is_touched(old_jobs: OldJobs) -> None:
    old_jobs.fill(5)
    old_jobs.fill(5, days=1)
    (keep,) = old_jobs.fill(1, days=2)
    old_jobs.sql(
        "INSERT INTO outbox (job_id, seq, created_at) VALUES (%(id)s, 2, now())", {"id": keep}
    )
    rest = "WHERE t.job_id IN (SELECT id FROM scrape_jobs WHERE updated_at > now() - interval '9 days')"
    tables = [f"SELECT t::text FROM {table} t {rest} ORDER BY 1" for table in TABLES[1:5]]
    before = [old_jobs.sql(query) for query in tables]
    old_jobs.prune()
    assert [old_jobs.sql(query) for query in tables] == before
    assert len(old_jobs.left()) == 6
