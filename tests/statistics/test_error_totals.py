"""The bound on the totals of errors, in new counts and in an upgrade."""

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from app import database
from app.database import Statement
from app.errors import DatabaseFailure
from app.statistics import counting
from app.statistics.error_totals import MAX_PATTERNS, MAX_PATTERNS_OF_SHORT_GRAINS
from support.database import migrate
from support.factories import new_domain
from support.figures import StatisticsApi, statistics_api
from support.migrations import run_migration_command, schema_differences
from support.service import own_work

# One failed job for each of the texts.
FAILURES = """
WITH job AS (
    INSERT INTO scrape_jobs (id, domain_id, domain, job_type, status, priority, max_retries, completed_at, created_at,
        updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), %(domain)s, 'scrape', 'failed', 5, 3, now(), now(),
        now() + n * interval '1 microsecond'
    FROM generate_series(1, cardinality(%(texts)s::text[])) AS n RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, at, action, old_status, new_status, actor_type, changes, stats, retry_count,
        error_message)
    SELECT id, 1, created_at, 'updated', 'running', 'failed', 'system', '{}', '{}', 0,
        (%(texts)s::text[])[row_number() OVER (ORDER BY updated_at)]
    FROM job
) INSERT INTO uncounted_events (job_id, seq) SELECT id, 1 FROM job
"""

GROUPS = """
SELECT grain, count(*) FILTER (WHERE pattern <> '') AS kept, sum(failures)::int AS failures
FROM job_error_totals WHERE domain IN ('', %(domain)s) GROUP BY grain, domain, start, job_type, customer
"""


@pytest.fixture
def api(empty_database: str) -> Iterator[StatisticsApi]:
    migrate(empty_database)
    with statistics_api(empty_database, threads=2) as api:
        yield api


