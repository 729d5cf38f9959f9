"""The situation in which the service answers each example of the OpenAPI document."""

from collections.abc import Callable, Mapping

from app.jobs.schemas import JOB_ID
from app.webhooks.schemas import DELIVERY_ID, WEBHOOK_ID
from support.example_api import ExampleApi
from support.openapi import Call

Prepare = Callable[[ExampleApi], None]
Trigger = Callable[[ExampleApi, Call], None]

LARGE = "x" * 256 * 1024


def nothing(api: ExampleApi) -> None:
    """Leave the service as it is."""


def _job(status: str, **fields: object) -> Prepare:
    return lambda api: api.job(status, **fields)


def _started(api: ExampleApi) -> None:
    api.job("pending")
    api.update(status="running", started_at="2024-01-01T10:00:00Z")


def _replayable(api: ExampleApi) -> None:
    api.webhook()
    api.job("completed")
    api.sql("UPDATE job_events SET at = '2024-01-01T12:30:00Z' WHERE new_status = 'completed'")


def _delivered(api: ExampleApi) -> None:
    api.job("running")
    api.delivery()


def _finished_jobs(api: ExampleApi) -> None:
    performance = {"memoryUsage": "150MB", "cpuUsage": 45.2, "networkLatency": 250}
    for status, message in (
        ("completed", None),
        ("completed", None),
        ("failed", "Timeout after 30 s"),
    ):
        job = api.ask("POST", "/api/scrape-jobs", {"domain": "example.com"})
        path = f"/api/scrape-jobs/{job['id']}"
        api.ask("PUT", path, {"status": "running", "started_at": "2024-01-01T10:00:00Z"})
        stats = {"pagesProcessed": 200, "performance": performance}
        report = {"status": status, "error_message": message, "stats": stats}
        api.ask("PUT", path, {**report, "completed_at": "2024-01-01T10:30:00Z"})


SUCCESSES: Mapping[str, Prepare] = {
    "listJobs": _job("running"),
    "createJobs": nothing,
    "getJob": _job("running"),
    "updateJob": _job("running"),
    "patchJob": _job("pending"),
    "cancelJob": _job("running"),
    "cancelJobs": _job("pending"),
    "jobHistory": _started,
    "claimJobs": _job("pending"),
    "listUpcomingJobs": _job("pending"),
    "getPosition": _job("pending"),
    "heartbeat": nothing,
    "retryJob": _job("failed"),
    "retryJobs": _job("failed"),
    "releaseJob": nothing,
    "showStatistics": _finished_jobs,
    "streamJob": _job("running"),
    "streamJobs": nothing,
    "createWebhook": nothing,
    "listWebhooks": ExampleApi.webhook,
    "getWebhook": ExampleApi.webhook,
    "updateWebhook": ExampleApi.webhook,
    "deleteWebhook": ExampleApi.webhook,
    "rotateSecret": ExampleApi.webhook,
    "testWebhook": ExampleApi.webhook,
    "listDeliveries": ExampleApi.delivery,
    "listJobDeliveries": _delivered,
    "redeliver": ExampleApi.delivery,
    "redeliverFailed": ExampleApi.delivery,
    "replay": _replayable,
    "getOpenApi": nothing,
    "healthz": nothing,
    "readyz": nothing,
    "metrics": nothing,
}
"""The state before the successful request, by operation."""

UNDER_LEASE = ("heartbeat", "releaseJob")


def prepare(api: ExampleApi, operation: str, call: Call) -> None:
    """Create the state in which the operation succeeds; under a lease, add its token to `call`."""
    if operation in UNDER_LEASE:
        call.headers["X-Lease-Token"] = api.claim()
    SUCCESSES[operation](api)


# Failures of single operations. Their service is empty unless the trigger prepares something.


def _body(body: object, then: Prepare = nothing) -> Trigger:
    def apply(api: ExampleApi, call: Call) -> None:
        then(api)
        call.with_json(body)

    return apply


def _header(name: str, value: str, then: Prepare = nothing) -> Trigger:
    def apply(api: ExampleApi, call: Call) -> None:
        then(api)
        call.headers[name] = value

    return apply


def _query(query: dict[str, str], then: Prepare = nothing) -> Trigger:
    def apply(api: ExampleApi, call: Call) -> None:
        then(api)
        call.query = query

    return apply


def _state(then: Prepare) -> Trigger:
    return lambda api, _: then(api)


def _inactive(api: ExampleApi) -> None:
    api.webhook(active=False)


def _modified_lease(api: ExampleApi, call: Call) -> None:
    call.headers |= {"X-Lease-Token": api.claim(), "If-Match": '"99"'}


