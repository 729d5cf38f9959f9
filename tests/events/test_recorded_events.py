"""Every change of a job appends one event with its provenance."""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.config import Settings
from app.database.tenant_scope import all_customers
from app.factory import create_app
from app.queue import sweeper
from support.audit import (
    ADDRESS,
    HEARTBEAT,
    JOBS,
    KEY_NAMES,
    MERGE,
    ONE,
    RELEASE,
    RETRY,
    AuditedService,
)
from support.factories import new_domain


class _AnyTime:
    """Equal to every text that is a time as the API writes it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and bool(
            re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", other)
        )

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "any time"


TIME = _AnyTime()
EventSummary = tuple[str, str | None, str, Mapping[str, tuple[Any, Any]]]
"""Action, old status, new status, and the old and new value of each changed field."""


@dataclass
class ChangeCase:
    """A request that may change a job, and the events that it must append.

    Attributes:
        name: The name of the case.
        method: The method of the request.
        path: The path of the request, below JOBS.
        state: The state of the job before: its status, or ``leased``, or ``revoked`` (cancelled
            while leased).
        events: The events that the request appends.
        body: The body of the request; ``<id>`` stands for the job's id in it, as in the path.
        status: The status of the response.
        headers: The headers of the request.
        with_token: Whether the request has the job's lease token.
        fields: The fields with which the job is created.
    """

    name: str
    method: str
    path: str
    state: str
    events: Sequence[EventSummary]
    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    with_token: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


CLEARED_BY_RETRY = {
    "error_message": ("Timeout", None),
    "started_at": (TIME, None),
    "completed_at": (TIME, None),
}
CLEARED_WITH_LEASE = {
    "started_at": (TIME, None),
    "completed_at": (TIME, None),
    "worker_id": ("w", None),
}
COUNTED_RETRY = {**CLEARED_BY_RETRY, "retry_count": (0, 1)}
CANCEL_HEARD: EventSummary = ("cancel_heard", "cancelled", "cancelled", {})


def _updated(old: str, new: str, **changes: tuple[Any, Any]) -> EventSummary:
    return "updated", old, new, changes


def _failed(action: str, message: str) -> EventSummary:
    changes = {"completed_at": (None, TIME), "error_message": (None, message)}
    return action, "running", "failed", changes


def _requeued(action: str, message: str, **more: tuple[Any, Any]) -> EventSummary:
    changes = {**CLEARED_WITH_LEASE, "error_message": (message, None), **more}
    return action, "failed", "pending", changes


CHANGE_CASES = [
    ChangeCase("start", "PUT", ONE, "pending",
        [_updated("pending", "running", started_at=(None, TIME))],
        {"status": "running"}),
    ChangeCase("progress", "PUT", ONE, "running",
        [_updated("running", "running", **{"stats.a": (None, 1)})],
        {"stats": {"a": 1}}),
    ChangeCase("metadata", "PUT", ONE, "pending",
        [_updated("pending", "pending", **{"metadata.b": (None, [1])})],
        {"metadata": {"b": [1]}}),
    ChangeCase("nothing new", "PUT", ONE, "running",
        [_updated("running", "running")],
        {"status": "running"}),
    ChangeCase("own times", "PUT", ONE, "running",
        [_updated("running", "running",
            retry_count=(0, 2), started_at=(TIME, "2024-01-01T00:00:00.000Z"))],
        {"retry_count": 2, "started_at": "2024-01-01T00:00:00Z"}),
    ChangeCase("complete", "PUT", ONE, "running",
        [_updated("running", "completed", completed_at=(None, TIME))],
        {"status": "completed"}),
    ChangeCase("fail", "PUT", ONE, "running",
        [_failed("updated", "Timeout")],
        {"status": "failed", "error_message": "Timeout"}),
    ChangeCase("retry by PUT", "PUT", ONE, "failed",
        [("updated", "failed", "pending", COUNTED_RETRY)],
        {"status": "pending"}),
    ChangeCase("cancel by PUT", "PUT", ONE, "pending",
        [_updated("pending", "cancelled", completed_at=(None, TIME))],
        {"status": "cancelled"}),
    ChangeCase("report", "PUT", ONE, "leased",
        [_updated("running", "running", **{"stats.a": (None, 1)})],
        {"stats": {"a": 1}}, with_token=True),
    ChangeCase("last report", "PUT", ONE, "revoked",
        [_updated("cancelled", "cancelled", **{"stats.a": (None, 1)}), CANCEL_HEARD],
        {"stats": {"a": 1}}, with_token=True),
    ChangeCase("refused report", "PUT", ONE, "revoked",
        [CANCEL_HEARD],
        {"status": "completed"}, 400, with_token=True),
    ChangeCase("patch", "PATCH", ONE, "running",
        [_updated("running", "running",
            **{"stats.a": (None, {"b": 1}), "metadata.k": ("v", None)})],
        {"stats": {"a": {"b": 1, "c": None}}, "metadata": {"k": None}},
        headers=MERGE, fields={"metadata": {"k": "v"}}),
    ChangeCase("refused patch", "PATCH", ONE, "revoked",
        [CANCEL_HEARD],
        {"status": "running"}, 400, MERGE, with_token=True),
    ChangeCase("cancel", "DELETE", ONE + "?reason=Enough", "running",
        [("cancelled", "running", "cancelled",
            {"completed_at": (None, TIME), "error_message": (None, "Cancelled via API: Enough")})]),
    ChangeCase("cancel many", "POST", "/cancel", "pending",
        [("cancelled", "pending", "cancelled",
            {"completed_at": (None, TIME), "error_message": (None, "Cancelled via API: Enough")})],
        {"ids": ["<id>"], "reason": "Enough"}),
    ChangeCase("retry many", "POST", "/retry", "failed",
        [("retried", "failed", "pending", COUNTED_RETRY)],
        {"ids": ["<id>"]}),
    ChangeCase("retry", "POST", RETRY, "failed",
        [("retried", "failed", "pending", COUNTED_RETRY)]),
    ChangeCase("retry later", "POST", RETRY, "failed",
        [("retried", "failed", "pending",
            {**CLEARED_BY_RETRY, "scheduled_for": (None, TIME),
             "error_message": ("Timeout", "Later")})],
        {"delay_seconds": 60, "error_message": "Later", "reset_retry_count": True}),
    ChangeCase("give up", "POST", RETRY, "leased",
        [_failed("given_up", "No"), _requeued("retried", "No", retry_count=(0, 1))],
        {"error_message": "No"}, with_token=True),
    ChangeCase("give up for good", "POST", RETRY, "leased",
        [_failed("given_up", "Given up by worker w")],
        None, 400, with_token=True, fields={"max_retries": 0}),
    ChangeCase("release", "POST", RELEASE, "leased",
        [_failed("released", "Released by worker w"),
         _requeued("released", "Released by worker w")],
        with_token=True),
    ChangeCase("heartbeat", "POST", HEARTBEAT, "leased", [], with_token=True),
    ChangeCase("heartbeat of a cancelled job", "POST", HEARTBEAT, "revoked",
        [CANCEL_HEARD], with_token=True),
    ChangeCase("no transition", "PUT", ONE, "pending", [], {"status": "completed"}, 400),
    ChangeCase("no such field", "PUT", ONE, "pending", [], {"colour": "red"}, 400),
    ChangeCase("another's version", "PUT", ONE, "pending", [],
        {"stats": {}}, 412, {"If-Match": '"7"'}),
    ChangeCase("another's lease", "PUT", ONE, "leased", [],
        {"stats": {}}, 409, {"X-Lease-Token": "t"}),
    ChangeCase("no retry left", "POST", RETRY, "failed", [],
        None, 400, fields={"max_retries": 0}),
    ChangeCase("not released", "POST", RELEASE, "pending", [],
        None, 409, {"X-Lease-Token": "t"}),
    ChangeCase("too large", "PUT", ONE, "running", [], {"stats": {"a": "x" * 300_000}}, 413),
]  # fmt: skip


def prepare_job(audited: AuditedService, case: ChangeCase) -> tuple[str, str | None]:
    """Create a job in the state of `case`. Return its id and lease token."""
    job, token = audited.create(**case.fields), None
    if case.state in ("leased", "revoked"):
        token = audited.claim(job)
    if case.state in ("running", "failed"):
        audited.update(job, status="running")
    if case.state == "failed":
        audited.update(job, status="failed", error_message="Timeout")
    if case.state == "revoked":
        audited.succeed("DELETE", f"{JOBS}/{job}")
    return job, token


def recorded_events(
    job: str, before: int, actor_key: str, request_id: str, since: datetime, audited: AuditedService
) -> list[EventSummary]:
    """Return the job's events after the first `before` ones, and check their provenance."""
    rows = audited.events(job)
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert audited.sql("SELECT version FROM scrape_jobs WHERE id = %(id)s", id=job) == [
        (len(rows),)
    ]
    for _, *provenance, at, _, _, _, _ in rows[before:]:
        assert provenance == ["key", actor_key.split("_")[1], KEY_NAMES[0], request_id, ADDRESS]
        assert since - timedelta(milliseconds=1) <= at <= datetime.now(UTC)
    return [
        (
            action,
            old,
            new,
            {name: (change["from"], change["to"]) for name, change in changes.items()},
        )
        for *_, action, old, new, changes in rows[before:]
    ]