def word(number: int) -> str:
    """Return a word of letters, because patterns replace digits."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def fail(api: StatisticsApi, domain: str, texts: Sequence[str]) -> None:
    api.sql(FAILURES, {"domain": domain, "texts": list(texts)})


def most_of(grain: int) -> int:
    return MAX_PATTERNS_OF_SHORT_GRAINS.get(grain, MAX_PATTERNS)


def shown(figures: dict[str, Any]) -> dict[str, int]:
    return {error["pattern"]: error["count"] for error in figures["errors"]}


def all_errors(figures: dict[str, Any]) -> int:
    return sum(shown(figures).values()) + int(figures.get("other_errors", 0))


def test_new_patterns_are_bounded(api: StatisticsApi) -> None:
    domain = new_domain()
    for batch in range(6):
        fail(
            api,
            domain,
            [f"Broken {word(number)}" for number in range(batch * 500, batch * 500 + 500)],
        )
        api.count()
        found = api.ask({"domain": domain})
        assert all_errors(found) == found["by_status"]["failed"] == 500 * (batch + 1)
        assert len(found["errors"]) == 10
    rows = api.sql(GROUPS, {"domain": domain})
    assert {grain for grain, _, _ in rows} == {0, 60, 600, 900, 3600, 21600, 86400}
    for grain, kept, _ in rows:
        assert kept <= most_of(grain)
    of_grain = Counter({grain: 0 for grain, _, _ in rows})
    for grain, _, failures in rows:
        of_grain[grain] += failures
    assert {of_grain[grain] for grain in (60, 600, 21600)} == {3000}
    assert {of_grain[grain] for grain in (0, 3600, 86400)} == {6000}  # of all jobs, and of the kind


@pytest.mark.parametrize("repeats", [1, 2, 8])
def test_late_outbreak_is_listed(api: StatisticsApi, repeats: int) -> None:
    domain = new_domain()
    noise = [f"Noise {word(number // repeats)}" for number in range(repeats * MAX_PATTERNS * 5)]
    for start in range(0, len(noise), 400):
        fail(api, domain, noise[start : start + 400])
        api.count()
    for batch in range(20):
        fail(
            api,
            domain,
            ["Real outage"] * 5 + [f"More {word(batch * 100 + number)}" for number in range(60)],
        )
        api.count()
    found = api.ask({"domain": domain})
    assert found["errors"][0] == {
        "pattern": "Real outage",
        "count": 100,
        "job_id": found["errors"][0]["job_id"],
    }
    assert all_errors(found) == len(noise) + 20 * 65


def test_frequent_patterns_are_kept(api: StatisticsApi) -> None:
    chance = random.Random(7)
    domain, said = new_domain(), Counter[str]()
    for _ in range(15):
        texts = [f"Text {word(min(int(chance.paretovariate(0.4)), 10**9))}" for _ in range(300)]
        said.update(texts)
        fail(api, domain, texts)
        api.count(chance.randrange(50, 300))
        assert all_errors(api.ask({"domain": domain})) == said.total()
    api.count()
    assert len(said) > 5 * MAX_PATTERNS
    kept = {
        pattern: (failures, missed)
        for pattern, failures, missed in api.sql(
            "SELECT pattern, failures, missed FROM job_error_totals WHERE grain = 0 AND domain = ''"
        )
    }
    rest, most_dropped = kept.pop("")
    assert rest + sum(failures for failures, _ in kept.values()) == said.total()
    assert most_dropped <= said.total() / MAX_PATTERNS
    for pattern, times in said.items():
        failures, missed = kept.get(pattern, (0, most_dropped))
        assert failures <= times <= failures + missed
        assert pattern in kept or times <= said.total() / MAX_PATTERNS


def test_few_patterns_are_counted_exactly(api: StatisticsApi) -> None:
    domain = new_domain()
    for _ in range(3):
        fail(api, domain, [f"Text {word(number)}" for number in range(10)])
        api.count()
    found = api.ask({"domain": domain, "group_by": "domain"})
    assert shown(found) == {f"Text {word(number)}": 3 for number in range(10)}
    assert "other_errors" not in found
    assert "other_errors" not in found["groups"][0]


@pytest.mark.parametrize("counted", [False, True])
def test_unlisted_errors_are_counted(api: StatisticsApi, counted: bool) -> None:
    domain = new_domain()
    fail(api, domain, [f"Text {word(number)}" for number in range(17)] + ["Text a"])
    if counted:
        api.count()
    found = api.ask({"domain": domain, "group_by": "domain"})
    assert (shown(found)["Text a"], len(found["errors"]), found["other_errors"]) == (2, 10, 7)
    assert found["groups"][0]["other_errors"] == 7
    assert list(found) == [
        *list(found)[: list(found).index("errors") + 1],
        "other_errors",
        "groups",
    ]


def test_oversized_row_group_shrinks(api: StatisticsApi) -> None:
    api.sql(
        """INSERT INTO job_error_totals (grain, domain, start, job_type, customer, pattern, failures, job_id)
        SELECT 0, '', 'epoch', '', '', 'x' || n, 1, gen_random_uuid() FROM generate_series(1, 5000) AS n"""
    )
    for number in range(1, 8):
        fail(api, new_domain(), ["Broken"])
        api.count()
        assert all_errors(api.ask({})) == 5000 + number
    assert api.sql("SELECT count(*) FROM job_error_totals WHERE grain = 0 AND domain = ''") == [
        (MAX_PATTERNS + 1,)
    ]


# Totals as releases without the bound stored them.
STORED = """
INSERT INTO job_error_totals (grain, domain, start, job_type, customer, pattern, failures, job_id)
SELECT g, d, CASE g WHEN 0 THEN 'epoch' ELSE date_bin(make_interval(secs => g), at, 'epoch') END, t, c, pattern,
    CASE WHEN n %% 5000 = 0 THEN 50 ELSE 1 END, gen_random_uuid()
FROM (SELECT n, timestamptz '2024-05-01' + n * interval '90 ms' AS at, 'Broken ' || md5(n::text) AS pattern
    FROM generate_series(1, %(texts)s) AS n) AS f
CROSS JOIN (VALUES (0, '', '', ''), (86400, '', '', ''), (21600, '', '', ''), (3600, '', '', ''), (600, '', '', ''),
    (60, '', '', ''), (0, 'a.example', 'scrape', 'none'), (86400, 'a.example', 'scrape', 'none'),
    (3600, 'a.example', 'scrape', 'none')) AS v (g, d, t, c)
