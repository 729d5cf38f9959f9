"""The rights of the roles in deploy/roles.sql, and the statements that they are refused."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy.engine import make_url

from app.database import Statement
from app.database.catalogue import statements
from app.database.functions import functions
from support.roles import RETENTION, ROLES, SERVICE, RoleDatabase, run_file

RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def test_every_table_and_function_is_named(roles: RoleDatabase) -> None:
    tables = {
        name
        for (name,) in roles.sql(
            "owner",
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm')"
            " AND relnamespace = 'public'::regnamespace",
        )
    }
    assert {"job_events", "api_keys"} < tables
    statements = "".join(
        re.sub("--.*", "", line) for line in ROLES.read_text().splitlines(keepends=True)
    )
    named = set(re.findall(r"\w+", statements))
    assert tables <= named
    for table in tables:
        reads = roles.sql(
            "owner", "SELECT has_any_column_privilege(%s, %s, 'SELECT')", SERVICE, table
        )
        assert reads == [(True,)], f"{table} is not granted to the service"
    functions = {
        name
        for (name,) in roles.sql(
            "owner", "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
    }
    assert functions <= named


def test_script_is_idempotent_and_revokes_other_grants(
    roles: RoleDatabase,
) -> None:
    before = granted(roles, SERVICE) | granted(roles, RETENTION)
    roles.sql("owner", f"GRANT ALL ON job_events, api_keys TO {SERVICE}, PUBLIC")
    roles.sql("owner", f"GRANT UPDATE (hash), SELECT (stats) ON job_events TO {RETENTION}")
    database = make_url(roles.urls["owner"]).database
    roles.sql("owner", f"GRANT CREATE ON SCHEMA public TO {SERVICE}, {RETENTION}")
    roles.sql("owner", f"GRANT TEMPORARY ON DATABASE {database} TO {SERVICE}, {RETENTION}, PUBLIC")
    assert granted(roles, SERVICE) | granted(roles, RETENTION) > before
    for _ in range(2):
        run_file(roles.urls["owner"], ROLES)
        assert granted(roles, SERVICE) | granted(roles, RETENTION) == before
    for login in ("service", "retention"):
        rights = """SELECT has_table_privilege(r, 'job_events', 'UPDATE'),
            has_schema_privilege(r, 'public', 'CREATE'),
            has_database_privilege(r, current_database(), 'TEMPORARY')
            FROM (VALUES (%s)) AS role (r)"""
        assert roles.sql("owner", rights, roles.names[login]) == [(False, False, False)]


def granted(roles: RoleDatabase, role: str) -> set[tuple[str, str, str, str | None]]:
    """Return the grants of the role on tables: role, right, table, and column or None."""
    found = roles.sql(
        "owner",
        """
        SELECT a.privilege_type, c.relname, NULL FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = %s::regrole
        UNION ALL
        SELECT a.privilege_type, c.relname, t.attname
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
        WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = %s::regrole
        """,
        role,
        role,
    )
    return {(role, *row) for row in found}


OWNER_STATEMENTS = {"create_api_key", "revoke_api_key"}
RETENTION_STATEMENTS = {
    "prunable_span", "look_for_old_jobs", "remove_old_jobs", "remove_deliveries_of_job",
    "endpoints_with_deliveries", "look_for_leftover_deliveries", "remove_leftover_deliveries",
    "remove_expired_keys",
}  # fmt: skip
PUBLIC_STATEMENTS = {"lock_domain", "lock_totals", "lock_customers_webhooks", "settled_before"}
"""Statements that use no table."""


class PreparedStatements:
    """All statements, prepared on the owner's connection.

    PostgreSQL checks rights at the start of each execution.
    """

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._statements = statements()
        for statement in self._statements.values():
            cursor.execute(statement.prepare, {})

    def refused(self, role: str) -> set[str]:
        """Return the names of the statements for which the role lacks a right."""
        return set(self._refusals(role, list(self._statements.values())))

    def misses(self, role: str, table: str, usual: set[str]) -> bool:
        """Return whether a statement is refused that is not in `usual`.

        Statements on `table` are the likely ones, so they are tried first.
        """
        likely_first = sorted(
            self._statements.values(), key=lambda statement: table not in statement.sql
        )
        return any(name not in usual for name in self._refusals(role, likely_first))

    def _refusals(self, role: str, statements: Sequence[Statement]) -> Iterator[str]:
        """Yield the names of the refused statements.

        EXPLAIN checks all rights and executes nothing. It does not look into functions: these are
        called, with nulls, and find nothing to do.
        """
        self._cursor.execute("SAVEPOINT before")
        for statement in statements:
            self._cursor.execute(f"SET LOCAL ROLE {role}")
            try:
                calls_function = any(f"{name}(" in statement.sql for name in functions())
                self._cursor.execute(
                    statement.execute if calls_function else f"EXPLAIN {statement.execute}",
                    dict.fromkeys(statement.parameters),
                )
            except psycopg2.errors.InsufficientPrivilege:
                self._cursor.execute("ROLLBACK TO before")
                yield statement.name
        self._cursor.execute("ROLLBACK TO before")


@pytest.fixture
def cursor(server_url: str, roles: RoleDatabase) -> Iterator[Any]:
    """A superuser's transaction, which is rolled back at the end."""
    database = make_url(roles.urls["owner"]).database
    url = make_url(server_url).set(database=database).render_as_string(hide_password=False)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        yield cursor
        connection.rollback()