@pytest.mark.parametrize("case", CHANGE_CASES, ids=lambda case: case.name)
def test_every_change_is_recorded_with_its_provenance(
    audited: AuditedService, actor_key: str, case: ChangeCase
) -> None:
    job, token = prepare_job(audited, case)
    before = len(audited.events(job))
    headers = {
        **case.headers,
        "X-Request-ID": uuid.uuid4().hex,
        **({"X-Lease-Token": token or ""} if case.with_token else {}),
    }
    since = datetime.now(UTC)
    body = json.loads(json.dumps(case.body).replace("<id>", job))
    answer = audited.call(
        case.method, JOBS + case.path.replace("<id>", job), body, actor_key, **headers
    )
    assert answer.status_code == case.status, answer.text
    assert (
        recorded_events(job, before, actor_key, headers["X-Request-ID"], since, audited)
        == case.events
    )
    assert audited.verify() == []


def test_cases_cover_every_route_that_changes_jobs(audited: AuditedService) -> None:
    changing = {
        (method, rule.rule.removeprefix(JOBS))
        for rule in audited.app.url_map.iter_rules()
        if rule.rule.startswith(JOBS)
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    }
    here = {(case.method, case.path.partition("?")[0]) for case in CHANGE_CASES}
    assert changing == here | {("POST", ""), ("POST", "/next")}


