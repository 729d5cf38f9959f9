"""Secrets in storage: accepted texts are stored, answered, sent and logged without secrets.

The texts go through each field of the API that takes a text, and through what surrounds it: paths,
headers, answers of receivers. `config`, `metadata` and `stats` are stored unchanged, because they
are the client's own documents; so is a webhook's `url`, which is refused with a user or a password.
None of them is logged. The secret of a webhook is stored encrypted, and only its creation shows it.
"""

import base64
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient

from app.text.sanitising import one_line, sanitise
from app.vault import new_key
from app.webhooks.attempt import Attempt
from app.webhooks.sender import MAX_STORED_BYTES, Sender
from app.webhooks.targets import TargetPolicy
from support.factories import make_job
from support.hostile_texts import (
    BARE,
    FORMS,
    PIECE,
    STRINGS,
    HostileText,
    check,
    database_texts,
    faults,
    faults_of_log,
    secret,
)
from support.receiver import Receiver
from support.recording_clients import (
    CONCURRENT_CLIENTS,
    HOOKS,
    JOBS,
    MERGE,
    Client,
    HttpClient,
    RecordedAnswer,
    app_with_keys,
    faults_of_answers,
)
from support.service import Service, wait_until


def test_the_search_finds_each_of_200_strings() -> None:
    assert len({one.text for one in STRINGS}) == 200
    for one in STRINGS:
        assert PIECE.search(re.sub(r"[^!-~]", "", one.text)), one
        kinds = {"secret"} if one.disguise == "none" else {"secret", "unseen"}
        for text in (
            one.text,
            json.dumps(one.text),
            json.dumps([{"a": json.dumps({one.text: 1})}]),
        ):
            assert {fault.split()[1] for fault in faults("here:", text)} == kinds, one


@pytest.mark.parametrize("form", FORMS)
def test_each_credential_is_masked_in_each_disguise(form: str) -> None:
    for one in STRINGS:
        if one.form == form:
            stored = sanitise(one.text)
            assert stored.startswith(one.note)
            assert "***" in stored
            check(faults(one.disguise, stored))


def send_to_jobs(client: Client, one: HostileText) -> None:
    """Send the text in each field of the requests in the life of two jobs."""
    text = one.text
    aside: dict[str, str | bytes] = {  # unexpected headers, sent with every request
        "User-Agent": one.header,
        "Referer": one.header,
        "Cookie": one.header,
        "Accept": one.header,
        "X-Forwarded-For": one.header,
        "X-Request-ID": one.bare.encode() if one.form in BARE else one.header,
    }
    once = {**aside, **one.once("create")}
    domains = [f"{kind}{one.number}.example" for kind in ("a", "b")]
    created = client.call("POST", JOBS, [{"domain": domain} for domain in domains], once, "create")
    assert created.status == 201, created
    first, second = (f"{JOBS}/{job['id']}" for job in created.data)

    def send(
        method: str, path: str, body: Mapping[str, Any], entry: str, **headers: str
    ) -> RecordedAnswer:
        found = client.call(method, path, body, {**aside, **headers}, entry)
        assert found.status == 200, (entry, one, found)
        return found

    patch = {"Content-Type": MERGE}
    send("PUT", first, {"status": "running", "error_message": text}, "error_message")
    send("PATCH", first, {"error_message": "…" + text}, "error_message of a patch", **patch)
    send("PUT", first, {"status": "failed", "error_message": text}, "error_message of a failure")
    send(
        "POST",
        f"{first}/retry",
        {"error_message": text},
        "error_message of a retry",
        **one.once("retry"),
    )
    send(
        "POST",
        f"{JOBS}/next",
        {"worker_id": text, "domains": domains[:1], "lease_seconds": 5},
        "worker_id",
    )

    work = {"worker_id": text, "domains": domains[1:], "lease_seconds": 600}
    for end, body in (("retry", {"error_message": text}), ("retry", {}), ("release", {})):
        taken = send(
            "POST", f"{JOBS}/next", work, "worker_id", **one.once(f"next-{end}-{len(body)}")
        )
        token = taken.data[0].pop("lease_token")
        send("POST", f"{second}/{end}", body, f"{end} of a leased job", **{"X-Lease-Token": token})
    cancelled = client.call("DELETE", f"{second}?reason={one.quoted}", None, aside, "reason")
    assert cancelled.status == 200, cancelled
    assert cancelled.data["error_message"].startswith(f"Cancelled via API: {one.note}")


def send_to_webhooks(client: Client, one: HostileText) -> None:
    """Send the text as the description of a webhook."""
    body = {"url": "http://127.0.0.1:9/never", "description": one.text, "active": False}
    own = f"whsec_{base64.b64encode(one.bare.encode()[:40].ljust(24)).decode()}"
    made = client.call("POST", HOOKS, {**body, "secret": own}, one.once("webhook"), "description")
    assert made.status == 201, made
    path = f"{HOOKS}/{made.data['id']}"
    assert made.data["description"].startswith(one.note)
    changed = client.call(
        "PUT", path, {"description": f"{one.text} again"}, None, "description of an update"
    )
    assert changed.status == 200
    client.call("POST", f"{path}/test", {}, one.once("test"), "test of a webhook")


