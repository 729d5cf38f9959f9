"""The audit finds tampering: events or jobs that were changed, removed, added or moved.

This is what hashes without a secret can prove. The audit does not find three attacks by a role that
can write all tables: recomputing all hashes from the altered event on, up to the hash in the job;
removing a job with all its rows, as the retention command does; resetting a job to an earlier event
with its status, time, version and chain. The database roles of deploy/roles.sql protect against
these.
"""

import uuid
from collections.abc import Mapping, Sequence

import psycopg2
import psycopg2.errors
import pytest

from app.events import audit_queries
from app.events import queries as events
from app.events.audit_queries import EVENTS_BATCH, FIRST_ID, FIRST_SEQ
from support.audit import (
    AuditedService,
    copy_event,
    fault_line,
    remove_events,
)

OTHER_VALUES: Mapping[str, Sequence[str]] = {
    "uuid": ("gen_random_uuid()", "NULL"),
    "bigint": ("{0} + 1000", "coalesce({0}, 0) - 1000", "NULL", "0"),
    "integer": ("{0} + 1", "NULL", "0"),
    "double precision": ("{0} + 1e-9", "'NaN'", "'Infinity'", "NULL", "0", "'-0'"),
    "timestamp with time zone": (
        "{0} + interval '1 us'",
        "{0} - interval '1000 years'",
        "'infinity'",
        "'294276-12-31'",
    ),
    "text": ("{0} || 'x'", "{0} || ' '", "''", "NULL", "'system'", "'anonymous'"),
    "jsonb": ("'{{}}'", "{0} || '{{\"x\": 1}}'", "NULL", "'{{\"x\": null}}'", "'null'"),
    "bytea": ("''", "sha256({0})", "{0} || '\\x00'"),
}
"""Other values to set a column to, by its type. {0} stands for the old value."""


def test_change_of_any_column_is_found(audited: AuditedService) -> None:
    _, job, _ = (audited.create_with_history() for _ in range(3))
    columns = audited.sql(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = 'job_events'"
    )
    assert {"job_id", "changes", "hash"} < {name for name, _ in columns}
    missed: list[str] = []
    for seq in (1, 3, 4, 5):
        for name, kind in columns:
            assert kind in OTHER_VALUES, f"OTHER_VALUES lacks the type {kind}"
            tried = [
                alter_column(audited, job, seq, name, value.format(name), missed)
                for value in OTHER_VALUES[kind]
            ]
            assert any(tried), f"no other value fits {name}"
    assert missed == []
    assert audited.verify() == []


def alter_column(
    audited: AuditedService, job: str, seq: int, column: str, value: str, missed: list[str]
) -> bool:
    """Alter a column of an event, verify, and undo it.

    Appends to `missed` if the audit does not find the change. Returns whether the value changed.
    """
    audited.sql(
        f"CREATE TEMP TABLE kept AS SELECT * FROM job_events WHERE (job_id, seq) = ('{job}', {seq})"
    )
    try:
        changed = audited.sql(
            f"UPDATE job_events e SET {column} = {value} WHERE (e.job_id, e.seq) = ('{job}', {seq})"
            f" AND e.{column}::text IS DISTINCT FROM ({value})::text RETURNING job_id, seq"
        )
        if not changed:
            return False
        ((new_job, new_seq),) = changed
        gap = seq + 1 if seq < 5 else 4 if column == "job_id" else new_seq
        expected = {
            "job_id": [fault_line(job, gap, ""), fault_line(new_job, seq, "without a job")],
            "seq": [fault_line(job, gap if new_seq > 0 else new_seq, "")],
        }.get(column, [fault_line(job, seq, "changed")])
        try:
            found = audited.verify()
        except AssertionError as failure:
            found = str(failure).splitlines()[:1]
        matches = [
            line.startswith(start)
            for line, start in zip(sorted(found), sorted(expected), strict=False)
        ]
        if len(found) != len(expected) or not all(matches):
            missed.append(f"event {seq}: {column} = {value}: {found}, not {expected}")
        audited.sql(f"DELETE FROM job_events WHERE (job_id, seq) = ('{new_job}', {new_seq})")
        audited.sql("INSERT INTO job_events SELECT * FROM kept")
    except (psycopg2.errors.CheckViolation, psycopg2.errors.NotNullViolation):
        return False  # a constraint of the table rejects the value
    finally:
        audited.sql("DROP TABLE kept")
    return True


def renumber_events(*pairs: tuple[int, int]) -> str:
    """Return SQL that gives events other numbers, as pairs of old and new. They may swap."""
    aside = [
        f"UPDATE job_events SET seq = {-1000 - new} WHERE job_id = %(job)s AND seq = {old}"
        for old, new in pairs
    ]
    return ";".join(
        [*aside, "UPDATE job_events SET seq = -1000 - seq WHERE job_id = %(job)s AND seq < -900"]
    )


