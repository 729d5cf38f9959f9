"""The format of SQL: only white space changes, and lines are broken by structure."""

import re

from app.database.catalogue import statements
from app.database.sql_format import WIDTH, format_sql

STATEMENTS = [statement.sql for statement in statements().values()]


def words(sql: str) -> list[str]:
    """Return the parts of the SQL without white space, apart from that in strings."""
    return re.findall(r"--[^\n]*\S|'(?:[^']|'')*'|[()\[\],]|[^\s'()\[\],]+", sql)


def test_only_white_space_changes() -> None:
    for sql in STATEMENTS:
        assert words(format_sql(sql)) == words(sql)


def test_formatted_sql_stays_the_same() -> None:
    for sql in STATEMENTS:
        formatted = format_sql(sql)
        assert format_sql(formatted) == formatted


def test_only_comments_and_strings_exceed_width() -> None:
    for sql in STATEMENTS:
        long = [line for line in format_sql(sql).splitlines() if len(line) > WIDTH + len(" (")]
        assert [line for line in long if not re.search(r"--|'[^']{60,}'", line)] == []


def test_short_query_stays_on_one_line() -> None:
    assert format_sql("SELECT 1\n  FROM t\n WHERE a = 'x  y'") == "SELECT 1 FROM t WHERE a = 'x  y'"


def test_clauses_and_conditions_get_own_lines() -> None:
    sql = """
    WITH old AS (SELECT j.id, j.status FROM scrape_jobs j -- not all
        WHERE j.updated_at < %(cutoff)s::timestamptz AND j.status IN ('completed', 'failed')
        AND NOT EXISTS (SELECT FROM outbox o WHERE o.job_id = j.id) FOR NO KEY UPDATE SKIP LOCKED)
    DELETE FROM scrape_jobs j USING old WHERE j.id = old.id RETURNING j.id,
        CASE WHEN old.status = 'completed' AND j.completed_at IS NOT NULL THEN j.completed_at
        ELSE j.created_at END AS at"""
    assert (
        format_sql(sql)
        == """\
WITH old AS (
    SELECT j.id, j.status
    FROM scrape_jobs j
    -- not all
    WHERE j.updated_at < %(cutoff)s::timestamptz
        AND j.status IN ('completed', 'failed')
        AND NOT EXISTS (SELECT FROM outbox o WHERE o.job_id = j.id)
    FOR NO KEY UPDATE SKIP LOCKED
)
DELETE FROM scrape_jobs j
USING old
WHERE j.id = old.id
RETURNING
    j.id,
    CASE
        WHEN old.status = 'completed' AND j.completed_at IS NOT NULL THEN j.completed_at
        ELSE j.created_at
    END AS at"""
    )
