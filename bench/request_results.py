"""The figures of the benchmark of requests: measurements of single rounds, and their medians."""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from bench.load import LoadResult


class Case(NamedTuple):
    """What is measured: a server, the number of jobs in the database, and the name of a load."""

    server: str
    jobs: int
    load: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures of a case in one round; all times are in milliseconds.

    Attributes:
        case: The case.
        requests: The number of requests.
        rate: Requests per second.
        p50: The median latency.
        p99: The 99th percentile of the latency.
        server_cpu: The CPU time of the server's processes for each request.
        postgres_cpu: The CPU time of the PostgreSQL backends for each request.
        generator_cpu: The CPU time of the generator for each request.
    """

    case: Case
    requests: int
    rate: float
    p50: float
    p99: float
    server_cpu: float
    postgres_cpu: float
    generator_cpu: float

    @classmethod
    def of(cls, case: Case, result: LoadResult, server_cpu: float, postgres_cpu: float) -> Self:
        """Return the figures of a load, given the CPU seconds that it took."""
        count = len(result.latencies)
        percentiles = statistics.quantiles(result.latencies, n=100, method="inclusive")
        return cls(
            case,
            count,
            count / result.seconds,
            percentiles[49] * 1000,
            percentiles[98] * 1000,
            server_cpu / count * 1000,
            postgres_cpu / count * 1000,
            result.generator_cpu / count * 1000,
        )

    @property
    def cost(self) -> float:
        """The CPU time of a request in the server and in PostgreSQL."""
        return self.server_cpu + self.postgres_cpu


Figure = Callable[[Measurement], float]

COLUMNS: dict[str, tuple[Figure, str]] = {
    "requests/s": (lambda m: m.rate, ",.0f"),
    "p50": (lambda m: m.p50, ".2f"),
    "p99": (lambda m: m.p99, ".2f"),
    "server CPU": (lambda m: m.server_cpu, ".3f"),
    "PostgreSQL CPU": (lambda m: m.postgres_cpu, ".3f"),
}
"""The columns of the table: the figure and its format."""


@dataclass(frozen=True, slots=True)
class Results:
    """All measurements.

    Attributes:
        machine: The description of the machine.
        measurements: The measurements of all cases, round by round.
        round_trips: The round trips of a request, by server and load.
    """

    machine: dict[str, str]
    measurements: Sequence[Measurement]
    round_trips: dict[str, dict[str, int]]

    def servers(self) -> list[str]:
        """Return the servers in the order of the table."""
        return list(self.round_trips)

    def cases(self) -> list[Case]:
        """Return the cases in the order of the table: by server, load and size."""
        found = {m.case for m in self.measurements}
        return sorted(
            found,
            key=lambda c: (self.servers().index(c.server), self._place(c.load, c.server), c.jobs),
        )

    def _place(self, load: str, server: str) -> int:
        return list(self.round_trips[server]).index(load)

    def median(self, case: Case, figure: Figure) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(figure(m) for m in self.measurements if m.case == case)

    def cost_ratios(self, server: str, load: str, small: int, large: int) -> list[float]:
        """Return the cost at `large` jobs, divided by that at `small` jobs, for each round."""
        small_costs, large_costs = (
            [m.cost for m in self.measurements if m.case == Case(server, jobs, load)]
            for jobs in (small, large)
        )
        return [high / low for high, low in zip(large_costs, small_costs, strict=True)]

    def generator_cpu(self) -> float:
        """Return the median CPU time of the generator for a request, in milliseconds."""
        return statistics.median(m.generator_cpu for m in self.measurements)

    def table(self) -> Iterator[str]:
        """Return the lines of a table in Markdown with the medians."""
        headings = ["server", "request", "jobs", *COLUMNS, "round trips"]
        rows = [
            [
                case.server,
                case.load,
                f"{case.jobs:,}",
                *(format(self.median(case, figure), form) for figure, form in COLUMNS.values()),
                str(self.round_trips[case.server][case.load]),
            ]
            for case in self.cases()
        ]
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        rules = ["-" * width for width in widths]
        for row in (headings, rules, *rows):
            cells = [
                text.ljust(width) if place < 2 else text.rjust(width)
                for place, (text, width) in enumerate(zip(row, widths, strict=True))
            ]
            yield f"| {' | '.join(cells)} |"

    def as_json(self) -> dict[str, Any]:
        """Return the machine, all measurements and the round trips, for a file."""
        return {
            "machine": self.machine,
            "round_trips": self.round_trips,
            "measurements": [
                {**dataclasses.asdict(m), "case": m.case._asdict()} for m in self.measurements
            ],
        }
