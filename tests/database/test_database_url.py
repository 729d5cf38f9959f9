"""DATABASE_URL: all forms of libpq work, and a wrong URL ends the start with one line."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.engine import make_url

from app import database
from app.config import Settings
from app.database import Statement
from app.database.database_url import EXPECTED, Host, fault_of, read
from app.database.tenant_scope import all_customers
from app.factory import create_app
from support.service import ROOT, environment, free_port


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u:p@h1:5432,h2:5433/db", (Host("h1", port="5432"), Host("h2", port="5433"))),
        ("postgres://u@h1,h2:5433/db", (Host("h1"), Host("h2", port="5433"))),
        ("postgresql://u@/db?host=h1,h2&port=1,2", (Host("h1", port="1"), Host("h2", port="2"))),
        ("postgresql://u@/db?host=h1,h2&port=1", (Host("h1", port="1"), Host("h2", port="1"))),
        ("postgresql:///db?host=/run/postgresql", (Host("/run/postgresql"),)),
        ("postgresql://%2Frun%2Fpostgresql/db", (Host("/run/postgresql"),)),
        ("postgresql:///db?host=@abstract", (Host("@abstract"),)),
        ("postgresql://u@[::1]:5433,[fe80::2]/db", (Host("::1", port="5433"), Host("fe80::2"))),
        ("postgresql://h/db?hostaddr=192.0.2.1", (Host("h", "192.0.2.1"),)),
        ("postgresql+psycopg2://h/db", (Host("h"),)),
        ("postgresql://", (Host(),)),
        ("postgresql:///db?service=x&target_session_attrs=any", (Host(),)),
    ],
)
def test_hosts_are_read_as_libpq_reads_them(url: str, hosts: tuple[Host, ...]) -> None:
    assert read(url).hosts == hosts
    if "service" not in url:
        assert fault_of(url) is None


def test_password_is_percent_decoded() -> None:
    password = "p@ss/w?rd#%:,"
    url = f"postgresql://us%40er:{quote(password, safe='')}@h/db"
    assert read(url).parameters == {"user": "us@er", "password": password, "dbname": "db"}
    assert fault_of(url) is None
    assert password not in repr(read(url))


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (
            "postgresql://h1:1,h2:2/db?port=1,2,3",
            "must give one port for all hosts, or one for each",
        ),
        (
            "postgresql:///db?host=h1,h2,h3&port=1,2",
            "must give one port for all hosts, or one for each",
        ),
        (
            "postgresql:///db?host=h1,h2&hostaddr=192.0.2.1",
            "must give one port for all hosts, or one for each",
        ),
        ("postgresql://h/db?sslmode=sometimes", 'invalid sslmode value: "sometimes"'),
        ("postgresql://h/db?target_session_attrs=x", 'invalid target_session_attrs value: "x"'),
        ("postgresql://h/db?service=nowhere", 'definition of service "nowhere" not found'),
        ("postgresql://h/db?connect_timeout=soon", "connect_timeout must be a whole number"),
        ("postgresql://h/db?keepalives_idle=1s", "keepalives_idle must be a whole number"),
        ("postgresql://h:0/db", EXPECTED),
        ("postgresql://h:65536/db", EXPECTED),
        ("postgresql://h:port/db", EXPECTED),
        ("postgresql:///db?host=h1:1&host=h2:2", EXPECTED),
        ("postgresql://h/db?sslmod=require", EXPECTED),
        ("postgresql://h/%zz", EXPECTED),
        ("mysql://h/db", EXPECTED),
        *(
            (f"postgresql://user:{password}@h/db", EXPECTED)
            for password in ("sec/ret", "1/secret", "sec@ret", "secret%zz", "%")
        ),
    ],
)
def test_fault_is_described_without_the_password(url: str, fault: str) -> None:
    found = fault_of(url)
    assert found == fault
    assert "ret" not in found.replace(EXPECTED, "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@h:70000/db",
        "postgresql://u:secret@h1,h2/db?port=1,2,3",
        "postgresql://u:sec/ret@h/db",
    ],
)
def test_wrong_url_ends_the_start_with_one_line(url: str) -> None:
    done = start(DATABASE_URL=url)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("DATABASE_URL: must ")


def test_settings_wrong_only_in_workers_end_the_start() -> None:
    done = start(
        "--env",
        "THREADS=many",
        DATABASE_URL="postgresql://user@127.0.0.1:1/nothing",
        WEB_CONCURRENCY="1",
    )
    assert done.returncode != 0
    assert "\nTHREADS: must be a whole number from 1 to 256\n" in done.stderr
    assert done.stderr.count("Booting worker") == 1


def start(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Start the service and wait until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", *arguments, "wsgi:app"],
        cwd=ROOT, env=environment(PORT=str(free_port()), **settings),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


SESSION = Statement(
    "session",
    promise="A statement of a test.",
    sql="""SELECT current_setting('application_name'), current_setting('statement_timeout'),
    current_setting('work_mem'), current_setting('timezone'), current_setting('client_encoding')""",
)


@contextmanager
def service_on(url: str) -> Iterator[Flask]:
    app = create_app(Settings(database_url=url, auth="off", rate_limit=False))
    with app.app_context(), all_customers():
        yield app
        database.db.engine.dispose()


def with_query(url: str, **query: str) -> str:
    """Return `url` with more parameters, in libpq's format, which has no + for a space."""
    parts = make_url(url)
    written = "&".join(
        f"{name}={quote(str(value), safe='')}" for name, value in {**parts.query, **query}.items()
    )
    return f"{parts.set(query={}).render_as_string(hide_password=False)}?{written}"


def test_parameters_of_the_url_reach_the_server(database_url: str) -> None:
    own = "-c statement_timeout=4s -c work_mem=5MB -c timezone=Asia/Tokyo"
    url = with_query(
        database_url,
        options=own,
        application_name="mine",
        client_encoding="LATIN1",
        sslmode="prefer",
    )
    with service_on(url):
        assert database.run(SESSION, {}) == [("mine", "4s", "5MB", "UTC", "UTF8")]
    with service_on(database_url):
        assert database.run(SESSION, {})[0][:2] == ("scrape-jobs", "5s")


def test_hosts_are_tried_until_one_answers(database_url: str, client: FlaskClient) -> None:
    host = str(make_url(database_url).query["host"])
    url = with_query(
        database_url,
        host=f"/nonexistent,127.0.0.1,nonsense.invalid,{host}",
        port="5432,1,5432,5432",
    )
    with service_on(url) as app:
        assert app.test_client().get("/readyz").status_code == 200
    with service_on(with_query(database_url, host="/nonexistent,127.0.0.1", port="5432,1")) as app:
        assert app.test_client().get("/readyz").get_json()["details"] == "Database unavailable"