def test_each_role_runs_only_its_statements(cursor: Any, roles: RoleDatabase) -> None:
    prepared = PreparedStatements(cursor)
    names = set(statements())
    assert prepared.refused(roles.names["service"]) == OWNER_STATEMENTS | {"remove_old_jobs"}
    allowed = names - prepared.refused(roles.names["retention"])
    # The role may count the jobs, which shows no more than their number.
    assert allowed == RETENTION_STATEMENTS | PUBLIC_STATEMENTS | {"count_jobs"}


@pytest.mark.parametrize("role", [SERVICE, RETENTION])
def test_statements_need_every_grant(cursor: Any, roles: RoleDatabase, role: str) -> None:
    prepared = PreparedStatements(cursor)
    rights = granted(roles, role)
    usual = prepared.refused(role)
    assert len(rights) > 7
    needless = []
    for _, right, table, column in sorted(rights, key=str):
        cursor.execute("SAVEPOINT granted")
        cursor.execute(f"REVOKE {right} {f'({column})' if column else ''} ON {table} FROM {role}")
        if not prepared.misses(role, table, usual):
            needless.append((right, table, column))
        cursor.execute("ROLLBACK TO granted")
    assert needless == []


def test_service_only_appends_events_and_records_key_use(roles: RoleDatabase) -> None:
    for role in (SERVICE, roles.names["service"]):
        for table, allowed in (("job_events", {"SELECT", "INSERT"}), ("api_keys", {"SELECT"})):
            rights = {
                r
                for r in RIGHTS
                if roles.sql("owner", "SELECT has_table_privilege(%s, %s, %s)", role, table, r)[0][
                    0
                ]
            }
            assert rights == allowed
        columns = roles.sql(
            "owner",
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_name IN ('api_keys', 'job_events')"
            " AND has_column_privilege("
            "%s, format('public.%%I', table_name), column_name, 'UPDATE')",
            role,
        )
        assert columns == [("api_keys", "last_used_at")]


REFUSED = (
    "UPDATE job_events SET actor_name = 'Eve'",
    "UPDATE job_events SET hash = hash WHERE false",
    "DELETE FROM job_events",
    "TRUNCATE job_events",
    "SELECT FROM job_events FOR UPDATE",
    "INSERT INTO job_events SELECT * FROM job_events"
    " ON CONFLICT (job_id, seq) DO UPDATE SET actor_name = 'Eve'",
    "MERGE INTO job_events e USING scrape_jobs j ON e.job_id = j.id WHEN MATCHED THEN DELETE",
    "DELETE FROM scrape_jobs",
    "TRUNCATE scrape_jobs, outbox, uncounted_events, webhook_deliveries, webhook_endpoints,"
    " idempotency_keys",
    "DELETE FROM job_totals",
    "UPDATE outbox SET seq = 0",
    *(f"UPDATE api_keys SET {column} = {column}" for column in (
        "id", "name", "digest", "scopes", "customer_config_id", "created_at", "expires_at",
        "revoked_at")),
    "INSERT INTO api_keys (id, name, digest, scopes, created_at)"
    " VALUES ('e', 'Eve', sha256(''), '{all}', now())",
    "DELETE FROM api_keys",
    "TRUNCATE api_keys",
    "UPDATE alembic_version SET version_num = '0'",
    "ALTER TABLE job_events DISABLE TRIGGER ALL",
    "ALTER TABLE job_events DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE job_events OWNER TO CURRENT_USER",
    "CREATE TRIGGER t BEFORE INSERT ON job_events FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE r AS ON INSERT TO job_events DO INSTEAD NOTHING",
    "CREATE POLICY p ON job_events USING (true)",
    "DROP TABLE job_events",
    "CREATE TABLE more ()",
    "CREATE TEMPORARY TABLE job_events (LIKE job_events)",
    "CREATE TEMPORARY VIEW api_keys AS SELECT '{all}' AS scopes",
    "CREATE FUNCTION running_jobs(text) RETURNS bigint LANGUAGE sql AS 'SELECT 0'",
    f"SET ROLE {RETENTION}",
    f"GRANT {RETENTION} TO CURRENT_USER",
)  # fmt: skip


@pytest.mark.parametrize("statement", REFUSED)
def test_service_is_refused_other_statements(roles: RoleDatabase, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        roles.sql("service", statement)


def test_service_cannot_grant_itself_rights(roles: RoleDatabase) -> None:
    roles.sql(
        "service", "GRANT ALL ON scrape_jobs TO CURRENT_USER"
    )  # a warning is all that comes of it
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        roles.sql("service", "DELETE FROM scrape_jobs")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT stats FROM scrape_jobs", "SELECT changes FROM job_events",
        "SELECT digest FROM api_keys", "SELECT secret FROM webhook_endpoints",
        "SELECT body FROM webhook_deliveries", "UPDATE scrape_jobs SET status = 'completed'",
        "UPDATE job_events SET seq = 0", "TRUNCATE job_events",
        "INSERT INTO outbox SELECT id, 1, updated_at FROM scrape_jobs", "DELETE FROM outbox",
        "DELETE FROM api_keys",
        f"SET ROLE {SERVICE}",
    ],
)  # fmt: skip
def test_retention_is_refused_other_statements(roles: RoleDatabase, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        roles.sql("retention", statement)
