"""The package of the TypeScript client: its installed tools, and programs that Node runs."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.service import ROOT, environment

PACKAGE = ROOT / "clients" / "typescript"

MODULES = PACKAGE / "node_modules"

OLDEST_NODE = (20, 19)
"""The oldest version of Node.js on which the tools run."""

SECONDS = 240
"""How long one program may take."""


def install_tools() -> None:
    """Install the tools that the package's lock file names, unless they are there."""
    npm()
    lock, installed = PACKAGE / "package-lock.json", MODULES / ".package-lock.json"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # tests of other processes wait for the installation
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            run(npm(), "ci", "--no-audit", "--no-fund")


def npm() -> str:
    """Return the path of npm. Without it skip the test, or fail where all programs must be there."""
    found, version = shutil.which("npm"), _node_version()
    if found is None or version < OLDEST_NODE:
        missing = "Node.js 20.19 with npm is not installed: tests of the TypeScript client need it"
        if "CI" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def _node_version() -> tuple[int, ...]:
    """Return the first two numbers of the version of Node.js; (0,) without it."""
    if shutil.which("node") is None:
        return (0,)
    return tuple(int(number) for number in run("node", "--version").strip("v\n").split(".")[:2])


def tool(name: str) -> str:
    """Return the path of an installed tool, such as `tsc`."""
    return str(MODULES / ".bin" / name)


def run(*command: str, folder: Path = PACKAGE, variables: Mapping[str, str] | None = None) -> str:
    """Run a program in `folder` and return its output; fail with the output if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment(), "NO_COLOR": "1", **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
