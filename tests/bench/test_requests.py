"""The benchmark of requests as its users run it, on a small database."""

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import psutil

from bench.request_loads import LOADS
from support.service import ROOT, wait_until

COMMAND = [sys.executable, "-m", "bench.requests", "--servers", "gunicorn", "--rounds", "1"]
SIZES = [200, 300]


def test_benchmark_measures_every_load_and_size(folder: Path) -> None:
    figures, plot = folder / "figures.json", folder / "plot.svg"
    done = subprocess.run(
        [
            *COMMAND,
            "--sizes",
            *map(str, SIZES),
            "--seconds",
            "0.3",
            "--json",
            figures,
            "--svg",
            plot,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # Such short rounds are too inexact for the bound itself.
    assert done.returncode == (1 if "ABOVE" in done.stdout else 0), done.stderr
    found = json.loads(figures.read_text())
    assert sorted(
        (each["case"]["load"], each["case"]["jobs"]) for each in found["measurements"]
    ) == (sorted((load, jobs) for load in LOADS for jobs in SIZES))
    for each in found["measurements"]:
        assert each["rate"] > 0
        assert 0 < each["p50"] <= each["p99"]
        assert each["server_cpu"] > 0
    assert set(found["round_trips"]["gunicorn"].values()) == {1}
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert "| gunicorn | claim" in done.stdout
    assert "round 1 of 1" in done.stderr


def test_terminated_benchmark_leaves_nothing_behind(folder: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--sizes", "200", "300", "--seconds", "20"],
        cwd=ROOT,
        env={"TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: any(folder.glob("sj-bench-*/data/postmaster.pid")), 60)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert list(folder.glob("sj-bench-*")) == []
    _, alive = psutil.wait_procs(children, 10)
    assert alive == []
