"""Compares the answers of a service that a customer shares with those of one without others."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import psycopg2.errors
from flask import Flask
from sqlalchemy.engine import make_url
from werkzeug.test import TestResponse

from app.factory import create_app
from app.statistics import service as statistics_service
from support.tenant_actions import DOMAINS, STATUSES, TYPES, RandomActions
from support.tenants import (
    HOOK,
    HOOK_CALLS,
    HOOKS,
    JOB_CALLS,
    JOBS,
    NIL,
    KeyHolder,
    SharedService,
    dispose,
    settings,
)

SORTS = ("created_at", "-created_at", "priority", "updated_at", "-updated_at")


GROUPS = ("", "domain", "job_type", "hour", "day")


WITHOUT_OTHERS = (
    "CREATE TEMP TABLE foreign_jobs AS SELECT id FROM scrape_jobs"
    " WHERE customer_config_id IS DISTINCT FROM %(a)s",
    "CREATE TEMP TABLE foreign_hooks AS SELECT id FROM webhook_endpoints"
    " WHERE customer_config_id IS DISTINCT FROM %(a)s",
    "CREATE TEMP TABLE foreign_keys AS SELECT id FROM api_keys"
    " WHERE customer_config_id IS DISTINCT FROM %(a)s",
    "DELETE FROM scrape_jobs WHERE id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM job_events WHERE job_id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM outbox WHERE job_id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM uncounted_events WHERE job_id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM webhook_endpoints WHERE id IN (SELECT id FROM foreign_hooks)",
    "DELETE FROM webhook_deliveries WHERE endpoint_id IN (SELECT id FROM foreign_hooks)"
    " OR job_id IN (SELECT id FROM foreign_jobs)",
    "DELETE FROM idempotency_keys WHERE caller IN (SELECT id FROM foreign_keys)",
    "DELETE FROM api_keys WHERE id IN (SELECT id FROM foreign_keys)",
    "TRUNCATE job_totals, job_duration_totals, job_error_totals",
)
"""Delete the rows of all other customers; the totals are counted again afterwards."""


@contextmanager
def alone(tenants: SharedService) -> Iterator[Flask]:
    """Yield an application on a copy of the database that contains only customer A's rows."""
    with tenants.app.app_context():
        tenants.app.extensions["sqlalchemy"].engine.dispose()  # a database in use cannot be copied
    source = make_url(tenants.url)
    name = f"{source.database}_alone"
    server = source.set(database="postgres").render_as_string(hide_password=False)
    url = source.set(database=name).render_as_string(hide_password=False)
    with closing(psycopg2.connect(server)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {source.database}")
        app = create_app(settings(url))
        try:
            with closing(psycopg2.connect(url)) as own, own, own.cursor() as statement:
                for text in WITHOUT_OTHERS:
                    statement.execute(text, {"a": tenants.a_id})
                statement.execute("DELETE FROM uncounted_events RETURNING job_id, seq")
                uncounted = statement.fetchall()
                statement.execute(
                    "INSERT INTO uncounted_events SELECT job_id, seq FROM job_events"
                    " WHERE stats IS NOT NULL"
                    " AND (job_id::text, seq) NOT IN"
                    " (SELECT * FROM unnest(%s::text[], %s::bigint[]))",
                    ([job for job, _ in uncounted], [seq for _, seq in uncounted]),
                )
            with app.app_context():
                statistics_service.count()
            with closing(psycopg2.connect(url)) as own, own, own.cursor() as statement:
                statement.executemany("INSERT INTO uncounted_events VALUES (%s, %s)", uncounted)
            yield app
        finally:
            dispose(app)
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Comparison:
    """Compares the service that A shares with others and a service that A has alone."""

    def __init__(self, actions: RandomActions, app: Flask) -> None:
        self.actions = actions
        self.shared, self.alone = actions.tenants.a, KeyHolder(app, actions.tenants.a.key)
        self.asked = 0

    def same(self, method: str, path: str, json: Any = None, **named: str) -> TestResponse:
        """Assert that both answers are equal, byte for byte, and return one."""
        self.asked += 1
        both = [
            one.ask(method, path, json, X_Request_ID="r", **named)
            for one in (self.shared, self.alone)
        ]
        shared, own = ((answer.status_code, list(answer.headers), answer.data) for answer in both)
        assert shared == own, f"{method} {path} {json} {named}"
        assert both[0].status_code < 500, both[0].text
        return both[0]

    def pages(self, path: str, limit: int) -> None:
        """Compare a list page by page, to its end."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.same(
                "GET",
                f"{path}{'&' if '?' in path else '?'}limit={limit}{cursor and '&cursor=' + cursor}",
            )
            pagination = page.get_json()["pagination"]
            cursor = pagination["next_cursor"] if pagination["has_more"] else None

    def reads(self) -> None:
        """Compare all read operations."""
        actions, chance = self.actions, self.actions.chance
        tenants, own = actions.tenants, actions.known[actions.tenants.a_id]
        times = [
            row[0].isoformat()
            for row in tenants.sql("SELECT created_at FROM scrape_jobs ORDER BY random() LIMIT 6")
        ]
        for sort in SORTS:
            self.pages(f"{JOBS}?sort={sort}", chance.randint(3, 20))
        filters = {
            "status": [*STATUSES, "pending,failed"],
            "domain": DOMAINS,
            "job_type": TYPES,
            "customer_config_id": [tenants.a_id, tenants.b_id, NIL],
            "tag": ["red", "green"],
            "created_after": [time.replace("+", "%2B") for time in times[:3]],
            "created_before": [time.replace("+", "%2B") for time in times[3:]],
        }
        for name, values in filters.items():
            for value in values:
                self.same("GET", f"{JOBS}?{name}={value}&sort={chance.choice(SORTS)}&limit=200")
        for _ in range(6):
            some = chance.sample(sorted(filters), 3)
            query = "&".join(f"{name}={chance.choice(list(filters[name]))}" for name in some)
            self.pages(f"{JOBS}?{query}&sort={chance.choice(SORTS)}", 5)
        for job in chance.sample(own.jobs, min(len(own.jobs), 12)):
            self.same("GET", f"{JOBS}/{job}")
            self.same("GET", f"{JOBS}/{job}/queue")
            self.pages(f"{JOBS}/{job}/history", 2)
        for limit in (1, 7, 100):
            self.same("GET", f"{JOBS}/next?limit={limit}")
        self.same("GET", f"{JOBS}/next?limit=100&domains={DOMAINS[0]},{DOMAINS[1]}")
        self.same("GET", f"{JOBS}/next?limit=100&job_types={TYPES[0]}")
        self.statistics(times)
        self.pages(HOOKS, 1)
        for hook in own.hooks:
            self.same("GET", f"{HOOKS}/{hook}")
            self.pages(f"{HOOKS}/{hook}/deliveries", 3)
            for status in ("pending", "delivered", "failed"):
                self.same("GET", f"{HOOKS}/{hook}/deliveries?status={status}&limit=200")

    def statistics(self, times: Sequence[str]) -> None:
        """Compare statistics: of all time, and of windows with edges within a minute of events."""
        tenants, chance = self.actions.tenants, self.actions.chance
        early, late = (time.replace("+", "%2B") for time in (min(times), max(times)))
        windows = [
            "",
            f"&from={early}",
            f"&to={late}",
            f"&from={early}&to={late}",
            "&from=2020-01-01T00:00:00Z",
        ]
        narrow = [
            "",
            f"&domain={DOMAINS[0]}",
            f"&job_type={TYPES[0]}",
            f"&customer_config_id={tenants.a_id}",
        ]
        for group in GROUPS:
            for window in windows:
                grouped = f"&group_by={group}" if group else ""
                self.same(
                    "GET", f"{JOBS}/stats?{(window + grouped + chance.choice(narrow)).lstrip('&')}"
                )
            self.same("GET", f"{JOBS}/stats?customer_config_id={tenants.b_id}{grouped}")

    def foreign_cursors(self) -> None:
        """Compare pages that follow cursors of other customers' lists."""
        tenants, b = self.actions.tenants, self.actions.known[self.actions.tenants.b_id]
        lists = [f"{JOBS}?sort={sort}" for sort in SORTS]
        lists += [f"{JOBS}/{b.jobs[0]}/history?", f"{HOOKS}?", f"{HOOKS}/{b.hooks[0]}/deliveries?"]
        for path in lists:
            for holder in (tenants.admin, tenants.b):
                cursor = holder.ask("GET", f"{path}&limit=1").get_json()["pagination"][
                    "next_cursor"
                ]
                if cursor is not None:
                    self.same("GET", f"{path}&cursor={cursor}")

    def foreign_ids(self) -> None:
        """Compare answers about other customers' objects, and check that those do not change."""
        actions, chance = self.actions, self.actions.chance
        tenants = actions.tenants
        before = tenants.sql(ROWS_OF_OTHERS, tenants.a_id, tenants.a_id, tenants.a_id)
        for whose in (tenants.b_id, None):
            known = actions.known[whose]
            some = [*chance.sample(known.jobs, min(3, len(known.jobs))), *sorted(known.tokens)[:2]]
            for job in some:
                token = known.tokens.get(job, "none")
                tag = tenants.admin.ask("GET", f"{JOBS}/{job}").headers["ETag"]
                extras = [{}, {"X_Lease_Token": token}, {"If_Match": tag}, {"If_None_Match": tag}]
                extras.append(
                    {"X_Lease_Token": token, "If_Match": tag, "Idempotency_Key": f"key-{whose}"}
                )
                for call in JOB_CALLS:
                    extra = (
                        chance.choice(extras) if call.token == "any" else {"X_Lease_Token": token}
                    )
                    answer = self.same(
                        call.method, f"{JOBS}/{job}{call.path}", call.json, **extra, **call.headers
                    )
                    assert answer.status_code == 404, (call, answer.text)
                    assert call.method == "HEAD" or answer.get_json()["error"] == "Job not found"
            own = actions.known[tenants.a_id].hooks
            for hook in known.hooks:
                listed = tenants.admin.data("GET", f"{HOOKS}/{hook}/deliveries")
                for call in HOOK_CALLS:
                    answer = self.same(call.method, f"{HOOKS}/{hook}{call.path}", call.json)
                    assert answer.status_code == 404, (call, answer.text)
                for delivery in listed[:3]:
                    for through in (hook, *own):
                        path = f"{HOOKS}/{through}/deliveries/{delivery['id']}/redeliver"
                        assert self.same("POST", path).status_code in (404, 409)
        assert tenants.sql(ROWS_OF_OTHERS, tenants.a_id, tenants.a_id, tenants.a_id) == before

    def creations(self) -> None:
        """Compare creations that name another customer."""
        tenants = self.actions.tenants
        foreign = {"domain": DOMAINS[0], "customer_config_id": tenants.b_id}
        for body in (foreign, [{"domain": DOMAINS[0]}, foreign], [foreign]):
            assert self.same("POST", JOBS, body).status_code == 400
        assert (
            self.same("POST", HOOKS, {**HOOK, "customer_config_id": tenants.b_id}).status_code
            == 400
        )

    def replayed(self) -> None:
        """Compare replays of A's requests, and requests with other customers' idempotency keys."""
        mine = [one for one in self.actions.replays if one[0].key == self.shared.key]
        others = {
            key for holder, _, _, key in self.actions.replays if holder.key != self.shared.key
        }
        assert mine
        for _, path, body, key in mine:
            answer = self.same("POST", path, body, Idempotency_Key=key)
            assert answer.headers["Idempotent-Replayed"] == "true"
        for key in sorted(others - {key for *_, key in mine})[:3]:
            for holder in (self.alone, self.shared):
                answer = holder.ask("POST", JOBS, {"domain": DOMAINS[0]}, Idempotency_Key=key)
                assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)
            self.actions.known[self.actions.tenants.a_id].jobs.append(
                answer.get_json()["data"]["id"]
            )
            self.actions.replays.append((self.actions.tenants.a, JOBS, {"domain": DOMAINS[0]}, key))

    def claims(self) -> None:
        """Compare which jobs are claimed, and in which order."""
        chance = self.actions.chance
        known = self.actions.known[self.actions.tenants.a_id]
        for domains in (None, [DOMAINS[0]], None):
            body: dict[str, Any] = {
                "worker_id": "w",
                "limit": chance.randint(1, 3),
                "lease_seconds": 3600,
            }
            body.update({"domains": domains} if domains else {})
            shared, own = (
                one.data("POST", f"{JOBS}/next", body) for one in (self.shared, self.alone)
            )
            assert [job["id"] for job in shared] == [job["id"] for job in own]
            known.tokens.update({job["id"]: job["lease_token"] for job in shared})


ROWS_OF_OTHERS = """
    SELECT 'job', j.id::text, j.xmin::text, j.xmax::text, j.ctid::text, j::text FROM scrape_jobs j
    WHERE j.customer_config_id IS DISTINCT FROM %s::uuid
    UNION ALL SELECT 'event', e.job_id::text, e.xmin::text, e.xmax::text, e.ctid::text, e::text
    FROM job_events e JOIN scrape_jobs j ON j.id = e.job_id
    WHERE j.customer_config_id IS DISTINCT FROM %s::uuid
    UNION ALL SELECT 'webhook', w.id::text, w.xmin::text, w.xmax::text,
        concat_ws(' ', w.ctid, d.ctid, d.xmax), concat(w, d)
    FROM webhook_endpoints w LEFT JOIN webhook_deliveries d ON d.endpoint_id = w.id
    WHERE w.customer_config_id IS DISTINCT FROM %s::uuid
    ORDER BY 1, 2, 5"""
"""All rows that do not belong to A, with the columns that a change or a lock alters."""
