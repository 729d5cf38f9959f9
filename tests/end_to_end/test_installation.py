"""The installation into .venv: either complete, or repeated the next time."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.service import ROOT
from support.tree import end_processes_in, wait_for, without_make

SCRIPT = Path("requirements") / "install.py"


def make_wheel(folder: Path, name: str) -> str:
    """Make an empty package; return its line for a requirements file."""
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"./{wheel.relative_to(folder.parent)} --hash=sha256:{digest}\n"


class Project:
    """A project with the real Makefile and installer; its requirements need no network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "requirements").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", folder)
        shutil.copy(ROOT / SCRIPT, folder / SCRIPT)
        for kind in ("run", "dev"):
            self.require(kind, make_wheel(folder / "requirements", f"needed_to_{kind}"))

    def require(self, kind: str, line: str) -> None:
        (self.folder / "requirements" / f"{kind}.txt").write_text(line)

    def start(self, kind: str = "run") -> subprocess.Popen[str]:
        words = ["make", f"{kind}-environment", f"PYTHON={sys.executable}"]
        return subprocess.Popen(
            words, cwd=self.folder, env=without_make(os.environ), start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def install(self, kind: str = "run") -> str:
        """Install successfully and return the output."""
        process = self.start(kind)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert self.has(f"needed_to_{kind}")
        return output

    def has(self, package: str) -> bool:
        python = self.folder / ".venv" / "bin" / "python"
        return (
            subprocess.run(
                [python, "-c", f"import {package}"], capture_output=True, check=False
            ).returncode
            == 0
        )


@pytest.fixture
def project(folder: Path) -> Iterator[Project]:
    yield Project(folder / "My Project")
    end_processes_in(folder)


def test_install_runs_once_and_after_changes(project: Project) -> None:
    assert "Installing what the service needs" in project.install()
    assert project.install() == ""
    assert "Installing what the tests need" in project.install("dev")
    project.require("run", make_wheel(project.folder / "requirements", "newer"))
    assert "Installing what the service needs" in project.install()
    assert project.has("newer")


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "venv": lambda venv: (venv / "bin" / "python").exists(),
    "ensurepip": lambda venv: any(venv.glob("lib/*/site-packages/pip")),
    "pip": lambda venv: (venv / "bin" / "pip").exists() and (venv / "unfinished").exists(),
}


@pytest.mark.parametrize(
    ("moment", "number"),
    [("venv", signal.SIGKILL), ("ensurepip", signal.SIGINT), ("pip", signal.SIGKILL)],
)
def test_interrupted_installation_is_repeated(
    project: Project, moment: str, number: signal.Signals
) -> None:
    process = project.start()
    assert wait_for(lambda: MOMENTS[moment](project.folder / ".venv"))
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    project.install()
    assert project.install() == ""


def test_second_installation_waits_for_first(project: Project) -> None:
    first, second = project.start(), project.start()
    outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert sorted("Installing" in output for output in outputs) == [False, True]


def test_missing_or_replaced_python_is_noticed(project: Project) -> None:
    project.install()
    python = project.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.10")
    assert "Making .venv anew" in project.install()
    (library,) = (project.folder / ".venv" / "lib").iterdir()
    library.rename(library.with_name("python3.0"))
    assert "Making .venv anew" in project.install()


def test_moved_or_copied_project_keeps_environment(project: Project) -> None:
    project.install()
    copied = project.folder.with_name("copied")
    shutil.copytree(project.folder, copied, symlinks=True)
    moved = project.folder.rename(project.folder.with_name("moved"))
    for folder in (copied, moved):
        project.folder = folder
        assert project.install() == ""
        assert "Installing what the tests need" in project.install("dev")


def test_failed_installation_is_reported_and_repeated(project: Project) -> None:
    good = (project.folder / "requirements" / "run.txt").read_text()
    project.require("run", good.replace("sha256:", "sha256:0")[: len(good)])
    process = project.start()
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "The installation failed: see above" in output
    assert "Traceback" not in output
    project.require("run", good)
    project.install()


def test_python_without_ensurepip_names_the_package(project: Project) -> None:
    hidden = (
        "import sys; sys.modules['ensurepip'] = None; sys.argv = [{0!r}, 'run']; import runpy; "
    )
    code = hidden.format(str(SCRIPT)) + f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.folder / ".venv").exists()


def test_linked_environment_is_never_removed(project: Project) -> None:
    elsewhere = project.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (project.folder / ".venv").symlink_to(elsewhere)
    process = project.start()
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "is a link" in output
    assert (elsewhere / "file").exists()
