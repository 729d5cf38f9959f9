"""The lifecycle of a key: creation, listing, rotation, revocation and expiry."""

import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest
import requests

from app.api_keys import service
from app.api_keys.scopes import Scope
from support.keyed_api import CUSTOMER, JOBS, KeyedApi, not_authenticated, refusal, run_flask
from support.service import Service, wait_until

UNKNOWN_KEY = "Error: There is no such key that is valid; flask keys list shows all\n"


def test_a_key_is_created_listed_and_revoked(api: KeyedApi) -> None:
    scopes = ("--scope", "jobs:read", "--scope", "jobs:write")
    made = run_flask(api, "keys", "create", "ops", *scopes, "--expires", "90d")
    key = made.stdout.strip()
    assert re.fullmatch(r"sjk_[0-9a-z]{12}_[A-Za-z0-9_-]{43}", key)
    assert made.stdout == f"{key}\n"
    assert api.ask("GET", JOBS, key).status_code == 200
    digests = api.rows("SELECT digest FROM api_keys WHERE id = %s", key.split("_")[1])
    assert key.split("_", 2)[2].encode() not in bytes(digests[0][0])
    listed = api.command("keys", "list").stdout
    assert key.split("_")[1] in listed
    assert key not in listed
    assert run_flask(api, "keys", "revoke", key.split("_")[1]).returncode == 0
    deadline = time.monotonic() + 5
    while api.ask("GET", JOBS, key).status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    again = api.command("keys", "revoke", key)
    assert (again.exit_code, again.stderr) == (1, UNKNOWN_KEY)


def test_revoking_during_rotation_creates_no_new_key(api: KeyedApi) -> None:
    old = api.key(Scope.JOBS_READ)
    number = api.rows("SELECT count(*) FROM api_keys")[0][0]
    with closing(psycopg2.connect(api.url)) as rival, rival.cursor() as cursor:
        cursor.execute("UPDATE api_keys SET revoked_at = now() WHERE id = %s", [old.split("_")[1]])
        with ThreadPoolExecutor(1) as pool:
            rotation = pool.submit(run_flask, api, "keys", "rotate", old)
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
            wait_until(lambda: api.rows(waiting), 30)
            rival.commit()
            assert rotation.result().stderr == UNKNOWN_KEY
    assert api.rows("SELECT count(*) FROM api_keys") == [(number,)]


def test_rotations_do_not_shorten_a_keys_lifetime(api: KeyedApi) -> None:
    first = api.key(Scope.JOBS_READ)
    for _ in range(2):  # the second rotation is within the grace of the first
        made = api.command("keys", "rotate", first, "--grace", "1h").stdout.strip()
        assert api.rows(
            "SELECT expires_at, revoked_at FROM api_keys WHERE id = %s", made.split("_")[1]
        ) == [(None, None)]
    assert "valid until" in api.command("keys", "list").stdout


@pytest.fixture(scope="module")
def three_processes(api: KeyedApi) -> Iterator[Service]:
    """The service in three processes, with authentication by keys."""
    settings = {"SCRAPE_JOBS_AUTH": "keys", "WEB_CONCURRENCY": "3", "THREADS": "2"}
    with Service(api.url, **settings) as service:
        yield service


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_every_process_soon_refuses_an_ended_key(
    api: KeyedApi, three_processes: Service, end: str
) -> None:
    key = api.key(Scope.JOBS_READ, seconds=3 if end == "expired" else None)
    ended = time.monotonic() + (3 if end == "expired" else 0)

    def statuses() -> set[int]:
        """Send requests over many connections at once, so that each process gets some."""
        header = {"Authorization": f"Bearer {key}"}
        with ThreadPoolExecutor(12) as pool:
            asked = [
                pool.submit(requests.get, three_processes.jobs, headers=header, timeout=30)
                for _ in range(36)
            ]
            return {one.result().status_code for one in asked}

    assert statuses() == {200}
    if end == "revoked":
        assert api.command("keys", "revoke", key).exit_code == 0
        ended = time.monotonic()
    wait_until(lambda: statuses() == {401}, ended + 5 - time.monotonic())


def test_a_waiting_claim_ends_with_its_revoked_key(
    api: KeyedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CACHE_SECONDS", 0.1)
    worker, domain = api.key(Scope.QUEUE_WORK), f"d{uuid.uuid4().hex}.example"
    body = {"worker_id": "w", "domains": [domain], "wait_seconds": 15}
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(api.ask, "POST", f"{JOBS}/next", worker, body)
        time.sleep(0.3)
        assert api.command("keys", "revoke", worker).exit_code == 0
        assert refusal(claim.result(timeout=30)) == not_authenticated("The key is not valid")
    job = api.make(api.admin, JOBS, {"domain": domain})
    assert (
        api.ask("GET", f"{JOBS}/{job['id']}", api.admin).get_json()["data"]["status"] == "pending"
    )


def test_the_old_key_stays_valid_for_the_grace(
    api: KeyedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CACHE_SECONDS", 0.3)
    old = api.key(Scope.JOBS_READ, customer=CUSTOMER)
    new = api.command("keys", "rotate", old, "--grace", "1h").stdout.strip()
    assert new != old
    assert [api.ask("GET", JOBS, key).status_code for key in (old, new)] == [200, 200]
    api.rows("UPDATE api_keys SET expires_at = now() WHERE id = %s RETURNING id", old.split("_")[1])
    time.sleep(service.CACHE_SECONDS + 0.2)
    assert [api.ask("GET", JOBS, key).status_code for key in (old, new)] == [401, 200]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nobody"], "Invalid scope: must be one or more of jobs:read"),
        (["\u200b", "--scope", "all"], "Invalid name: must be 1 to 100 visible characters"),
        (["x", "--scope", "everything"], "'everything' is not one of"),
        (
            ["x", "--scope", "all", "--customer", str(CUSTOMER)],
            "a key bound to a customer must have neither",
        ),
        (["x", "--scope", "all", "--customer", "7"], "'7' is not a valid UUID"),
        (["x", "--scope", "all", "--expires", "soon"], "'soon' is no length of time such as 90d"),
    ],
)
def test_an_invalid_key_is_not_created(api: KeyedApi, words: list[str], complaint: str) -> None:
    done = api.command("keys", "create", *words)
    assert done.exit_code != 0
    assert complaint in done.stderr
    assert done.stdout == ""


def test_a_keys_name_cannot_forge_a_line(api: KeyedApi) -> None:
    made = api.command(
        "keys", "create", "evil\nabcdefghijkl\t root\u00a0 all", "--scope", "jobs:read"
    ).stdout.strip()
    (line,) = [line for line in api.command("keys", "list").stdout.splitlines() if "evil" in line]
    assert line.startswith(f"{made.split('_')[1]}  evil abcdefghijkl root all  jobs:read")


@pytest.mark.parametrize("words", [["revoke"], ["rotate"]], ids=" ".join)
@pytest.mark.parametrize("id", ["abcdefghijkl", "nothing", "", "\udcff"], ids=ascii)
def test_commands_report_an_unknown_key(api: KeyedApi, words: list[str], id: str) -> None:
    if id.isascii():
        result = api.command("keys", *words, id)
        found = (result.exit_code, result.stdout, result.stderr)
    else:  # the operating system passes bytes, which Python decodes to a lone surrogate
        done = run_flask(api, "keys", *words, id)
        found = (done.returncode, done.stdout, done.stderr)
    assert found[:2] == (1, "")
    assert found[2] == UNKNOWN_KEY
