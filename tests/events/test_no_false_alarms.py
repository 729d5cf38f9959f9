"""The audit finds no fault in an untouched history, whatever its values, length and settings."""

from collections.abc import Mapping, Sequence

import psycopg2
import psycopg2.errors
import pytest
from flask_migrate import upgrade

from app import database
from app.config import Settings
from app.database.session_settings import DEFAULTS, REQUIRED
from app.errors import DatabaseTimeout
from app.events import queries as events
from app.factory import create_app
from support.audit import (
    JOBS,
    AuditedService,
    audited_service,
    export_events,
    fault_line,
    remove_events,
)
from support.database import migrate

SETTINGS: Sequence[Mapping[str, str]] = (
    {
        "timezone": "Asia/Kathmandu",
        "datestyle": "SQL,DMY",
        "bytea_output": "escape",
        "extra_float_digits": "-15",
    },
    {
        "timezone": "America/St_Johns",
        "datestyle": "German",
        "intervalstyle": "iso_8601",
        "extra_float_digits": "3",
    },
    {
        "lc_numeric": "C",
        "standard_conforming_strings": "off",
        "quote_all_identifiers": "on",
        "xmlbinary": "hex",
    },
    {
        "plan_cache_mode": "force_custom_plan",
        "enable_mergejoin": "off",
        "enable_hashjoin": "off",
        "enable_sort": "off",
    },
)
STATS = {
    "pagesProcessed": 1.0,
    "one": 1,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "half": 0.1,
    "minus": -0.0,
    "digits": 10**400,
    "text": 'Ω≈ç√ 😀 \u2028 "quoted" \\ \t',
    "": None,
    "deep": {"a": [[], {}, None, True, 1.50]},
}


