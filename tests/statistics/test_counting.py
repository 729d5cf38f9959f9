"""Counting of status changes into the running totals."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime

import psycopg2
import pytest

from app import database
from app.database import Statement
from app.statistics import service
from support.database import migrate, new_database
from support.factories import new_domain
from support.figures import StatisticsApi, statistics_api
from support.service import own_work
from support.statistics import by_status

# One job for each minute, created and completed in that minute.
MANY_JOBS = """
INSERT INTO scrape_jobs (id, domain_id, domain, job_type, status, priority, max_retries, completed_at, created_at,
    updated_at, version, status_seq)
SELECT gen_random_uuid(), gen_random_uuid(), 'd' || n %% 100 || '.example', 'scrape', 'completed', 5, 3, at, at, at,
    2, 2
FROM generate_series(1, %(jobs)s) AS n, LATERAL (SELECT %(first)s + n * interval '1 minute' AS at) AS m;
INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes, stats, retry_count,
    previous_seq)
SELECT id, seq, created_at, 'updated', CASE seq WHEN 2 THEN 'pending' END, (ARRAY['pending', 'completed'])[seq],
    'system', '{}', '{}', 0, CASE seq WHEN 2 THEN 1 END
FROM scrape_jobs, generate_series(1, 2) AS seq;
INSERT INTO uncounted_events SELECT job_id, seq FROM job_events WHERE seq = 1 LIMIT 10;
ANALYZE
"""

# Rows of these tables that all reads touched.
TOUCHED = """
SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables WHERE relname IN ('scrape_jobs', 'job_events')
"""


@pytest.fixture
def large_api(server_url: str) -> Iterator[StatisticsApi]:
    for url in new_database(server_url):
        migrate(url)
        with statistics_api(url, threads=1) as api:
            api.sql(MANY_JOBS, {"jobs": 20_000, "first": datetime(2024, 1, 1, tzinfo=UTC)})
            yield api


def test_reading_touches_few_of_many_jobs(large_api: StatisticsApi) -> None:
    api = large_api
    flush = Statement(
        "flush_figures_of_use",
        promise="A statement of a test.",
        sql="SELECT pg_stat_force_next_flush()",
    )
    window = {"from": "2024-01-04T07:20:30Z", "to": "2024-01-06T08:30:30Z"}

    def touched(query: Mapping[str, str]) -> int:
        with own_work(api.app):
            database.run(flush, {})
            before = int(api.sql(TOUCHED)[0][0])
            api.ask(query)
            database.run(flush, {})
        return int(api.sql(TOUCHED)[0][0]) - before

    asked: Sequence[dict[str, str]] = (
        {}, window, {"from": window["from"]}, {"to": window["to"]}, {**window, "group_by": "hour"},
        {"domain": "d1.example"}, {"domain": "d1.example", **window}, {"group_by": "domain"},
        {"group_by": "domain", **window},
    )  # fmt: skip
    # The minimum of three runs, because the statistics include reads by autovacuum.
    assert [query for query in asked if min(touched(query) for _ in range(3)) > 2000] == []


def test_only_one_process_counts(api: StatisticsApi, server_url: str) -> None:
    domain = new_domain()
    api.make("running", domain=domain)
    expected = api.ask({"domain": domain})
    ((name,),) = api.sql("SELECT current_database()")
    with closing(psycopg2.connect(server_url, dbname=name)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('statistics', 0))")
        assert api.count() == 0
        assert api.ask({"domain": domain}) == expected
        other.rollback()
    assert api.count() == 2
    assert api.ask({"domain": domain}) == expected


def test_counting_continues_until_nothing_is_left(
    api: StatisticsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_BATCH", 2)
    domain = new_domain()
    api.complete(domain, [5.0] * 7)
    assert api.count() == 7
    assert api.count() == 0
    assert api.ask({"domain": domain})["by_status"] == by_status(completed=7)


def test_jobs_by_status_cover_all_time(api: StatisticsApi) -> None:
    domain = new_domain()
    api.make("running", "failed", domain=domain)
    rows = api.sql("SELECT status, count(*) FROM scrape_jobs GROUP BY 1")
    for _ in range(2):
        with own_work(api.app):
            assert service.jobs_by_status() == by_status(**dict(rows))
        assert api.ask({})["by_status"] == by_status(**dict(rows))
        api.count()
