"""The database roles of deploy/roles.sql: the service lives with its own, and can do no more with
it.

The two group roles belong to the whole server and stay on it; everything else is made for these
tests and goes with them. Owner and logins are no superusers: to such nothing would be refused.
"""

import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
import requests
from click.testing import Result
from flask import Flask
from sqlalchemy.engine import make_url

from app.api_keys.scopes import Scope
from app.config import Settings
from app.database import Statement
from app.database.embedded.programs import programs_of, wanted_version
from app.database.tenant_scope import SETTING
from app.factory import create_app
from app.vault import new_key
from support.database import migrate, new_database
from support.receiver import Receiver
from support.service import ROOT, Service, wait_until
from support.statements import statements

ROLES = ROOT / "deploy" / "roles.sql"
SERVICE, RETENTION = "scrape_jobs_service", "scrape_jobs_retention"
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
OLD = "100 days"


class Realm:
    """A database with its owner, a login of the service's and one of the retention command's."""

    def __init__(self, url: str, names: Mapping[str, str]) -> None:
        self.names = names
        self.urls = {
            who: make_url(url)
            .set(username=name, password="secret")
            .render_as_string(hide_password=False)
            for who, name in names.items()
        }

    def sql(self, who: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.urls[who])) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

    @contextmanager
    def app(self, who: str) -> Iterator[Flask]:
        """The application, in this process, as that role."""
        app = create_app(Settings(database_url=self.urls[who], rate_limit=False))
        try:
            yield app
        finally:
            with app.app_context():
                app.extensions["sqlalchemy"].engine.dispose()

    def flask(self, who: str, *words: str) -> Result:
        """Run a command of flask's as that role."""
        with self.app(who) as app:
            return app.test_cli_runner().invoke(args=words)

    def key(self, *scopes: Scope) -> str:
        """Make a key as the owner does, and return it."""
        options = [word for scope in scopes for word in ("--scope", scope.value)]
        made = self.flask("owner", "keys", "create", "somebody", *options)
        assert made.exit_code == 0, made.output
        return str(made.stdout.strip())