def read_all_resources(client: Client) -> None:
    """Read all resources."""
    for path in (JOBS, HOOKS):
        cursor = ""
        while cursor is not None:
            page = client.call(
                "GET", f"{path}?limit=200{cursor and '&cursor=' + cursor}", entry=f"list of {path}"
            )
            assert page.status == 200, page
            cursor = json.loads(page.texts[-1])["pagination"]["next_cursor"]
            for row in page.data:
                if path == JOBS or row["active"]:
                    part = "history" if path == JOBS else "deliveries"
                    assert (
                        client.call(
                            "GET", f"{path}/{row['id']}/{part}?limit=200", entry=part
                        ).status
                        == 200
                    )
                if one_in_ten := row["id"].endswith(("0", "8")):
                    assert (
                        client.call("GET", f"{path}/{row['id']}", entry=path + "/{id}").status
                        == 200
                    )
                if one_in_ten and path == JOBS:
                    assert (
                        client.call("GET", f"{path}/{row['id']}/queue", entry="queue").status == 200
                    )
    for path in (
        f"{JOBS}/stats?group_by=domain",
        f"{JOBS}/stats?group_by=job_type",
        f"{JOBS}/next?limit=100",
        "/metrics",
    ):
        assert client.call("GET", path).status == 200


def answer_with_hostile_texts(receiver: Receiver) -> None:
    """Make the receiver answer with the texts at /answer: alternately in body and headers."""

    def answer(count: int) -> tuple[int, dict[str, str], bytes]:
        one = STRINGS[(count + count // len(STRINGS)) % len(STRINGS)]
        value = one.text.encode().decode("latin-1").strip()  # including line breaks
        if count % 2:
            return 204, {"Retry-After": value, "X-Note": f"x\r\n{value}"}, b""
        return 200, {}, one.text.encode()

    receiver.answer = answer


def test_accepted_secrets_are_not_stored_or_logged(database: str) -> None:
    settings = {
        "SCRAPE_JOBS_AUTH": "keys",
        "SCRAPE_JOBS_SECRETS_KEY": new_key(),
        "SCRAPE_JOBS_WEBHOOK_ALLOW": "127.0.0.1",
        "SCRAPE_JOBS_TRUSTED_PROXIES": "1",
        "LOG_LEVEL": "DEBUG",
    }
    with (
        app_with_keys(database) as (_, key),
        Receiver() as receiver,
        Service(database, **settings) as service,
    ):
        answer_with_hostile_texts(receiver)
        clients = [HttpClient(service.port, key) for _ in range(CONCURRENT_CLIENTS)]
        for path in ("/ok", "/answer"):
            hook = {"url": receiver.url + path, "statuses": ["cancelled"]}
            assert clients[0].call("POST", HOOKS, hook).status == 201

        def push(number: int) -> None:
            for one in STRINGS[number::CONCURRENT_CLIENTS]:
                send_to_jobs(clients[number], one)
                send_to_webhooks(clients[number], one)
                clients[number].call("GET", f"{JOBS}/{one.quoted}", entry="id")
                clients[number].call("GET", f"/{one.quoted}", entry="path")

        with ThreadPoolExecutor(CONCURRENT_CLIENTS) as pool:
            list(pool.map(push, range(CONCURRENT_CLIENTS)))
        wait_until(
            lambda: not count(database, "scrape_jobs WHERE lease_expires_at IS NOT NULL"), 60
        )
        wait_until(
            lambda: count(database, "webhook_deliveries WHERE tries <> '[]'") >= 2 * len(STRINGS),
            60,
        )
        wait_until(lambda: not count(database, "uncounted_events"), 60)
        read_all_resources(clients[0])
        for client in clients:
            client.close()
        log = service.logs()

    stored = list(database_texts(database))
    all_stored = "\n".join(text for _, text in stored)
    for one in STRINGS:  # the sanitised texts are stored
        safe, name = sanitise(one.text), one_line(one.text)
        for text in (safe, f"no sign of life from worker {name}", f"Released by worker {name}"):
            assert text in all_stored, one
        assert f"Cancelled via API: {one.note}" in all_stored
    found = [fault for where, text in stored for fault in faults(where, text)]
    found += [fault for client in clients for fault in faults_of_answers(client)]
    for received in receiver.received:
        found += [
            fault
            for text in received.headers.values()
            for fault in faults("webhook's header", text)
        ]
        found += faults("webhook", received.body.decode())
    check([*found, *faults_of_log(log)])


def count(url: str, what: str) -> int:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {what}")
        (number,) = cursor.fetchone() or (0,)
    connection.close()
    return int(number)


def test_a_truncated_secret_of_a_receiver_is_masked() -> None:
    url = f"https://bob:{secret(0, 40, '')}@shop.example/"
    with Receiver() as receiver:
        sender = Sender(TargetPolicy.parse(["127.0.0.1"]))
        for length in range(MAX_STORED_BYTES - len(url) - 4, MAX_STORED_BYTES + 4):
            text = "x" * length + " " + url
            receiver.answer = lambda _, text=text: (200, {}, text.encode())  # type: ignore[misc]
            answer = sender.send(receiver.url + "/answer", "{}", {}, Attempt())
            assert answer.body.startswith("xxxx")
            check(faults("the answer", answer.body))
        sender.close()


def test_documents_of_clients_are_stored_unchanged(
    client: FlaskClient,
) -> None:
    job = make_job(client)
    for one in STRINGS:
        document = {one.text: [one.text, {"tags": [one.text]}]}
        path = f"{JOBS}/{job['id']}"
        put = client.put(path, json={"stats": document})
        patched = client.patch(path, data=json.dumps({"stats": document}), content_type=MERGE)
        created = client.post(
            JOBS, json={"domain": "document.example", "config": document, "metadata": document}
        )
        if one.storable:
            assert (put.status_code, patched.status_code, created.status_code) == (200, 200, 201)
            assert (
                put.get_json()["data"]["stats"] == patched.get_json()["data"]["stats"] == document
            )
            assert (
                created.get_json()["data"]["config"]
                == created.get_json()["data"]["metadata"]
                == document
            )
        else:
            assert [answer.status_code for answer in (put, patched, created)] == [400] * 3