def test_session_settings_do_not_change_hashes(
    audited: AuditedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = [audited]
    for settings in SETTINGS:
        with monkeypatch.context() as patched:
            for name, value in settings.items():
                patched.setitem(REQUIRED if name in REQUIRED else DEFAULTS, name, value)
            services.append(AuditedService(audited.url))
    for one in services:
        job = one.create_with_history()
        one.update(job, stats=STATS)
        one.claim(job)
        one.update(job, status="completed", completed_at="2500-01-01T00:00:00.123456Z")
        assert len(one.events(job)) == 8
    assert [one.verify() for one in services] == [[]] * len(services)
    for one in services[1:]:
        one.close()


UNUSUAL_VALUES = (
    ("'2024-02-29T23:59:59.999999Z'", "1", "'NaN'", "'{}'"),
    (
        "'0044-03-15 12:00:00.000001 BC'",
        "NULL",
        "'Infinity'",
        '\'{"a": 1.0, "b": 1, "c": 1.00, "d": 1e400}\'',
    ),
    (
        "'9999-12-31T23:59:59.999999Z'",
        "9223372036854775807",
        "'-0'",
        '\'{"": "\\u00e9 \\\\u0041 \\""}\'',
    ),
    ("'2024-03-31T01:30:00.5+01:00'", "0", "5e-324", "NULL"),
    (
        "'epoch'",
        "-1",
        "1.7976931348623157e308",
        '\'{"a": 1e-400, "b": -0.0, "c": [null, {"d": {}}]}\'',
    ),
    ("now()", "NULL", "NULL", "jsonb_build_object('long', repeat('ä', 300000))"),
)
"""SQL for time, previous_seq, seconds and stats. The table can hold these values, but most of them
cannot come from a request."""


def test_unusual_values_are_verified(audited: AuditedService) -> None:
    job = audited.create_with_history()
    provenance = {
        "action": "",
        "actor_type": "system",
        "actor_id": None,
        "actor_name": "\u0001 '\"\\ 😀",
        "request_id": "null",
        "address": "fe80::1%eth0",
    }
    for at, previous_seq, seconds, stats in UNUSUAL_VALUES:
        append = events.append_event(
            "FROM cur",
            job_id="cur.id",
            seq="cur.version + 1",
            at=f"{at}::timestamptz",
            old_status="NULL::text",
            new_status="cur.status",
            changes=f"coalesce({stats}::jsonb, '{{}}')",
            stats=f"{stats}::jsonb",
            previous_seq=f"{previous_seq}::bigint",
            seconds=f"{seconds}::float8",
            previous_hash="(SELECT cur.chain FROM cur)",
        )
        audited.sql(
            f"""
            WITH cur AS (SELECT * FROM scrape_jobs WHERE id = %(id)s::uuid), {append}
            UPDATE scrape_jobs j SET version = event.seq, chain = event.hash, updated_at = event.at
            FROM event WHERE j.id = event.job_id
            """,
            id=job,
            **provenance,
        )
    assert audited.sql("SELECT count(*) FROM job_events WHERE job_id = %(job)s", job=job) == [
        (5 + len(UNUSUAL_VALUES),)
    ]
    assert audited.verify() == []


OLD_JOBS = """
WITH odd AS (
    SELECT row_number() OVER () AS place, o.* FROM (VALUES
        (timestamptz '2024-02-29 23:59:59.999999Z', float8 'NaN',
            jsonb '{"a": 1.0, "b": 1, "c": 1e400}', 'é 😀'),
        (timestamptz '1969-12-31 23:59:59.000001Z', float8 'Infinity',
            jsonb '{"": null, "\\u00e9": [-0.0]}', NULL),
        (timestamptz '2024-03-31 01:30:00+01', float8 '-0', NULL, ''),
        (timestamptz '9999-12-31 23:59:59.5Z', NULL, jsonb '{}', 'null')
    ) AS o (at, seconds, stats, name)
), job AS (
    INSERT INTO scrape_jobs (id, domain_id, domain, job_type, status, priority, max_retries,
        created_at, updated_at, version, status_seq)
    SELECT gen_random_uuid(), gen_random_uuid(), 'old.example', 'scrape', 'running', 5, 3,
        odd.at, odd.at, events, 2
    FROM unnest(%(events)s::int[]) AS events JOIN odd ON odd.place = 1 + events %% 4 RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, actor_id,
        actor_name, request_id, changes, stats, previous_seq, retry_count, seconds, error_message)
    SELECT job.id, seq, odd.at, 'updated', CASE WHEN seq > 1 THEN 'pending' END, 'running', 'key',
        odd.name, odd.name, odd.name, coalesce(odd.stats, '{}'), odd.stats, nullif(seq - 1, 0), seq,
        odd.seconds, odd.name
    FROM job, generate_series(1, job.version) AS seq JOIN odd ON odd.place = 1 + seq %% 4
) SELECT id FROM job
"""
"""SQL that inserts jobs as the releases without hashes did, each with a given number of events."""


def test_migration_chains_events_of_older_releases(empty_database: str) -> None:
    app = create_app(Settings(auth="off", rate_limit=False, database_url=empty_database))
    with app.app_context():
        upgrade(revision="0004")
        app.extensions["sqlalchemy"].engine.dispose()
    connection = psycopg2.connect(empty_database)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET search_path = public")
        cursor.execute(OLD_JOBS, {"events": [1, 2, 3, 5, 8, 300, *[4] * 200]})
        jobs = [job for (job,) in cursor.fetchall()]
    connection.close()
    migrate(empty_database)
    with audited_service(empty_database) as audited:
        assert audited.verify() == []
        for job in jobs[:6]:
            audited.update(job, stats={"a": 1})
            audited.update(job, status="completed")
        assert audited.verify() == []
        audited.sql(
            "UPDATE job_events SET seconds = 0 WHERE job_id = %(job)s AND seq = 2", job=jobs[5]
        )
        assert audited.verify() == [fault_line(jobs[5], 2, "changed")]


def test_pruned_jobs_are_no_fault(audited: AuditedService) -> None:
    gone, kept = ([audited.create_with_history() for _ in range(3)] for _ in range(2))
    for job in gone:
        audited.succeed("DELETE", f"{JOBS}/{job}")
    audited.sql("TRUNCATE outbox, uncounted_events")
    pruned = audited.app.test_cli_runner().invoke(args=["jobs", "prune", "--older-than", "0s"])
    assert pruned.stdout == "Removed 3 jobs; kept 3 jobs of that age.\n"
    assert audited.verify() == []
    audited.sql("DELETE FROM job_events WHERE job_id = %(job)s AND seq = 1", job=kept[1])
    assert audited.verify() == [fault_line(kept[1], 2, "missing before")]


def test_long_history_is_verified_in_batches(
    audited: AuditedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that reports progress every second has thousands of events.

    A statement of the service may take 5 seconds. Here it may take less, so that a shorter history
    is enough.
    """
    job = audited.create_with_history()
    audited.sql(
        "INSERT INTO job_events SELECT (jsonb_populate_record(e, jsonb_build_object('seq', n))).*"
        " FROM job_events e, generate_series(6, 20005) AS n WHERE job_id = %(job)s AND seq = 3",
        job=job,
    )
    audited.sql("UPDATE scrape_jobs SET version = 20005 WHERE id = %(job)s", job=job)
    monkeypatch.setitem(DEFAULTS, "statement_timeout", "120ms")
    with audited_service(audited.url) as impatient:
        assert impatient.verify() == [fault_line(job, 6, "changed")]


@pytest.mark.parametrize(
    "statement", ["verify_events", "verify_ends_of_histories", "events_of_job"]
)
def test_batch_that_times_out_is_made_smaller(
    audited: AuditedService, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    job, other = audited.create_with_history(), audited.create_with_history()
    audited.sql(remove_events("= 5"), job=other)
    limits, run = [], database.run

    def run_small_batches(
        asked: database.Statement, parameters: database.Parameters
    ) -> list[database.Row]:
        if asked.name == statement:
            limits.append(parameters["limit"])
            if parameters["limit"] > 1:
                raise DatabaseTimeout
        return run(asked, parameters)

    monkeypatch.setattr("app.database.batches.run", run_small_batches)
    assert audited.verify() == [fault_line(other, 4, "missing after")]
    assert [event["seq"] for event in export_events(audited, job)] == [1, 2, 3, 4, 5]
    smallest = limits[: limits.index(1) + 1]
    assert smallest == sorted(smallest, reverse=True)
    assert limits.count(1) > 2


def test_claims_of_all_sizes_are_no_fault(audited: AuditedService) -> None:
    for priority in (10, 9, 8):
        audited.create(priority=priority, scheduled_for="2024-01-01T10:00:00Z")
    for limit in (1, 100):
        assert audited.succeed("POST", f"{JOBS}/next", {"worker_id": "w", "limit": limit})
    assert audited.verify() == []
