"""The distribution of the Python client: built, installed and used in a clean environment."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from uuid import uuid4

import pytest
from scrape_jobs import ScrapeJobs

import app
from support.documents import ADDRESS, Page, blocks
from support.service import ROOT, Service

CLIENT = ROOT / "clients" / "python"
README = Page(CLIENT / "README.md")
MADE = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", ".*")

CONSUMER = """
from scrape_jobs import Job, LeasedJob, ScrapeJobs
from scrape_jobs.testing import run_handler

api = ScrapeJobs("http://localhost:3000")
worker = api.worker(job_types=["page"], isolate="process")


@worker.handler
def scrape(job: LeasedJob) -> dict[str, int]:
    job.progress(pagesProcessed=job.attempt)
    return {}


found: Job | None = api.get("1")
job: Job = api.get("1", required=True)
reveal_type(api.wait("1").status)
reveal_type(run_handler(scrape).outcome)
api.update("1", status="done")
"""


def run(*words: str | Path, folder: Path, **variables: str) -> str:
    """Run a program in `folder` and return its output."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the built sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("client")
    shutil.copytree(CLIENT, folder / "source", ignore=MADE)
    words = ("-m", "build", "--no-isolation", "--outdir", "dist", "source")
    run(sys.executable, *words, folder=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def programs(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a new environment with the installed wheel.

    Its requirements come from the environment of the tests. pip checks that they are complete.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index")
    run(*pip, f"{wheel}[cli,scrapy]", folder=folder)
    assert (packages / "scrape_jobs" / "py.typed").exists()
    return folder / "bin"


def test_the_version_is_that_of_the_service(built: Path, programs: Path, tmp_path: Path) -> None:
    output = run(programs / "scrape-jobs", "--version", folder=tmp_path)
    assert output == f"scrape-jobs, version {app.__version__}\n"
    script = "import scrape_jobs; print(scrape_jobs.__version__, scrape_jobs.__file__)"
    version, file = run(programs / "python", "-c", script, folder=tmp_path).split()
    assert version == app.__version__
    assert file.startswith(str(programs.parent))
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "src/scrape_jobs/py.typed"} <= names


def test_the_installed_types_are_strict(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "consumer.py").write_text(CONSUMER)
    (tmp_path / "mypy.ini").write_text("[mypy]\n")
    words = ("mypy", "--strict", "--config-file", "mypy.ini", "--python-executable")
    done = subprocess.run(
        [sys.executable, "-m", *words, programs / "python", "consumer.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    status, outcome, wrong, summary = done.stdout.splitlines()
    assert "Literal['pending'" in status
    assert '"str"' in outcome
    assert 'error: Argument "status" to "update"' in wrong
    assert summary == "Found 1 error in 1 file (checked 1 source file)"


def test_the_worker_of_the_readme_works(service: Service, programs: Path, tmp_path: Path) -> None:
    (script,) = blocks(README.section("Worker"), "python")
    assert len([line for line in script.splitlines() if line]) <= 10
    job_type = f"type-{uuid4().hex[:12]}"
    script = script.replace(ADDRESS, f"127.0.0.1:{service.port}")
    (tmp_path / "worker.py").write_text(script.replace("domain_scrape", job_type))
    api = ScrapeJobs(service.url)
    jobs = api.create_many([{"domain": "example.com", "job_type": job_type}] * 5)
    process = subprocess.Popen(
        [programs / "python", "worker.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        ended = [api.wait(job.id, deadline=60) for job in jobs]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    assert [job.status for job in ended] == ["completed"] * 5
    stats = {"pagesProcessed": 3, "totalPages": 3, "dataExtracted": {"products": 156}}
    assert all(job.stats == stats for job in ended)


def test_the_code_of_the_readme_runs(service: Service, programs: Path, tmp_path: Path) -> None:
    at_first, *_ = blocks(README.text, "bash")
    commands = [line for line in at_first.splitlines() if not line.startswith("pip install")]
    commands += blocks(README.section("Command line"), "bash")
    for title in ("Client", "Testing a handler", "Webhooks", "Options"):
        (script,) = blocks(README.section(title), "python")
        name = f"{title.split()[0].lower()}.py"
        (tmp_path / name).write_text(script.replace(ADDRESS, f"127.0.0.1:{service.port}"))
        commands.append(f"python {name}")
    script = "\n".join(commands).replace(ADDRESS, f"127.0.0.1:{service.port}")
    path = f"{programs}:{os.environ['PATH']}"
    output = run("bash", "-euc", script, folder=tmp_path, PATH=path)
    assert "exit code 3" in output
    assert output.count("cancelled") >= 3
    assert "cancelled ['created', 'updated', 'cancelled']" in output


def test_the_readme_names_each_scrapy_setting() -> None:
    source = (CLIENT / "src/scrape_jobs/scrapy/settings.py").read_text()
    read = set(re.findall(r'"(SCRAPE_JOBS_\w+)"', source))
    documented = re.findall(r"^\| `(SCRAPE_JOBS_\w+)` \|", README.section("Scrapy"), re.MULTILINE)
    assert set(documented) == read


def test_the_readme_names_each_exception() -> None:
    source = (CLIENT / "src/scrape_jobs/errors.py").read_text()
    names = set(re.findall(r"^class (\w+)\(", source, re.MULTILINE)) - {"ScrapeJobsError"}
    assert not {
        name for name in names if f"`{name}`" not in README.section("Errors") and name != "APIError"
    }


def test_the_client_imports_no_service() -> None:
    importing = re.compile(r"^\s*(?:from|import) (?:app|support|bench|tests)\b", re.MULTILINE)
    modules = list((CLIENT / "src").rglob("*.py"))
    assert len(modules) > 20
    assert [path for path in modules if importing.search(path.read_text())] == []