@pytest.mark.parametrize("size", [None, 1, 3])
def test_creation_is_recorded_once_despite_repeated_request(
    audited: AuditedService, actor_key: str, size: int | None
) -> None:
    new = {"domain": "example.com", "config": {"depth": 2}, "customer_config_id": str(uuid.uuid4())}
    headers = {"X-Request-ID": uuid.uuid4().hex, "Idempotency-Key": uuid.uuid4().hex}
    since = datetime.now(UTC)
    body = new if size is None else [new] * size
    first, again = (audited.succeed("POST", JOBS, body, key=actor_key, **headers) for _ in range(2))
    assert first == again
    jobs = [first] if size is None else first
    changes = {
        "domain_id": (None, jobs[0]["domain_id"]),
        "domain": (None, "example.com"),
        "job_type": (None, "domain_scrape"),
        "priority": (None, 5),
        "max_retries": (None, 3),
        "customer_config_id": (None, new["customer_config_id"]),
        "config.depth": (None, 2),
    }
    for job in jobs:
        assert recorded_events(
            job["id"], 0, actor_key, headers["X-Request-ID"], since, audited
        ) == [("created", None, "pending", changes)]
    assert audited.sql("SELECT count(*) FROM job_events") == [(len(jobs),)]
    assert audited.verify() == []


@pytest.mark.parametrize("spread", [False, True])
def test_claim_is_recorded_for_each_job(
    audited: AuditedService, actor_key: str, spread: bool
) -> None:
    domain = new_domain()
    jobs = {audited.create(domain=domain) for _ in range(3)}
    app = create_app(Settings(database_url=audited.url, rate_limit=False, distributed=spread))
    request_id, since = uuid.uuid4().hex, datetime.now(UTC)
    headers = {"Authorization": f"Bearer {actor_key}", "X-Request-ID": request_id}
    body = {"worker_id": "w", "domains": [domain], "limit": 9}
    answer = app.test_client().post(
        f"{JOBS}/next", json=body, headers=headers, environ_overrides={"REMOTE_ADDR": ADDRESS}
    )
    assert {job["id"] for job in answer.get_json()["data"]} == jobs
    for job in jobs:
        changes = {"started_at": (None, TIME), "worker_id": (None, "w")}
        assert recorded_events(job, 1, actor_key, request_id, since, audited) == [
            ("claimed", "pending", "running", changes)
        ]
    assert audited.verify() == []
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


@pytest.mark.parametrize("max_retries", [3, 0])
def test_rescue_is_recorded_with_actor_system(audited: AuditedService, max_retries: int) -> None:
    job = audited.create(max_retries=max_retries)
    audited.claim(job)
    audited.sql(
        "UPDATE scrape_jobs SET lease_expires_at = now() - interval '1 s' WHERE id = %(id)s", id=job
    )
    with audited.app.app_context(), all_customers():
        assert sweeper.sweep() == 1
    rows = audited.events(job)[2:]
    assert [row[1:6] for row in rows] == [("system", None, None, None, None)] * len(rows)
    expected = [("lease_expired", "running", "failed"), ("retried", "failed", "pending")]
    assert [row[7:10] for row in rows] == expected[: 2 if max_retries else 1]
    assert audited.verify() == []


def test_request_without_key_is_recorded_as_anonymous(audited: AuditedService) -> None:
    app = create_app(Settings(auth="off", database_url=audited.url, rate_limit=False))
    job = app.test_client().post(JOBS, json={"domain": "example.com"}).get_json()["data"]["id"]
    assert [row[1:4] for row in audited.events(job)] == [("anonymous", None, None)]
    assert audited.verify() == []
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()