def rehash_events(*numbers: int) -> str:
    """Return SQL that recomputes the hashes of these events."""
    previous = "(SELECT p.hash FROM job_events p WHERE p.job_id = e.job_id AND p.seq = e.seq - 1)"
    new_hash = events.event_hash(previous, "e")
    update = f"UPDATE job_events e SET hash = {new_hash} WHERE job_id = %(job)s AND seq = "
    return ";".join(update + str(number) for number in numbers)


def update_job(assignments: str) -> str:
    return f"UPDATE scrape_jobs SET {assignments} WHERE id = %(job)s"


def update_event(seq: int, assignments: str) -> str:
    return f"UPDATE job_events SET {assignments} WHERE job_id = %(job)s AND seq = {seq}"


TAMPERINGS: Mapping[str, tuple[Sequence[str], int, str]] = {
    "the first one removed": ([remove_events("= 1")], 2, "missing before"),
    "a middle one removed": ([remove_events("= 3")], 4, "missing before"),
    "the last one removed": ([remove_events("= 5")], 4, "missing after"),
    "the last two removed": ([remove_events("> 3")], 3, "missing after"),
    "two gaps": ([remove_events("IN (2, 4)")], 3, "missing before"),
    "all but the last removed": ([remove_events("< 5")], 5, "missing before"),
    "all removed": ([remove_events("> 0")], 0, "missing after"),
    "one removed and the gap closed": (
        [remove_events("= 2"), renumber_events((3, 2), (4, 3), (5, 4))],
        2,
        "changed",
    ),
    "the last one hidden": ([remove_events("= 5"), update_job("version = 4")], 4, "changed"),
    "one added at the end": ([copy_event(5, 6)], 6, "added"),
    "one added at the end, with its hash": ([copy_event(5, 6), rehash_events(6)], 6, "added"),
    "two added at the end, with their hashes": (
        [copy_event(4, 6), copy_event(5, 7), rehash_events(6, 7)],
        6,
        "added",
    ),
    "one added at the end, and counted": (
        [copy_event(5, 6), update_job("version = 6")],
        6,
        "changed",
    ),
    "one added, hashed and counted": (
        [copy_event(5, 6), rehash_events(6), update_job("version = 6")],
        6,
        "changed",
    ),
    "one added before the first": ([copy_event(1, 0)], 0, "added"),
    "one added far before the first": ([copy_event(1, -7)], -7, "added"),
    "one added in the middle": (
        [renumber_events((3, 4), (4, 5), (5, 6)), copy_event(2, 3)],
        3,
        "changed",
    ),
    "one added far behind": ([copy_event(5, 9)], 9, "added"),
    "the first two swapped": ([renumber_events((1, 2), (2, 1))], 1, "changed"),
    "two in the middle swapped": ([renumber_events((3, 4), (4, 3))], 3, "changed"),
    "the last two swapped": ([renumber_events((4, 5), (5, 4))], 4, "changed"),
    "the first and the last swapped": ([renumber_events((1, 5), (5, 1))], 1, "changed"),
    "two swapped, but for their hashes": (
        [renumber_events((3, 4), (4, 3)), rehash_events(3, 4)],
        5,
        "changed",
    ),
    "one renumbered": ([renumber_events((3, 30))], 4, "missing before"),
    "all renumbered": (
        [renumber_events((1, 2), (2, 3), (3, 4), (4, 5), (5, 6))],
        2,
        "missing before",
    ),
    "one altered, with its hash": (
        [update_event(3, "actor_name = 'Eve'"), rehash_events(3)],
        4,
        "changed",
    ),
    "the last one altered, with its hash": (
        [update_event(5, "actor_name = 'Eve'"), rehash_events(5)],
        5,
        "changed",
    ),
    "the chain's end changed": ([update_job("chain = sha256(chain)")], 5, "changed"),
    "the chain's end emptied": ([update_job("chain = ''")], 5, "changed"),
    "the version raised": ([update_job("version = 6")], 5, "missing after"),
    "the version lowered": ([update_job("version = 4")], 5, "added"),
    "the version lowered twice": ([update_job("version = 3")], 4, "added"),
    "all removed, and the job before it": (
        [remove_events("> 0"), update_job("version = 0, chain = ''")],
        0,
        "missing after",
    ),
    "all removed, and the job far before it": (
        [remove_events("> 0"), update_job("version = -7")],
        0,
        "missing after",
    ),
    "the job's status changed": ([update_job("status = 'failed'")], 5, "missing after"),
    "the job's time changed": (
        [update_job("updated_at = updated_at - interval '1 us'")],
        5,
        "missing after",
    ),
    "the job removed": (["DELETE FROM scrape_jobs WHERE id = %(job)s"], 1, "without a job"),
}
"""Statements that tamper with a job of five events, and the number and kind of the first fault."""


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_at_its_first_event(audited: AuditedService, name: str) -> None:
    statements, seq, kind = TAMPERINGS[name]
    _, job, _ = (audited.create_with_history() for _ in range(3))
    assert audited.verify() == []
    for statement in ";".join(statements).split(";"):
        audited.sql(statement, job=job)
    found = audited.verify()
    if name == "one added far behind":  # both kinds are correct
        found = [line.replace("missing before", "added") for line in found]
    assert found == [fault_line(job, seq, kind)]


