"""The data folder: its creation, and its upgrade to a newer PostgreSQL.

Both happen in a folder of their own, which is renamed at the end. An interruption therefore loses
nothing.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from app.database.embedded.account import give_to_account, make_reachable
from app.database.embedded.errors import CannotStart
from app.database.embedded.postmaster import Postmaster
from app.database.embedded.processes import end_tools_in
from app.database.embedded.programs import SUPERUSER, Programs, programs_of

log = logging.getLogger(__name__)

UNFINISHED = "postgres-new"
UPGRADED = "postgres-upgraded"


def prepare(folder: Path, wanted: int) -> Programs:
    """Create or upgrade the data in `folder`, and return the programs for it.

    Args:
        folder: The data folder. Only its owner may call this; see EmbeddedPostgres.
        wanted: The major version of PostgreSQL that the data is for. This release must have it.

    Raises:
        CannotStart: if the data is newer than `wanted`, or cannot be created or upgraded.
    """
    _finish_interrupted_start(folder)
    programs = programs_of(wanted)
    assert programs is not None
    found = _version(folder)
    if found is None:
        _create(folder, programs)
    elif found > wanted:
        raise CannotStart(
            f"the data in {folder} is of PostgreSQL {found}, newer than {wanted}, which this"
            " release runs: use a newer release, or choose another folder"
        )
    elif found < wanted:
        _upgrade(folder, found, programs)
    else:
        make_reachable(folder)
    return programs


def _version(folder: Path) -> int | None:
    """Return the major version of the data in `folder`, or None if there is none yet."""
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


def _finish_interrupted_start(folder: Path) -> None:
    """Finish an upgrade that lacks only its last rename; discard other unfinished data."""
    upgraded = folder.with_name(UPGRADED)
    if upgraded.exists() and not folder.exists():
        upgraded.rename(folder)  # the interruption came between the last two renames
    for unfinished in (upgraded, *folder.parent.glob(f"{UNFINISHED}*")):
        if unfinished.exists():
            _discard(unfinished)


def _discard(unfinished: Path) -> None:
    """Remove an unfinished data folder, and end the processes that still use it."""
    end_tools_in(unfinished)
    Postmaster(unfinished).stop()
    shutil.rmtree(unfinished)


@contextmanager
def _new_data(folder: Path, programs: Programs, *options: str) -> Iterator[Path]:
    """Yield a temporary folder with new data. It is removed unless the block renames it."""
    aside = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}-", dir=folder.parent))
    try:
        give_to_account(aside)
        # The locale is fixed: the caller's may be missing here, or on a machine that uses the data
        # later.
        arguments = ["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C"]
        with programs.at_plain_path() as plain:
            plain.run("initdb", *arguments, *options, "--pgdata", str(aside), cwd=aside)
        yield aside
    finally:
        if aside.exists():
            _discard(aside)


def _create(folder: Path, programs: Programs) -> None:
    with _new_data(folder, programs) as aside:
        aside.rename(folder)


def _upgrade(folder: Path, found: int, programs: Programs) -> None:
    """Copy the data to the newer version with pg_upgrade, and keep the old data.

    Source: https://www.postgresql.org/docs/18/pgupgrade.html
    """
    old = programs_of(found)
    if old is None:
        raise CannotStart(
            f"the data in {folder} is of PostgreSQL {found}, which this release cannot upgrade:"
            " upgrade it with the release that created it, or choose another folder"
        )
    log.warning(
        "The data in %s is upgraded from PostgreSQL %d to %d", folder, found, programs.version
    )
    make_reachable(folder)
    try:
        _shut_down_cleanly(folder, old)
        with _new_data(folder, programs, *_checksum_option(folder, old, programs)) as aside:
            _run_pg_upgrade(folder, aside, old, programs)
            kept = _free_name(folder.with_name(f"{folder.name}-{found}"))
            upgraded = aside.rename(folder.with_name(UPGRADED))
            folder.rename(kept)
            upgraded.rename(folder)
    except CannotStart as error:
        raise CannotStart(
            f"the data in {folder} could not be upgraded ({error}); it is unchanged:"
            f" PGSERVER_POSTGRES_VERSION={found} uses it with PostgreSQL {found}"
        ) from error
    finally:
        if _version(folder) == found:
            Postmaster(folder).stop()  # pg_upgrade may leave its server running
    log.warning("The data is upgraded. The old data is kept in %s and can be deleted", kept)


def _shut_down_cleanly(folder: Path, old: Programs) -> None:
    """Stop the server on the old data. If it crashed, start it first, so that it recovers."""
    server = Postmaster(folder)
    server.stop()
    if _control(folder, old)["Database cluster state"] != "shut down":
        server.start(old)
        server.stop()


def _checksum_option(folder: Path, old: Programs, programs: Programs) -> list[str]:
    """Return the initdb option for data without checksums, if the old data has none.

    pg_upgrade requires that both have checksums, or neither.
    """
    lacks_checksums = _control(folder, old)["Data page checksum version"] == "0"
    return ["--no-data-checksums"] if lacks_checksums and programs.version >= 18 else []


def _control(folder: Path, programs: Programs) -> dict[str, str]:
    lines = programs.run("pg_controldata", str(folder), cwd=folder).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _run_pg_upgrade(folder: Path, aside: Path, old: Programs, programs: Programs) -> None:
    """Run pg_upgrade on links to both folders, because its socket and shell need plain paths."""
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="scrape-jobs-")
        links = Path(stack.enter_context(temporary)).resolve()
        give_to_account(links)
        (links / "old").symlink_to(folder)
        (links / "new").symlink_to(aside)
        old, new = [stack.enter_context(each.at_plain_path()) for each in (old, programs)]
        arguments = ["--old-datadir", f"{links}/old", "--new-datadir", f"{links}/new"]
        arguments += ["--old-bindir", str(old.folder), "--new-bindir", str(new.folder)]
        arguments += ["--socketdir", str(links), "--username", SUPERUSER]
        new.run("pg_upgrade", *arguments, cwd=aside)
        # The script deletes the old data by a path that is no longer valid.
        (aside / "delete_old_cluster.sh").unlink(missing_ok=True)


def _free_name(path: Path) -> Path:
    names = (
        path if number == 1 else path.with_name(f"{path.name}-{number}") for number in count(1)
    )
    return next(name for name in names if not name.exists())
