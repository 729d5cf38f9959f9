"""The system account that runs PostgreSQL, and its access to files."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from app.database.embedded.errors import CannotStart

ACCOUNT = "pgserver"
"""The system user that runs PostgreSQL if the service runs as root, which PostgreSQL refuses."""


def account() -> dict[str, Any]:
    """Return the arguments with which subprocess runs a program as the right user.

    Raises:
        CannotStart: if the user is missing and cannot be made.
    """
    if os.geteuid() != 0:
        return {}
    entry = _account_entry()
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def give_to_account(path: Path) -> None:
    """Make the account the owner of `path`, with access to the folders above it."""
    if os.geteuid() == 0:
        entry = _account_entry()
        os.chown(path, entry.pw_uid, entry.pw_gid)
        make_reachable(path)


def make_reachable(path: Path) -> None:
    """Give the account access to the folders above `path`."""
    if os.geteuid() == 0:
        for folder in path.parents:
            _add_mode(folder, 0o001)


def make_readable(folder: Path) -> None:
    """Give the account read access to a folder that was installed under a strict umask."""
    make_reachable(folder)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                _add_mode(path, 0o005 if path.stat().st_mode & 0o100 else 0o004)


def _add_mode(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(mode & 0o7777 | bits)


def _account_entry() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        _make_account()
        return pwd.getpwnam(ACCOUNT)


def _make_account() -> None:
    # `su` may keep the PATH of an ordinary user, which lacks /usr/sbin.
    useradd = shutil.which("useradd") or "/usr/sbin/useradd"
    options = ["--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin"]
    command = [useradd, *options, ACCOUNT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - constants
        reason = done.stderr.strip() if done.returncode else None
    except OSError as error:
        reason = str(error)
    if reason is not None:
        raise CannotStart(
            f"PostgreSQL does not run as root, and its user {ACCOUNT} cannot be made: {reason}"
        )