"""
SUMS = "SELECT grain, domain, start, sum(failures) FROM job_error_totals GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"


@pytest.mark.timed
@pytest.mark.parametrize("texts", [30_000, 90])
def test_upgrade_bounds_existing_totals(empty_database: str, texts: int) -> None:
    run_migration_command(empty_database, "upgrade", "0006")
    role = f"reader_{uuid.uuid4().hex[:8]}"
    with closing(psycopg2.connect(empty_database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(STORED, {"texts": texts})
        cursor.execute(SUMS)
        before = cursor.fetchall()
        cursor.execute(
            f"CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE ON job_error_totals TO {role}"
        )
        run_migration_command(empty_database, "upgrade")
        try:
            cursor.execute(SUMS)
            assert cursor.fetchall() == before
            cursor.execute("SELECT max(n), sum(n) FROM (SELECT count(*) n FROM job_error_totals WHERE pattern <> ''"
                           " GROUP BY grain, domain, start, job_type, customer) g")  # fmt: skip
            most, rows = cursor.fetchone() or (None, None)
            assert most <= MAX_PATTERNS
            assert rows < texts or texts < MAX_PATTERNS
            cursor.execute(
                """SELECT array_agg(privilege_type::text ORDER BY 1) FROM information_schema.role_table_grants
                WHERE grantee = %s AND table_name = 'job_error_totals'""",
                (role,),
            )
            assert cursor.fetchall() == [(["INSERT", "SELECT", "UPDATE"],)]
        finally:
            cursor.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert schema_differences(empty_database) == []
    assert_read_quickly(empty_database, texts + 49 * (texts // 5000))
    run_migration_command(empty_database, "downgrade", "0006")


def assert_read_quickly(url: str, failures: int) -> None:
    with statistics_api(url, threads=1) as api:
        found = api.ask({})
        start = time.monotonic()
        assert api.ask({}) == found
        assert time.monotonic() - start < 3
        assert all_errors(found) == failures
        assert [error["count"] for error in found["errors"]][:6] == [50] * min(
            6, failures // 5000
        ) or failures < 5000


def test_older_release_cannot_count_after_upgrade(api: StatisticsApi) -> None:
    statement = counting.COUNT.sql.replace("(layout, ", "(").replace(
        "SELECT 2, grain", "SELECT grain"
    )
    assert statement.count("layout") == 0
    older = Statement("count_as_before", promise="A statement of a test.", sql=statement)
    fail(api, new_domain(), ["Broken"])
    with own_work(api.app), pytest.raises(DatabaseFailure):
        database.run(older, {"limit": 10})
    assert api.uncounted() == 1
    assert api.count() == 1


# Totals of many domains, most of them outside the window of the test.
MANY_DOMAINS = """
INSERT INTO job_totals (layout, grain, domain, start, job_type, customer, pending, running, completed, failed,
    cancelled, retried, timed, memory_samples, cpu_samples, latency_samples, seconds, pages, page_seconds, memory_sum,
    cpu_sum, latency_sum)
SELECT 2, g, 'd' || n || '.example', timestamptz '2024-01-01' + n %% 360 * interval '1 day', 'scrape', 'none', 1, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
FROM generate_series(1, %(domains)s) AS n, unnest(ARRAY[3600, 86400]) AS g
"""
READ = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'job_totals'"


def test_window_reads_no_rows_outside(api: StatisticsApi) -> None:
    api.sql(MANY_DOMAINS, {"domains": 72_000})
    api.sql("ANALYZE job_totals")
    window = {"from": "2024-03-01T07:30:00Z", "to": "2024-03-04T08:30:00Z"}
    flush = Statement(
        "flush_figures", promise="A statement of a test.", sql="SELECT pg_stat_force_next_flush()"
    )

    def read(query: dict[str, str]) -> int:
        with own_work(api.app):
            database.run(flush, {})
            before = int(api.sql(READ)[0][0])
            api.ask(query)
            database.run(flush, {})
        return int(api.sql(READ)[0][0]) - before

    for query in (
        {"group_by": "domain"},
        {"job_type": "scrape"},
        {"group_by": "day", "job_type": "scrape"},
        {"group_by": "day", "job_type": "scrape", "timezone": "Asia/Kathmandu"},
        {"customer_config_id": str(uuid.uuid4())},
    ):
        assert min(read({**window, **query}) for _ in range(3)) < 4000, query
