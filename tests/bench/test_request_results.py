"""The figures of the benchmark of requests, its table, and its plot."""

import math
import xml.etree.ElementTree as ElementTree

import pytest

from bench.load import LoadResult
from bench.request_chart import draw
from bench.request_results import Case, Measurement, Results

MACHINE = {
    "processor": "a <fast> one", "cores": "2", "memory": "8 GiB", "PostgreSQL": "18.0",
    "Python": "3.11.1", "date": "2024-01-01",
}  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


def measured(jobs: int, rate: float, cost: float, server: str = "gunicorn") -> Measurement:
    return Measurement(Case(server, jobs, "GET"), 100, rate, 1.0, 2.0, cost / 2, cost / 2, 0.05)


@pytest.fixture
def results() -> Results:
    """Two sizes in three rounds; at the larger one requests cost 1, 2 and 3 times as much."""
    measurements = [
        measured(jobs, rate, cost)
        for round_number in (1, 2, 3)
        for jobs, rate, cost in (
            (1000, 400.0 + round_number, 1.0),
            (2000, 200.0, float(round_number)),
        )
    ]
    return Results(MACHINE, measurements, {"gunicorn": {"GET": 1}})


def test_measurement_has_rate_percentiles_and_cpu() -> None:
    latencies = [number / 1000 for number in range(1, 102)]
    result = LoadResult(seconds=2.0, latencies=latencies, generator_cpu=0.0101)
    figures = Measurement.of(Case("gunicorn", 1000, "GET"), result, 0.202, 0.0505)
    assert figures.rate == 50.5
    assert math.isclose(figures.p50, 51)
    assert math.isclose(figures.p99, 100)
    assert math.isclose(figures.server_cpu, 2)
    assert math.isclose(figures.postgres_cpu, 0.5)
    assert math.isclose(figures.cost, 2.5)
    assert math.isclose(figures.generator_cpu, 0.1)


def test_cost_ratios_compare_the_same_rounds(results: Results) -> None:
    assert results.cost_ratios("gunicorn", "GET", 1000, 2000) == [1, 2, 3]


def test_table_has_medians_of_each_case(results: Results) -> None:
    heading, _, small, large = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in results.table()
    )
    assert heading[:4] == ["server", "request", "jobs", "requests/s"]
    assert small == ["gunicorn", "GET", "1,000", "402", "1.00", "2.00", "0.500", "0.500", "1"]
    assert large == ["gunicorn", "GET", "2,000", "200", "1.00", "2.00", "1.000", "1.000", "1"]


def test_plot_has_one_bar_for_each_case(results: Results) -> None:
    plot = ElementTree.fromstring(draw(results, "2 connections & more"))
    texts = [text.text or "" for text in plot.iter(f"{SVG}text")]
    assert {"gunicorn", "GET", "402", "200", "1,000 jobs", "2,000 jobs"} < set(texts)
    assert texts[0] == "Requests per second by the number of jobs, 2 connections & more"
    assert texts[-1].startswith("a <fast> one, 2 cores, 8 GiB; PostgreSQL 18.0")
    bars = [float(bar.get("height", "0")) for bar in plot.iter(f"{SVG}rect") if bar.get("x")]
    low, high = sorted(bars)[-2:]
    assert math.isclose(high / low, 402 / 200, rel_tol=0.01)


def test_plot_has_a_panel_for_each_server(results: Results) -> None:
    both = Results(
        MACHINE,
        [*results.measurements, measured(1000, 900, 1, "granian"), measured(2000, 9, 1, "granian")],
        {"gunicorn": {"GET": 1}, "granian": {"GET": 1}},
    )
    plot = ElementTree.fromstring(draw(both, "2 connections"))
    panels = [text.text for text in plot.iter(f"{SVG}text") if text.get("class") == "panel"]
    assert panels == ["gunicorn", "granian"]
