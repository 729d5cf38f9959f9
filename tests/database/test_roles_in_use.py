"""The service and the retention command at work with the roles in deploy/roles.sql."""

import re
from typing import Any

import requests

from app.api_keys.scopes import Scope
from app.database.tenant_scope import SETTING
from app.vault import new_key
from support.receiver import Receiver
from support.roles import RoleDatabase
from support.service import Service, wait_until

OLD = "100 days"


def test_all_work_succeeds_with_the_service_role(roles: RoleDatabase) -> None:
    """Do each kind of work once, over HTTP and in the background.

    A missing right would cause a response of 500 or an error in the log.
    """
    key = roles.key(Scope.ALL)
    with Receiver() as receiver:
        port = receiver.url.rpartition(":")[2].strip("/")
        settings = {
            "SCRAPE_JOBS_AUTH": "keys",
            "SCRAPE_JOBS_SECRETS_KEY": new_key(),
            "SCRAPE_JOBS_WEBHOOK_ALLOW": "127.0.0.1",
            "SCRAPE_JOBS_WEBHOOK_URLS": f"http://127.0.0.1:{port}/ok",
            "SCRAPE_JOBS_WEBHOOK_SECRET": "whsec_" + "A" * 32,
        }
        with Service(roles.urls["service"], **settings) as service:
            try:
                do_all_work(roles, service, receiver, key)
            finally:
                logs = service.logs()
    assert "permission denied" not in logs
    assert '"ERROR"' not in logs


class Caller:
    """Calls the service with an API key; each call must succeed."""

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


def do_all_work(roles: RoleDatabase, service: Service, receiver: Receiver, key: str) -> None:
    call = Caller(service, key)
    call("GET", "/readyz")
    hook = call("POST", HOOKS, {"url": receiver.url + "/status/410", "statuses": ["running"]})
    job = call("POST", JOBS, {"domain": "a.example"}, Idempotency_Key="once")["id"]
    assert call("POST", JOBS, {"domain": "a.example"}, Idempotency_Key="once")["id"] == job
    roles.sql("owner", "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    others = [
        one["id"]
        for one in call("POST", JOBS, [{"domain": "b.example"}] * 3, Idempotency_Key="twice")
    ]
    wait_until(lambda: roles.sql("owner", "SELECT count(*) FROM idempotency_keys") == [(1,)])

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
    roles.sql(
        "owner",
        "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE id = %s",
        lost,
    )
    wait_until(lambda: call("GET", f"{JOBS}/{lost}")["status"] == "pending", 30)

    wait_until(
        lambda: (
            roles.sql("owner", "SELECT 1 FROM uncounted_events UNION ALL SELECT 1 FROM outbox")
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


def test_service_role_records_use_of_keys(roles: RoleDatabase) -> None:
    key = roles.key(Scope.JOBS_READ)
    with roles.app("service") as app:
        answer = app.test_client().get(JOBS, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200
        (note,) = app.extensions["key_use_recorder"]._tasks
        with app.app_context():
            note.work()
    used = "SELECT last_used_at IS NOT NULL FROM api_keys WHERE id = %s"
    assert roles.sql("owner", used, key.split("_")[1]) == [(True,)]


def make_job(roles: RoleDatabase) -> str:
    """Create and cancel a job as the service, and return its id."""
    key = roles.key(Scope.ALL)
    with roles.app("service") as app:
        client, headers = app.test_client(), {"Authorization": f"Bearer {key}"}
        job = client.post(JOBS, json={"domain": "c.example"}, headers=headers).get_json()["data"][
            "id"
        ]
        assert client.delete(f"{JOBS}/{job}", headers=headers).status_code == 200
    return str(job)


def test_service_role_finds_changed_events(roles: RoleDatabase) -> None:
    job = make_job(roles)
    intact = roles.flask("service", "audit", "verify")
    assert (intact.exit_code, intact.stdout) == (0, "The history is as it was written.\n")
    kept = roles.sql(
        "owner",
        "UPDATE job_events SET address = 'x' WHERE job_id = %s AND seq = 2 RETURNING job_id",
        job,
    )
    assert len(kept) == 1
    try:
        found = roles.flask("service", "audit", "verify")
        assert (found.exit_code, found.stdout) == (1, f"job {job}: event 2: changed\n")
    finally:
        roles.sql("owner", "DELETE FROM job_events WHERE job_id = %s", job)
        roles.sql("owner", "DELETE FROM scrape_jobs WHERE id = %s", job)


PRUNE = ("jobs", "prune", "--older-than", "90d")


def make_prunable(roles: RoleDatabase, login: str, job: str) -> None:
    """Make the row of the job old, and remove its pending work."""
    all_rows = f"SET {SETTING} = 'all';"
    roles.sql(
        login,
        f"{all_rows} UPDATE scrape_jobs SET updated_at = now() - interval '{OLD}' WHERE id = %s",
        job,
    )
    for table in ("outbox", "uncounted_events"):
        roles.sql(login, f"DELETE FROM {table} WHERE job_id = %s", job)


def test_service_role_cannot_get_young_events_pruned(roles: RoleDatabase) -> None:
    job = make_job(roles)
    make_prunable(roles, "service", job)
    roles.sql(
        "service",
        f"SET {SETTING} = 'all'; INSERT INTO job_events"
        " SELECT (jsonb_populate_record(e, jsonb_build_object('seq', 3,"
        f" 'at', now() - interval '{OLD}'))).* FROM job_events e WHERE job_id = %s AND seq = 2",
        job,
    )
    pruned = roles.flask("retention", *PRUNE)
    assert (pruned.exit_code, pruned.stdout) == (0, "Removed 0 jobs; kept 1 job of that age.\n")
    assert roles.sql("owner", "SELECT count(*) FROM job_events WHERE job_id = %s", job) == [(3,)]
    roles.sql("owner", "DELETE FROM scrape_jobs WHERE id = %s", job)
    roles.sql("owner", "DELETE FROM job_events WHERE job_id = %s", job)


def test_only_the_retention_role_prunes(roles: RoleDatabase) -> None:
    job = make_job(roles)
    make_prunable(roles, "owner", job)
    roles.sql("owner", f"UPDATE job_events SET at = at - interval '{OLD}' WHERE job_id = %s", job)
    assert (
        roles.flask("service", *PRUNE, "--dry-run").stdout
        == "Would remove 1 job; kept 0 jobs of that age.\n"
    )
    refused = roles.flask("service", *PRUNE)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert re.search(r"Error: .*\b(role|rights?|permission)\b", refused.stderr), refused.stderr
    there = "SELECT 1 FROM scrape_jobs j JOIN job_events e ON e.job_id = j.id WHERE j.id = %s"
    assert len(roles.sql("owner", there, job)) == 2
    removed = roles.flask("retention", *PRUNE)
    assert (removed.exit_code, removed.stdout) == (0, "Removed 1 job; kept 0 jobs of that age.\n")
    assert roles.sql("owner", "SELECT 1 FROM job_events WHERE job_id = %s", job) == []
    assert roles.flask("service", "audit", "verify").exit_code == 0


def test_only_the_owner_creates_and_revokes_keys(roles: RoleDatabase) -> None:
    key = roles.key(Scope.JOBS_READ)
    for words in (("create", "x", "--scope", "all"), ("revoke", key), ("rotate", key)):
        refused = roles.flask("service", "keys", *words)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert re.search(r"Error: .*\b(role|rights?|permission)\b", refused.stderr), refused.stderr
    assert roles.flask("owner", "keys", "revoke", key).exit_code == 0