def _many_webhooks(api: ExampleApi) -> None:
    api.webhook()
    api.sql(
        "INSERT INTO webhook_endpoints (id, url, active, secret, customer_config_id, created_at,"
        " updated_at) SELECT gen_random_uuid(), w.url, true, w.secret, w.customer_config_id, now(),"
        " now() FROM webhook_endpoints w CROSS JOIN generate_series(1, 99)"
    )


def _invalid_id(*ids: str) -> Trigger:
    def apply(_: ExampleApi, call: Call) -> None:
        for id in ids:
            call.path = call.path.replace(id, "x")

    return apply


def _broken_body(_: ExampleApi, call: Call) -> None:
    call.body = b"x"


_LAST_RETRY = _job("failed", retry_count=3)

FAILURES: Mapping[str, Trigger] = {
    "Invalid id: must be a UUID": _invalid_id(JOB_ID, WEBHOOK_ID),
    "Invalid delivery_id: must be a UUID": _invalid_id(DELIVERY_ID),
    "Invalid body: must be a JSON document": _broken_body,
    "Invalid domain: must be a host name such as example.com, without scheme, port or path": _body(
        {"domain": "https://example.com"}
    ),
    "Invalid config: must hold at most 256 KiB": _body(
        {"domain": "example.com", "config": {"a": LARGE}}
    ),
    "Invalid retry_count: must be a non-negative integer": _body({"retry_count": -1}),
    "Unknown field: statuss": _body({"statuss": "running"}),
    "No updatable fields provided": _body({}, ExampleApi.webhook),
    "Cannot transition from 'completed' to 'running'": _body(
        {"status": "running"}, _job("completed")
    ),
    "Cannot transition from 'completed' to 'pending'": _state(_job("completed")),
    "Cannot transition from 'failed' to 'pending'": _body({"status": "pending"}, _LAST_RETRY),
    "Cannot transition from 'failed' to 'pending' (retryJob)": _state(_LAST_RETRY),
    "Invalid stats: must hold at most 256 KiB": _body({"stats": {"a": LARGE}}, _job("running")),
    "Invalid priority: cannot be changed by an update": _body(
        {"priority": 9, "stats": {}}, _job("running")
    ),
    "Invalid priority: can only be changed while the job is pending or failed": _body(
        {"priority": 9}, _job("running")
    ),
    "Lease lost": _header("X-Lease-Token", "none", _job("running")),
    "Lease lost (heartbeat)": _state(_job("running")),
    "Lease lost (releaseJob)": _state(_job("running")),
    "Job not found (heartbeat)": _header("X-Lease-Token", "none"),
    "Job not found (releaseJob)": _header("X-Lease-Token", "none"),
    "Job was modified (releaseJob)": _modified_lease,
    "Job was modified": _header("If-Match", '"99"', _job("running")),
    "Job not found or cannot be cancelled": _state(_job("completed")),
    "Invalid ids: must be a list of 1 to 1000 UUIDs": _body({"ids": []}),
    "Invalid filter: must be given, or ids": _body({}),
    "Invalid worker_id: must be 1 to 200 visible characters": _body({"worker_id": ""}),
    "Invalid url: must be an http or https URL such as https://example.com/hook": _body({"url": 1}),
    "Invalid active: must be true or false": _body({"active": "yes"}),
    "Webhook limit reached": _state(_many_webhooks),
    "Webhook is not active": _state(_inactive),
    "Delivery not found": _state(ExampleApi.webhook),
    "Invalid to: must not be before from": _body(
        {"from": "2024-01-02T00:00:00Z", "to": "2024-01-01T00:00:00Z"}
    ),
    "Invalid to: must not be before from (showStatistics)": _query(
        {"from": "2024-01-02T00:00:00Z", "to": "2024-01-01T00:00:00Z"}
    ),
    "Invalid timezone: must come with group_by=hour or group_by=day": _query({"timezone": "UTC"}),
    "Invalid cursor: must be the next_cursor of a page of the same list": _query(
        {"cursor": "none"}, ExampleApi.webhook
    ),
    "Unknown field: verbose": _query({"verbose": "1"}),
    "Invalid Idempotency-Key: must be 1 to 255 visible ASCII characters": _header(
        "Idempotency-Key", "a b"
    ),
    "Job not found": _state(nothing),
    "Webhook not found": _state(nothing),
}
"""The situation in which a request fails, by error text; where operations differ, with the operation's id."""


def trigger(error: str, operation: str) -> Trigger:
    """Return the situation in which the operation fails with `error`."""
    return FAILURES.get(f"{error} ({operation})") or FAILURES[error]
