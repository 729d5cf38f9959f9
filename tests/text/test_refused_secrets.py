"""Secrets in refused requests: neither answers, the database nor the logs contain them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from support.hostile_texts import (
    STRINGS,
    HostileText,
    check,
    database_texts,
    faults,
    faults_of_log,
    faults_of_terminal,
)
from support.recording_clients import (
    HOOKS,
    JOBS,
    MERGE,
    NO_ID,
    ORIGIN,
    Client,
    InProcessClient,
    app_with_keys,
    faults_of_answers,
)


def send_invalid_bodies(client: Client, one: HostileText) -> None:
    """Send the text where it is invalid: in all fields, and as the whole body."""
    text, many = one.text, [one.text]
    job = (
        "domain",
        "job_type",
        "priority",
        "max_retries",
        "config",
        "metadata",
        "domain_id",
        "scheduled_for",
    )
    update = ("status", "stats", "retry_count", "started_at", "completed_at", "metadata")
    hook = {**dict.fromkeys(("url", "active", "secret"), text), "description": many}
    lists = {"statuses": many, "job_types": many, "domains": many}
    numbers = dict.fromkeys(("limit", "lease_seconds", "wait_seconds"), text)
    calls: Sequence[tuple[str, str, Any]] = (
        ("POST", JOBS, [dict.fromkeys(job, text)]),
        ("PUT", f"{JOBS}/{NO_ID}", {**dict.fromkeys(update, text), "error_message": many}),
        ("POST", f"{JOBS}/{NO_ID}/retry", {"delay_seconds": text, "reset_retry_count": text}),
        ("POST", f"{JOBS}/next", {"worker_id": many, **numbers, **lists}),
        ("POST", HOOKS, {**hook, **lists}),
        ("POST", HOOKS, {"url": f"https://bob:{one.word}@shop.example/"}),
        ("PUT", f"{HOOKS}/{NO_ID}", {**hook, **lists}),
        ("POST", f"{HOOKS}/{NO_ID}/redeliver", {"failed_since": text}),
        ("PUT", f"{JOBS}/{NO_ID}", text),
        ("PUT", f"{JOBS}/{NO_ID}", text.encode()),
        ("PUT", f"{JOBS}/{NO_ID}", b'{"error_message": "' + text.encode()),
    )
    for method, path, body in calls:
        assert client.call(method, path, body, None, f"wrong {method} {path}").status == 400
    missing = f"{JOBS}/{NO_ID}"
    for name, value in (
        ("X-Lease-Token", one.header),
        ("X-Lease-Token", one.word.encode()),
        ("If-Match", one.header),
    ):
        assert client.call("PUT", missing, {"stats": {}}, {name: value}, name).status in (404, 409)
        assert client.call("POST", f"{missing}/heartbeat", None, {name: value}, name).status in (
            404,
            409,
        )
    assert (
        client.call("GET", missing, None, {"If-None-Match": one.header}, "If-None-Match").status
        == 404
    )
    assert (
        client.call(
            "POST", f"{missing}/retry", {}, {"Idempotency-Key": one.header}, "Idempotency-Key"
        ).status
        == 400
    )
    for name in ("Content-Type", "Content-Encoding"):
        assert (
            client.call("PUT", f"{JOBS}/{NO_ID}", {"stats": {}}, {name: one.header}, name).status
            == 415
        )
    client.call("POST", JOBS, {"domain": "type.example", "job_type": one.bare}, None, "job_type")


WITH_BODIES: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("POST", JOBS, {}),
    ("PUT", f"{JOBS}/{NO_ID}", {}),
    ("PATCH", f"{JOBS}/{NO_ID}", {"Content-Type": MERGE}),
    ("POST", f"{JOBS}/{NO_ID}/retry", {}),
    ("POST", f"{JOBS}/{NO_ID}/heartbeat", {}),
    ("POST", f"{JOBS}/{NO_ID}/release", {}),
    ("POST", f"{JOBS}/next", {}),
    ("POST", HOOKS, {}),
    ("PUT", f"{HOOKS}/{NO_ID}", {}),
    ("POST", f"{HOOKS}/{NO_ID}/redeliver", {}),
)


QUERIES: Mapping[tuple[str, str], Sequence[str]] = {
    ("GET", JOBS): (
        "status", "domain", "job_type", "customer_config_id", "created_after", "created_before",
        "sort", "limit",
        "cursor",
    ),
    ("GET", f"{JOBS}/next"): ("job_types", "domains", "limit"),
    ("GET", f"{JOBS}/stats"): ("from", "to", "domain", "job_type", "customer_config_id",
    "group_by"),
    ("GET", f"{JOBS}/{NO_ID}/history"): ("limit", "cursor"),
    ("GET", HOOKS): ("limit", "cursor"),
    ("GET", f"{HOOKS}/{NO_ID}/deliveries"): ("limit", "cursor", "status"),
    ("DELETE", f"{JOBS}/{NO_ID}"): (),
}  # fmt: skip


PATHS = (
    ("GET", "/{}"), ("POST", "/api/{}"), ("GET", f"{JOBS}/{{}}/none"), ("TRACE", f"{JOBS}/{{}}"),
    ("GET", f"{JOBS}/{{}}"), ("PUT", f"{JOBS}/{{}}"), ("DELETE", f"{JOBS}/{{}}"), ("GET",
    f"{JOBS}/{{}}/history"),
    ("POST", f"{JOBS}/{{}}/heartbeat"), ("GET", f"{HOOKS}/{{}}"),
    ("POST", f"{HOOKS}/{NO_ID}/deliveries/{{}}/redeliver"),
)  # fmt: skip


def send_unknown_fields(client: Client, some: Sequence[HostileText]) -> None:
    """Send some texts as names of unknown fields: in bodies, and in queries once and twice."""
    storable = [one for one in some if one.storable]
    for method, path, headers in WITH_BODIES:
        found = client.call(
            method,
            path,
            dict.fromkeys((one.text for one in storable), 1),
            headers,
            f"field of {path}",
        )
        assert (found.status, found.texts[-1].count("note-")) == (400, len(storable)), found
    for method, path in QUERIES:
        for times, entry in ((1, "name in the query"), (2, "repeated in the query")):
            asked = "&".join(f"{one.quoted}=1" for one in some for _ in range(times))
            found = client.call(method, f"{path}?{asked}", entry=f"{entry} of {path}")
            assert (found.status, found.texts[-1].count("note-")) == (400, len(some)), found


def send_invalid_queries(client: Client, one: HostileText) -> None:
    """Send the text in queries and paths."""
    for (method, path), names in QUERIES.items():
        if names:
            asked = "&".join(f"{name}={one.quoted}" for name in names)
            assert (
                client.call(method, f"{path}?{asked}", entry=f"wrong query of {path}").status == 400
            )
    assert client.call("GET", f"{JOBS}?limit=1&tag={one.quoted}", entry="tag").status in (200, 400)
    assert client.call(
        "GET", f"{JOBS}?limit=1&job_type={quote(one.bare)}", entry="job_type"
    ).status in (200, 400)
    for method, path in PATHS:
        found = client.call(method, path.format(one.quoted), entry=f"path {method} {path}")
        assert found.status in (400, 404, 405, 415), found


def send_invalid_headers(client: Client, one: HostileText) -> None:
    """Send the text as a key and as the origin of a page."""
    for value in (one.header, b"Bearer " + one.header, b"Basic " + one.header):
        assert client.call("GET", JOBS, None, {"Authorization": value}, "wrong key").status == 401
    asks: dict[str, str | bytes] = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": one.header,
    }
    client.call("OPTIONS", JOBS, None, asks, "preflight")
    client.call("OPTIONS", JOBS, None, {**asks, "Origin": one.header}, "preflight")
    client.call("GET", f"{JOBS}/{NO_ID}", None, {"Origin": one.header}, "Origin")


def test_refused_secrets_are_not_stored_or_logged(
    database: str, logged: Mapping[str, io.StringIO]
) -> None:
    with app_with_keys(database) as (app, key):
        client = InProcessClient(app, key)
        for start in range(0, len(STRINGS), 10):
            send_unknown_fields(client, STRINGS[start : start + 10])
        for one in STRINGS:
            for entry in (send_invalid_bodies, send_invalid_queries, send_invalid_headers):
                entry(client, one)
    found = [fault for where, text in database_texts(database) for fault in faults(where, text)]
    found += faults_of_answers(client)
    found += faults_of_log(logged["json"].getvalue())
    check([*found, *faults_of_terminal(logged["terminal"].getvalue())])