def test_event_moved_to_another_job_is_found(audited: AuditedService) -> None:
    job, other = audited.create_with_history(), audited.create_with_history()
    audited.sql(
        "UPDATE job_events SET job_id = %(o)s, seq = 6 WHERE job_id = %(j)s AND seq = 3",
        j=job,
        o=other,
    )
    assert audited.verify() == sorted(
        [fault_line(job, 4, "missing before"), fault_line(other, 6, "added")]
    )


def test_swapped_histories_are_found(audited: AuditedService) -> None:
    job, other = audited.create_with_history(), audited.create_with_history()
    for old, new in ((job, FIRST_ID), (other, job), (FIRST_ID, other)):
        audited.sql(
            "UPDATE job_events SET job_id = %(new)s WHERE job_id = %(old)s",
            old=str(old),
            new=str(new),
        )
    assert audited.verify() == sorted(
        [fault_line(job, 1, "changed"), fault_line(other, 1, "changed")]
    )


@pytest.mark.parametrize("new_id", [str(FIRST_ID), "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_history_moved_to_another_id_is_found(audited: AuditedService, new_id: str) -> None:
    job, _ = audited.create_with_history(), audited.create_with_history()
    audited.sql("UPDATE scrape_jobs SET id = %(n)s WHERE id = %(j)s", j=job, n=new_id)
    audited.sql("UPDATE job_events SET job_id = %(n)s WHERE job_id = %(j)s", j=job, n=new_id)
    assert audited.verify() == [fault_line(new_id, 1, "changed")]


def test_verification_ends_after_the_last_possible_job(
    audited: AuditedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_queries, "JOBS_BATCH", 1)
    job, last = audited.create_with_history(), "ffffffff-ffff-ffff-ffff-ffffffffffff"
    audited.sql("UPDATE scrape_jobs SET id = %(n)s WHERE id = %(j)s", j=job, n=last)
    audited.sql("DELETE FROM job_events WHERE job_id = %(j)s", j=job)
    assert audited.verify() == [fault_line(last, 0, "missing after")]


def test_first_possible_event_is_verified(audited: AuditedService) -> None:
    job = audited.create_with_history()
    audited.sql(copy_event(1, FIRST_SEQ, f"'{FIRST_ID}'"), job=job)
    assert audited.verify() == [fault_line(FIRST_ID, FIRST_SEQ, "without a job")]
    audited.sql("UPDATE scrape_jobs SET id = %(n)s WHERE id = %(j)s", j=job, n=str(FIRST_ID))
    audited.sql("UPDATE job_events SET job_id = %(n)s WHERE job_id = %(j)s", j=job, n=str(FIRST_ID))
    assert audited.verify() == [fault_line(FIRST_ID, FIRST_SEQ, "added")]


@pytest.mark.parametrize("version", [0, -1, -7])
def test_removed_history_is_found_after_new_events(audited: AuditedService, version: int) -> None:
    _, job = audited.create_with_history(), audited.create_with_history()
    audited.sql(remove_events("> 0"), job=job)
    audited.sql(update_job(f"version = {version}, chain = ''"), job=job)
    for pages in range(3):
        audited.update(job, stats={"pagesProcessed": pages})
    first = (
        fault_line(job, 1, "missing before")
        if version == 0
        else fault_line(job, version + 1, "added")
    )
    assert audited.verify() == [first]


def test_events_without_a_job_are_one_fault(audited: AuditedService) -> None:
    audited.create_with_history()
    missing_job = uuid.uuid4()
    audited.sql(
        "INSERT INTO job_events (job_id, seq, at, action, new_status, actor_type, changes)"
        " SELECT %(job)s, n, now(), 'updated', 'running', 'system', '{}'"
        " FROM generate_series(3, %(last)s) AS n",
        job=str(missing_job),
        last=2 * EVENTS_BATCH,
    )
    assert audited.verify() == [fault_line(missing_job, 3, "without a job")]


def test_each_faulty_job_is_named_once(audited: AuditedService) -> None:
    jobs = [audited.create_with_history() for _ in range(6)]
    audited.sql(
        "UPDATE job_events SET actor_name = 'Eve' WHERE job_id = %(job)s AND seq > 2", job=jobs[1]
    )
    audited.sql("UPDATE job_events SET request_id = NULL WHERE job_id = %(job)s", job=jobs[3])
    audited.sql("DELETE FROM job_events WHERE job_id = %(job)s AND seq > 1", job=jobs[5])
    expected = [
        fault_line(jobs[1], 3, "changed"),
        fault_line(jobs[3], 1, "changed"),
        fault_line(jobs[5], 1, "missing after"),
    ]
    assert audited.verify() == sorted(expected)
