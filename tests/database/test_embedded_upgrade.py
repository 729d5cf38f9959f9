"""Data of another PostgreSQL version: older data is upgraded without loss, newer is refused."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
import requests

from app.database.embedded.address import url_of
from app.database.embedded.data import prepare
from app.database.embedded.errors import CannotStart
from app.database.embedded.postmaster import Postmaster
from app.database.embedded.programs import programs_of
from support.service import free_port
from support.tree import SECONDS, Run, Tree, end_processes_in, processes_in, wait_for

OLD, NEW = 16, 18


@pytest.fixture
def data(folder: Path) -> Iterator[Path]:
    """A data folder of the older version after a crash, with a table of three rows."""
    data = folder / "var" / "postgres"
    data.parent.mkdir()
    server = Postmaster(data)
    server.start(prepare(data, OLD))
    with (
        closing(psycopg2.connect(url_of(data))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE ROLE reader; CREATE TABLE kept (n) AS VALUES (1), (2), (3)")
    os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    assert wait_for(lambda: not server.is_alive() and server.end_leftovers(), 30)
    yield data
    end_processes_in(folder)


def version_of(data: Path) -> int:
    return int((data / "PG_VERSION").read_text())


def rows(data: Path, version: int) -> int:
    """Start the server of `version` on `data` and count the rows."""
    server = Postmaster(data)
    programs = programs_of(version)
    assert programs is not None
    server.start(programs)
    with closing(psycopg2.connect(url_of(data))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kept, pg_roles WHERE rolname = 'reader'")
        ((count,),) = cursor.fetchall()
    server.stop()
    return int(count)


def test_make_run_upgrades_older_data_and_keeps_it(tree: Tree) -> None:
    with Run(tree, PGSERVER_POSTGRES_VERSION=str(OLD), WEB_CONCURRENCY="1") as run:
        job = run.create()
        assert version_of(tree.folder / "var" / "postgres") == OLD
    with Run(tree, WEB_CONCURRENCY="1") as run:
        assert requests.get(f"{run.url}{job}", timeout=30).status_code == 200
        kept = tree.folder / "var" / f"postgres-{OLD}"
        assert f"The old data is kept in {kept} and can be deleted" in run.output()
        assert version_of(tree.folder / "var" / "postgres") == NEW
        assert version_of(kept) == OLD
    with Run(tree, WEB_CONCURRENCY="1") as run:
        assert requests.get(f"{run.url}{job}", timeout=30).status_code == 200
        assert "upgraded" not in run.output()
    assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)
    code, lines = tree.finished(
        "make", "run", PORT=str(free_port()), PGSERVER_POSTGRES_VERSION=str(OLD)
    )
    assert code != 0
    (reason,) = (line for line in lines if not line.startswith("{"))
    assert f"of PostgreSQL {NEW}, newer than {OLD}" in reason


def test_data_of_a_crashed_server_is_upgraded(data: Path) -> None:
    prepare(data, NEW)
    data.rename(
        data.with_name("postgres-upgraded")
    )  # as after an interruption between the last two renames
    prepare(data, NEW)
    assert rows(data, NEW) == 3
    assert rows(data.with_name(f"postgres-{OLD}"), OLD) == 3
    assert sorted(path.name for path in data.parent.iterdir()) == ["postgres", f"postgres-{OLD}"]


@pytest.mark.parametrize("moment", ["initdb", "pg_restore", "postgres-upgraded"])
def test_interrupted_upgrade_is_repeated(data: Path, moment: str) -> None:
    child = os.fork()
    if child == 0:
        prepare(data, NEW)
        os._exit(0)
    deadline = time.monotonic() + SECONDS
    while not is_at(moment, child, data):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    prepare(data, NEW)
    assert rows(data, NEW) == 3


def is_at(moment: str, child: int, data: Path) -> bool:
    """Return whether the upgrade in process `child` runs the program, or has made the folder."""
    if moment == "postgres-upgraded":
        return (data.parent / moment).exists() or data.with_name(f"postgres-{OLD}").exists()
    try:
        return any(
            process.name() == moment for process in psutil.Process(child).children(recursive=True)
        )
    except psutil.Error:
        return False


def test_failed_upgrade_keeps_the_data(data: Path) -> None:
    server = Postmaster(data)
    programs = programs_of(OLD)
    assert programs is not None
    server.start(programs)
    with (
        closing(psycopg2.connect(url_of(data))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        # pg_upgrade refuses columns of this type.
        cursor.execute("CREATE TABLE has_oid_alias (alias regproc)")
    server.stop()
    with pytest.raises(CannotStart, match=f"PGSERVER_POSTGRES_VERSION={OLD}"):
        prepare(data, NEW)
    assert version_of(data) == OLD
    assert rows(data, OLD) == 3
    assert [path.name for path in data.parent.iterdir()] == ["postgres"]


@pytest.mark.parametrize(
    ("version", "reason"), [("19", "newer than 18"), ("9.6", "names no version"), ("15", "cannot")]
)
def test_data_of_unknown_versions_is_refused(folder: Path, version: str, reason: str) -> None:
    data = folder / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text(f"{version}\n")
    with pytest.raises(CannotStart, match=reason):
        prepare(data, NEW)
    assert (data / "PG_VERSION").read_text() == f"{version}\n"