def psql(url: str, file: Path) -> None:
    """Run a file as operators do; the wheel that brings the embedded PostgreSQL has a psql, too."""
    programs = programs_of(wanted_version())
    assert programs is not None
    found = shutil.which("psql") or programs.folder / "psql"
    done = subprocess.run(
        [found, url, "--no-psqlrc", "--file", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


@pytest.fixture(scope="module")
def realm(server_url: str) -> Iterator[Realm]:
    names = {
        who: f"test_{who}_{uuid.uuid4().hex[:12]}" for who in ("owner", "service", "retention")
    }
    with closing(psycopg2.connect(server_url)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        for who, name in names.items():
            cursor.execute(
                f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {'CREATEROLE' * (who == 'owner')}"
            )
        for url in new_database(server_url):
            cursor.execute(f"ALTER DATABASE {make_url(url).database} OWNER TO {names['owner']}")
            realm = Realm(url, names)
            migrate(realm.urls["owner"])
            psql(realm.urls["owner"], ROLES)
            cursor.execute(f"GRANT {SERVICE} TO {names['service']}")
            cursor.execute(f"GRANT {RETENTION} TO {names['retention']}")
            yield realm
        for name in names.values():
            cursor.execute(f"DROP ROLE {name}")


# --------------------------------------------------------------------------------------------- what is granted, exactly


def test_every_table_and_function_is_named_and_the_service_reads_it(realm: Realm) -> None:
    tables = {
        name
        for (name,) in realm.sql(
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
        reads = realm.sql(
            "owner", "SELECT has_any_column_privilege(%s, %s, 'SELECT')", SERVICE, table
        )
        assert reads == [(True,)], f"{table} is not granted to the service"
    functions = {
        name
        for (name,) in realm.sql(
            "owner", "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
    }
    assert functions <= named


def test_running_it_again_changes_nothing_and_takes_back_what_was_granted_beside_it(
    realm: Realm,
) -> None:
    before = granted(realm, SERVICE) | granted(realm, RETENTION)
    realm.sql("owner", f"GRANT ALL ON job_events, api_keys TO {SERVICE}, PUBLIC")
    realm.sql("owner", f"GRANT UPDATE (hash), SELECT (stats) ON job_events TO {RETENTION}")
    database = make_url(realm.urls["owner"]).database
    realm.sql("owner", f"GRANT CREATE ON SCHEMA public TO {SERVICE}, {RETENTION}")
    realm.sql("owner", f"GRANT TEMPORARY ON DATABASE {database} TO {SERVICE}, {RETENTION}, PUBLIC")
    assert granted(realm, SERVICE) | granted(realm, RETENTION) > before
    for _ in range(2):
        psql(realm.urls["owner"], ROLES)
        assert granted(realm, SERVICE) | granted(realm, RETENTION) == before
    for who in ("service", "retention"):
        may = "SELECT has_table_privilege(r, 'job_events', 'UPDATE'), has_schema_privilege(r, 'public', 'CREATE'),"
        may += " has_database_privilege(r, current_database(), 'TEMPORARY') FROM (VALUES (%s)) AS role (r)"
        assert realm.sql("owner", may, realm.names[who]) == [(False, False, False)]


def granted(realm: Realm, role: str) -> set[tuple[str, str, str, str | None]]:
    """Return what the role is granted on tables: itself, right, table, and the column where it is
    one's."""
    found = realm.sql(
        "owner",
        """
        SELECT a.privilege_type, c.relname, NULL FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = %s::regrole
        UNION ALL
        SELECT a.privilege_type, c.relname, t.attname FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid,
            aclexplode(t.attacl) a
        WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = %s::regrole
        """,
        role,
        role,
    )
    return {(role, *row) for row in found}


OF_OWNER = {"create_api_key", "revoke_api_key"}
OF_RETENTION = {
    "prunable_span", "look_for_old_jobs", "remove_old_jobs", "remove_deliveries_of_job", "endpoints_with_deliveries",
    "look_for_leftover_deliveries", "remove_leftover_deliveries", "remove_expired_keys",
}  # fmt: skip
OF_ANYBODY = {"lock_domain", "lock_totals", "lock_customers_webhooks", "settled_before"}
"""Statements that no table is named in."""


class Prepared:
    """The application's statements, prepared on the owner's connection; PostgreSQL looks at rights
    when they start."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._statements = statements()
        for statement in self._statements.values():
            cursor.execute(statement.prepare, {})

    def refused(self, role: str) -> set[str]:
        """Return the names of those that the role has not all rights for."""
        return set(self._refusals(role, list(self._statements.values())))

    def misses(self, role: str, table: str, usual: set[str]) -> bool:
        """Tell whether another statement than the usual ones is refused; those that name `table`
        are asked first."""
        likely_first = sorted(
            self._statements.values(), key=lambda statement: table not in statement.sql
        )
        return any(name not in usual for name in self._refusals(role, likely_first))

    def _refusals(self, role: str, statements: Sequence[Statement]) -> Iterator[str]:
        """Give the names of the refused; they are explained, which looks at all rights, and not
        run."""
        self._cursor.execute("SAVEPOINT before")
        for statement in statements:
            self._cursor.execute(f"SET LOCAL ROLE {role}")
            try:
                self._cursor.execute(
                    f"EXPLAIN {statement.execute}", dict.fromkeys(statement.parameters)
                )
            except psycopg2.errors.InsufficientPrivilege:
                self._cursor.execute("ROLLBACK TO before")
                yield statement.name
        self._cursor.execute("ROLLBACK TO before")


@pytest.fixture
def cursor(server_url: str, realm: Realm) -> Iterator[Any]:
    """A transaction that is undone, of somebody who may take any role."""
    database = make_url(realm.urls["owner"]).database
    url = make_url(server_url).set(database=database).render_as_string(hide_password=False)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        yield cursor
        connection.rollback()


def test_each_role_may_run_its_statements_and_no_others(cursor: Any, realm: Realm) -> None:
    prepared = Prepared(cursor)
    everything = set(statements())
    assert prepared.refused(realm.names["service"]) == OF_OWNER | {"remove_old_jobs"}
    may = everything - prepared.refused(realm.names["retention"])
    assert may == OF_RETENTION | OF_ANYBODY | {"count_jobs"}  # of which it sees no more anyway


@pytest.mark.parametrize("role", [SERVICE, RETENTION])
def test_nothing_is_granted_that_no_statement_needs(cursor: Any, realm: Realm, role: str) -> None:
    prepared = Prepared(cursor)
    rights = granted(realm, role)
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


def test_events_are_only_added_and_keys_only_noted_as_used(realm: Realm) -> None:
    for role in (SERVICE, realm.names["service"]):
        for table, allowed in (("job_events", {"SELECT", "INSERT"}), ("api_keys", {"SELECT"})):
            rights = {
                r
                for r in RIGHTS
                if realm.sql("owner", "SELECT has_table_privilege(%s, %s, %s)", role, table, r)[0][
                    0
                ]
            }
            assert rights == allowed
        columns = realm.sql(
            "owner",
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_name IN ('api_keys', 'job_events')"
            " AND has_column_privilege(%s, format('public.%%I', table_name), column_name, 'UPDATE')",
            role,
        )
        assert columns == [("api_keys", "last_used_at")]


REFUSED = (
    "UPDATE job_events SET actor_name = 'Eve'",
    "UPDATE job_events SET hash = hash WHERE false",
    "DELETE FROM job_events",
    "TRUNCATE job_events",
    "SELECT FROM job_events FOR UPDATE",
    "INSERT INTO job_events SELECT * FROM job_events ON CONFLICT (job_id, seq) DO UPDATE SET actor_name = 'Eve'",
    "MERGE INTO job_events e USING scrape_jobs j ON e.job_id = j.id WHEN MATCHED THEN DELETE",
    "DELETE FROM scrape_jobs",
    "TRUNCATE scrape_jobs, outbox, uncounted_events, webhook_deliveries, webhook_endpoints, idempotency_keys",
    "DELETE FROM job_totals",
    "UPDATE outbox SET seq = 0",
    *(f"UPDATE api_keys SET {column} = {column}" for column in (
        "id", "name", "digest", "scopes", "customer_config_id", "created_at", "expires_at", "revoked_at")),
    "INSERT INTO api_keys (id, name, digest, scopes, created_at) VALUES ('e', 'Eve', sha256(''), '{all}', now())",
    "DELETE FROM api_keys",
    "TRUNCATE api_keys",
    "UPDATE alembic_version SET version_num = '0'",
    "ALTER TABLE job_events DISABLE TRIGGER ALL",
    "ALTER TABLE job_events DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE job_events OWNER TO CURRENT_USER",
    "CREATE TRIGGER t BEFORE INSERT ON job_events FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
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
def test_the_service_s_role_is_refused_what_is_not_the_service_s(
    realm: Realm, statement: str
) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        realm.sql("service", statement)


def test_the_service_s_role_can_give_itself_no_rights(realm: Realm) -> None:
    realm.sql(
        "service", "GRANT ALL ON scrape_jobs TO CURRENT_USER"
    )  # a warning is all that comes of it
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        realm.sql("service", "DELETE FROM scrape_jobs")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT stats FROM scrape_jobs", "SELECT changes FROM job_events", "SELECT digest FROM api_keys",
        "SELECT secret FROM webhook_endpoints", "SELECT body FROM webhook_deliveries",
        "UPDATE scrape_jobs SET status = 'completed'", "UPDATE job_events SET seq = 0", "TRUNCATE job_events",
        "INSERT INTO outbox SELECT id, 1, updated_at FROM scrape_jobs", "DELETE FROM outbox", "DELETE FROM api_keys",
        f"SET ROLE {SERVICE}",
    ],
)  # fmt: skip
def test_the_retention_s_role_neither_reads_nor_writes_more_than_what_it_removes(
    realm: Realm, statement: str
) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        realm.sql("retention", statement)


# ------------------------------------------------------------------------------------------------ a life with no more


def test_the_service_lives_its_whole_life_with_its_role(realm: Realm) -> None:
    """Every kind of work once, over HTTP and beside it; what a role lacked would be an answer of
    500, or in the log."""
    key = realm.key(Scope.ALL)
    with Receiver() as receiver:
        port = receiver.url.rpartition(":")[2].strip("/")
        settings = {
            "SCRAPE_JOBS_AUTH": "keys",
            "SCRAPE_JOBS_SECRETS_KEY": new_key(),
            "SCRAPE_JOBS_WEBHOOK_ALLOW": "127.0.0.1",
            "SCRAPE_JOBS_WEBHOOK_URLS": f"http://127.0.0.1:{port}/ok",
            "SCRAPE_JOBS_WEBHOOK_SECRET": "whsec_" + "A" * 32,
        }
        with Service(realm.urls["service"], **settings) as service:
            try:
                life(realm, service, receiver, key)
            finally:
                logs = service.logs()
    assert "permission denied" not in logs
    assert '"ERROR"' not in logs


class Caller:
    """Calls the service with a key; what it asks for has to succeed."""

    def __init__(self, service: Service, key: str) -> None:
        self._service = service
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {key}"

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "PATCH":
            names["Content-Type"] = "application/merge-patch+json"
        answer = self._session.request(
            method, self._service.url + path, json=body, headers=names, timeout=20
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()["data"] if "json" in answer.headers["Content-Type"] else answer.text


JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"


def life(realm: Realm, service: Service, receiver: Receiver, key: str) -> None:
    call = Caller(service, key)
    call("GET", "/readyz")
    hook = call("POST", HOOKS, {"url": receiver.url + "/status/410", "statuses": ["running"]})
    job = call("POST", JOBS, {"domain": "a.example"}, Idempotency_Key="once")["id"]
    assert call("POST", JOBS, {"domain": "a.example"}, Idempotency_Key="once")["id"] == job
    realm.sql("owner", "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    others = [
        one["id"]
        for one in call("POST", JOBS, [{"domain": "b.example"}] * 3, Idempotency_Key="twice")
    ]
    wait_until(lambda: realm.sql("owner", "SELECT count(*) FROM idempotency_keys") == [(1,)])

    url = f"{JOBS}/{job}"
    call("PUT", url, {"status": "running", "stats": {"pagesProcessed": 1}})
    call("PATCH", url, {"metadata": {"a": {"b": 1}}})
    call("PUT", url, {"status": "failed", "error_message": "Timeout"})
    call("POST", f"{url}/retry")
    call("DELETE", url)
    for path in ("", "/history", "/queue"):
        call("GET", url + path)
    for path in (
        "",
        "?status=pending&sort=priority",
        "/next?limit=9",
        "/stats",
        "/stats?group_by=domain",
    ):
        call("GET", JOBS + path)

    body = {"worker_id": "w", "domains": ["b.example"], "limit": 3}
    tokens = {one["id"]: one["lease_token"] for one in call("POST", f"{JOBS}/next", body)}
    assert set(tokens) == set(others)
    released, cancelled, lost = others
    call("POST", f"{JOBS}/{released}/heartbeat", X_Lease_Token=tokens[released])
    call("POST", f"{JOBS}/{released}/release", X_Lease_Token=tokens[released])
    call("DELETE", f"{JOBS}/{cancelled}")
    call("POST", f"{JOBS}/{cancelled}/heartbeat", X_Lease_Token=tokens[cancelled])
    realm.sql(
        "owner",
        "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE id = %s",
        lost,
    )
    wait_until(lambda: call("GET", f"{JOBS}/{lost}")["status"] == "pending", 30)

    wait_until(
        lambda: (
            realm.sql("owner", "SELECT 1 FROM uncounted_events UNION ALL SELECT 1 FROM outbox")
            == []
        ),
        30,
    )
    wait_until(lambda: not call("GET", f"{HOOKS}/{hook['id']}")["active"], 30)
    deliveries = call("GET", f"{HOOKS}/{hook['id']}/deliveries")
    wait_until(lambda: any(one.path == "/ok" for one in receiver.received), 30)
    call("PUT", f"{HOOKS}/{hook['id']}", {"active": True, "url": receiver.url + "/ok"})
    call("POST", f"{HOOKS}/{hook['id']}/deliveries/{deliveries[0]['id']}/redeliver")
    call("POST", f"{HOOKS}/{hook['id']}/redeliver", {"failed_since": "2024-01-01T00:00:00Z"})
    call(
        "POST",
        f"{HOOKS}/{hook['id']}/replay",
        {"from": "2024-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"},
    )
    call("POST", f"{HOOKS}/{hook['id']}/test")
    call("POST", f"{HOOKS}/{hook['id']}/rotate-secret")
    wait_until(lambda: call("GET", f"{HOOKS}/{hook['id']}/deliveries?status=pending") == [], 30)
    call("DELETE", f"{HOOKS}/{hook['id']}")

    metrics = call("GET", "/metrics")
    for name in ("jobs{", "queue_due_jobs ", "webhooks_owed ", "database_up 1.0"):
        assert f"scrape_jobs_{name}" in metrics


def test_the_use_of_keys_is_noted_with_the_service_s_role(realm: Realm) -> None:
    key = realm.key(Scope.JOBS_READ)
    with realm.app("service") as app:
        answer = app.test_client().get(JOBS, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200
        (note,) = app.extensions["key_use_recorder"]._tasks
        with app.app_context():
            note.work()
    used = "SELECT last_used_at IS NOT NULL FROM api_keys WHERE id = %s"
    assert realm.sql("owner", used, key.split("_")[1]) == [(True,)]


def make_job(realm: Realm) -> str:
    """Make a job that is over, as the service, and return its id."""
    key = realm.key(Scope.ALL)
    with realm.app("service") as app:
        client, headers = app.test_client(), {"Authorization": f"Bearer {key}"}
        job = client.post(JOBS, json={"domain": "c.example"}, headers=headers).get_json()["data"][
            "id"
        ]
        assert client.delete(f"{JOBS}/{job}", headers=headers).status_code == 200
    return str(job)


def test_what_was_tampered_with_is_found_with_the_service_s_role(realm: Realm) -> None:
    job = make_job(realm)
    well = realm.flask("service", "audit", "verify")
    assert (well.exit_code, well.stdout) == (0, "The history is as it was written.\n")
    kept = realm.sql(
        "owner",
        "UPDATE job_events SET address = 'x' WHERE job_id = %s AND seq = 2 RETURNING job_id",
        job,
    )
    assert len(kept) == 1
    try:
        found = realm.flask("service", "audit", "verify")
        assert (found.exit_code, found.stdout) == (1, f"job {job}: event 2: changed\n")
    finally:
        realm.sql("owner", "DELETE FROM job_events WHERE job_id = %s", job)
        realm.sql("owner", "DELETE FROM scrape_jobs WHERE id = %s", job)


PRUNE = ("jobs", "prune", "--older-than", "90d")


def let_go(realm: Realm, who: str, job: str) -> None:
    """Make the job old, as far as it says so itself, and owe nothing."""
    everything = f"SET {SETTING} = 'all';"
    realm.sql(
        who,
        f"{everything} UPDATE scrape_jobs SET updated_at = now() - interval '{OLD}' WHERE id = %s",
        job,
    )
    for table in ("outbox", "uncounted_events"):
        realm.sql(who, f"DELETE FROM {table} WHERE job_id = %s", job)


def test_the_service_s_role_cannot_have_young_events_pruned(realm: Realm) -> None:
    job = make_job(realm)
    let_go(realm, "service", job)
    realm.sql(
        "service",
        f"SET {SETTING} = 'all'; INSERT INTO job_events SELECT (jsonb_populate_record(e, jsonb_build_object('seq', 3,"
        f" 'at', now() - interval '{OLD}'))).* FROM job_events e WHERE job_id = %s AND seq = 2",
        job,
    )
    pruned = realm.flask("retention", *PRUNE)
    assert (pruned.exit_code, pruned.stdout) == (0, "Removed 0 jobs; kept 1 job of that age.\n")
    assert realm.sql("owner", "SELECT count(*) FROM job_events WHERE job_id = %s", job) == [(3,)]
    realm.sql("owner", "DELETE FROM scrape_jobs WHERE id = %s", job)
    realm.sql("owner", "DELETE FROM job_events WHERE job_id = %s", job)


def test_only_the_retention_s_role_prunes(realm: Realm) -> None:
    job = make_job(realm)
    let_go(realm, "owner", job)
    realm.sql("owner", f"UPDATE job_events SET at = at - interval '{OLD}' WHERE job_id = %s", job)
    assert (
        realm.flask("service", *PRUNE, "--dry-run").stdout
        == "Would remove 1 job; kept 0 jobs of that age.\n"
    )
    refused = realm.flask("service", *PRUNE)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert re.search(r"Error: .*\b(role|rights?|permission)\b", refused.stderr), refused.stderr
    there = "SELECT 1 FROM scrape_jobs j JOIN job_events e ON e.job_id = j.id WHERE j.id = %s"
    assert len(realm.sql("owner", there, job)) == 2
    removed = realm.flask("retention", *PRUNE)
    assert (removed.exit_code, removed.stdout) == (0, "Removed 1 job; kept 0 jobs of that age.\n")
    assert realm.sql("owner", "SELECT 1 FROM job_events WHERE job_id = %s", job) == []
    assert realm.flask("service", "audit", "verify").exit_code == 0


def test_keys_are_the_owner_s_to_make_and_revoke(realm: Realm) -> None:
    key = realm.key(Scope.JOBS_READ)
    for words in (("create", "x", "--scope", "all"), ("revoke", key), ("rotate", key)):
        refused = realm.flask("service", "keys", *words)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert re.search(r"Error: .*\b(role|rights?|permission)\b", refused.stderr), refused.stderr
    assert realm.flask("owner", "keys", "revoke", key).exit_code == 0
