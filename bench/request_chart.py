"""The plot of the benchmark of requests, as SVG.

Each server has a panel with a group of bars for each load: one bar for each size of the database.
"""

from collections.abc import Iterator, Sequence
from html import escape

from bench.machine import in_words
from bench.request_results import Case, Results

WIDTH = 860
MARGIN = 40
PANEL_HEIGHT = 190
PANEL_GAP = 40
TOP = 70
FOOT = 30
BAR_GAP = 2
COLORS = ("#9ecae1", "#4292c6", "#08519c")
"""From the smallest database to the largest; more sizes repeat them."""

STYLE = """
    text { font: 12px system-ui, sans-serif; fill: #24292f }
    .title { font-size: 16px; font-weight: 600 }
    .panel { font-size: 13px; font-weight: 600 }
    .value { font-size: 10px; text-anchor: middle }
    .load { text-anchor: middle }
    .note { font-size: 11px; fill: #57606a }
    line { stroke: #d0d7de }
"""


def draw(results: Results, conditions: str) -> str:
    """Return the SVG of the requests per second of every case, with the conditions in its title."""
    servers = results.servers()
    height = TOP + len(servers) * (PANEL_HEIGHT + PANEL_GAP) + FOOT
    sizes = sorted({case.jobs for case in results.cases()})
    rates = {case: results.median(case, lambda m: m.rate) for case in results.cases()}
    title = escape(f"Requests per second by the number of jobs, {conditions}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{title}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text class="title" x="{MARGIN}" y="28">{title}</text>',
        *_legend(sizes),
    ]
    for number, server in enumerate(servers):
        top = TOP + number * (PANEL_HEIGHT + PANEL_GAP)
        loads = list(results.round_trips[server])
        parts += _panel(server, loads, sizes, rates, top)
    parts.append(
        f'<text class="note" x="{MARGIN}" y="{height - 14}">'
        f"{escape(in_words(results.machine))}</text>"
    )
    return "\n".join([*parts, "</svg>", ""])


def _legend(sizes: Sequence[int]) -> Iterator[str]:
    for place, jobs in enumerate(sizes):
        x = MARGIN + place * 140
        yield f'<rect x="{x}" y="41" width="12" height="12" fill="{_color(place)}"/>'
        yield f'<text x="{x + 18}" y="52">{jobs:,} jobs</text>'


def _panel(
    server: str,
    loads: Sequence[str],
    sizes: Sequence[int],
    rates: dict[Case, float],
    top: int,
) -> Iterator[str]:
    base = top + PANEL_HEIGHT
    group = (WIDTH - 2 * MARGIN) / len(loads)
    bar = group * 0.8 / len(sizes)
    scale = (PANEL_HEIGHT - 46) / max(rates.values())
    yield f'<text class="panel" x="{MARGIN}" y="{top + 18}">{escape(server)}</text>'
    for place, load in enumerate(loads):
        left = MARGIN + place * group + group * 0.1
        for number, jobs in enumerate(sizes):
            rate = rates[Case(server, jobs, load)]
            x, height = left + number * bar, rate * scale
            yield (
                f'<rect x="{x:.1f}" y="{base - height:.1f}" width="{bar - BAR_GAP:.1f}"'
                f' height="{height:.1f}" fill="{_color(number)}"/>'
            )
            yield (
                f'<text class="value" x="{x + (bar - BAR_GAP) / 2:.1f}"'
                f' y="{base - height - 4:.1f}">{rate:,.0f}</text>'
            )
        yield (
            f'<text class="load" x="{left + group * 0.4:.1f}" y="{base + 18}">{escape(load)}</text>'
        )
    yield f'<line x1="{MARGIN}" y1="{base}" x2="{WIDTH - MARGIN}" y2="{base}"/>'


def _color(place: int) -> str:
    return COLORS[place % len(COLORS)]
