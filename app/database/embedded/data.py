"""The data folder: made, and upgraded to a newer PostgreSQL, in such a way that an interruption
loses nothing."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from app.database.embedded.account import give_to_account, let_account_reach
from app.database.embedded.errors import CannotStart
from app.database.embedded.postmaster import Postmaster
from app.database.embedded.processes import end_tools_in
from app.database.embedded.programs import SUPERUSER, Programs, programs_of

log = logging.getLogger(__name__)

UNFINISHED = "postgres-new"
UPGRADED = "postgres-upgraded"


def prepare(folder: Path, wanted: int) -> Programs:
    """Make sure that `folder` holds data for the version `wanted`, and return that version's
    programs.

    Args:
        folder: the data folder. Its owner alone may call this: see EmbeddedPostgres.
        wanted: a version that this release has.

    Raises:
        CannotStart: where the data is newer than this release, or cannot be made or upgraded.
    """
    _tidy_up(folder)
    programs = programs_of(wanted)
    assert programs is not None
    found = _version(folder)
    if found is None:
        _create(folder, programs)
    elif found > wanted:
        raise CannotStart(
            f"the data in {folder} is of PostgreSQL {found}, newer than {wanted}, which this release runs:"
            " use a newer release, or choose another folder"
        )
    elif found < wanted:
        _upgrade(folder, found, programs)
    else:
        let_account_reach(folder)
    return programs


def _version(folder: Path) -> int | None:
    """Return the major version of the data in `folder`; None where there is none yet."""
    try:
        return int((folder / "PG_VERSION").read_text())
    except FileNotFoundError:
        if folder.exists() and any(folder.iterdir()):
            raise CannotStart(
                f"{folder} holds other files than PostgreSQL's data: choose another folder"
            ) from None
        return None
    except ValueError:
        raise CannotStart(f"{folder / 'PG_VERSION'} names no version of PostgreSQL") from None


def _tidy_up(folder: Path) -> None:
    """Finish or forget what an interrupted start was at."""
    upgraded = folder.with_name(UPGRADED)
    if upgraded.exists() and not folder.exists():
        upgraded.rename(folder)  # interrupted between the two renames that end an upgrade
    for unfinished in (upgraded, *folder.parent.glob(f"{UNFINISHED}*")):
        if unfinished.exists():
            _discard(unfinished)


def _discard(unfinished: Path) -> None:
    """Remove an unfinished data folder, and end what still works on it."""
    end_tools_in(unfinished)
    Postmaster(unfinished).stop()
    shutil.rmtree(unfinished)


@contextmanager
def _new_data(folder: Path, programs: Programs, *options: str) -> Iterator[Path]:
    """Yield a folder with new data, aside: what is not renamed inside the block is removed."""
    aside = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}-", dir=folder.parent))
    try:
        give_to_account(aside)
        # A fixed locale: the caller's may not be installed here, or not where the data is used
        # later.
        words = ["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", *options]
        with programs.for_a_shell() as safe:
            safe.run("initdb", *words, "--pgdata", str(aside), cwd=aside)
        yield aside
    finally:
        if aside.exists():
            _discard(aside)


def _create(folder: Path, programs: Programs) -> None:
    with _new_data(folder, programs) as aside:
        aside.rename(folder)


def _upgrade(folder: Path, found: int, programs: Programs) -> None:
    """Copy the data to the newer version with pg_upgrade, and keep the old.

    Source: https://www.postgresql.org/docs/18/pgupgrade.html
    """
    old = programs_of(found)
    if old is None:
        raise CannotStart(
            f"the data in {folder} is of PostgreSQL {found}, which this release cannot upgrade:"
            " upgrade it with the release that made it, or choose another folder"
        )
    log.warning(
        "The data in %s is upgraded from PostgreSQL %d to %d", folder, found, programs.version
    )
    let_account_reach(folder)
    try:
        _shut_down_cleanly(folder, old)
        with _new_data(folder, programs, *_checksum_option(folder, old, programs)) as aside:
            _run_pg_upgrade(folder, aside, old, programs)
            kept = _free_name(folder.with_name(f"{folder.name}-{found}"))
            upgraded = aside.rename(folder.with_name(UPGRADED))
            folder.rename(kept)
            upgraded.rename(folder)
    except CannotStart as error:
        hint = f"the data is as it was; PGSERVER_POSTGRES_VERSION={found} uses it with PostgreSQL {found}"
        raise CannotStart(
            f"the data in {folder} could not be upgraded ({error}); {hint}"
        ) from error
    finally:
        if _version(folder) == found:
            Postmaster(folder).stop()  # pg_upgrade starts one, which would outlive it
    log.warning("The data is upgraded. The old data is kept in %s and can be deleted", kept)


def _shut_down_cleanly(folder: Path, old: Programs) -> None:
    """Stop a server that runs on the old data; where it crashed, let it recover first."""
    server = Postmaster(folder)
    server.stop()
    if _control(folder, old)["Database cluster state"] != "shut down":
        server.start(old)
        server.stop()


def _checksum_option(folder: Path, old: Programs, programs: Programs) -> list[str]:
    """Return the option that gives new data as few checksums as the old, as pg_upgrade
    preconditions."""
    has_none = _control(folder, old)["Data page checksum version"] == "0"
    return ["--no-data-checksums"] if has_none and programs.version >= 18 else []


def _control(folder: Path, programs: Programs) -> dict[str, str]:
    lines = programs.run("pg_controldata", str(folder), cwd=folder).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _run_pg_upgrade(folder: Path, aside: Path, old: Programs, programs: Programs) -> None:
    """Run pg_upgrade by way of a folder of its own: its socket and shell commands need short, plain
    paths."""
    with ExitStack() as stack:
        work = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="scrape-jobs-"))
        ).resolve()
        give_to_account(work)
        (work / "old").symlink_to(folder)
        (work / "new").symlink_to(aside)
        bins = [stack.enter_context(either.for_a_shell()) for either in (old, programs)]
        words = [
            "--old-datadir",
            f"{work}/old",
            "--new-datadir",
            f"{work}/new",
            "--socketdir",
            str(work),
        ]
        words += ["--old-bindir", str(bins[0].folder), "--new-bindir", str(bins[1].folder)]
        bins[1].run("pg_upgrade", *words, "--username", SUPERUSER, cwd=aside)
        (aside / "delete_old_cluster.sh").unlink(
            missing_ok=True
        )  # it would delete by a path that is gone by then


def _free_name(path: Path) -> Path:
    names = (
        path if number == 1 else path.with_name(f"{path.name}-{number}") for number in count(1)
    )
    return next(name for name in names if not name.exists())
