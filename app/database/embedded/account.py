"""The account that runs PostgreSQL, and what it must be able to reach."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from app.database.embedded.errors import CannotStart

ACCOUNT = "pgserver"
"""The system user that runs PostgreSQL where the service runs as root, which PostgreSQL refuses to
do."""


def account() -> dict[str, Any]:
    """Return the arguments that make subprocess run a program as the right user. Raises
    CannotStart."""
    if os.geteuid() != 0:
        return {}
    entry = _account_entry()
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def give_to_account(path: Path) -> None:
    """Make the account that runs PostgreSQL the owner of `path`, and able to reach it."""
    if os.geteuid() == 0:
        entry = _account_entry()
        os.chown(path, entry.pw_uid, entry.pw_gid)
        let_account_reach(path)


def let_account_reach(path: Path) -> None:
    """Let the account that runs PostgreSQL pass through the folders above `path`."""
    if os.geteuid() == 0:
        for folder in path.parents:
            _add_mode(folder, 0o001)


def let_account_read(folder: Path) -> None:
    """Let the account that runs PostgreSQL read what was installed under a strict umask."""
    let_account_reach(folder)
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
    useradd = (
        shutil.which("useradd") or "/usr/sbin/useradd"
    )  # `su` may leave an ordinary user's PATH
    words = [
        useradd,
        "--system",
        "--no-create-home",
        "--user-group",
        "--shell",
        "/usr/sbin/nologin",
        ACCOUNT,
    ]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        reason = done.stderr.strip() if done.returncode else None
    except OSError as error:
        reason = str(error)
    if reason is not None:
        raise CannotStart(
            f"PostgreSQL does not run as root, and its user {ACCOUNT} cannot be made: {reason}"
        )
