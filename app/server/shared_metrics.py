"""The metrics of all processes of one server, in shared memory.

The multiprocess mode of prometheus_client keeps them in a folder instead. Other programs may clean
that folder while the server runs, and a killed server leaves it behind.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from prometheus_client import values
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app.server.shared_memory import SharedFile


class SharedMetrics(Collector):
    """A region of shared memory per process; the master creates them and assigns them."""

    def __init__(self) -> None:
        self._file = SharedFile()
        self._taken: set[int] = set()
        self._declared: list[str] = []
        self.enter(self.take())

    def take(self) -> int:
        """Return the number of a free region; its counters continue from their last values."""
        number = min(set(range(len(self._taken) + 1)) - self._taken)
        self._taken.add(number)
        self._file.extend(number + 1)
        return number

    def release(self, number: int) -> None:
        """Free the region of a process that has ended: reset its gauges, keep its counters."""
        region = self._file.region(number)
        for name in region.names():
            if json.loads(name)[0] == "gauge":
                region.set(name, 0.0)
        self._taken.discard(number)

    def enter(self, number: int) -> None:
        """Count in this region from now on."""
        # A new lock: in the parent process, another thread may hold the old one.
        self._lock = threading.Lock()
        self._region = self._file.region(number)
        for name in self._declared:
            self._region.add(name)

    def declare(self, name: str) -> None:
        """Show the value of `name` even if it is 0."""
        with self._lock:
            self._declared.append(name)
            self._region.add(name)

    def add(self, name: str, amount: float) -> None:
        """Add to a value of this process."""
        with self._lock:
            self._region.set(name, self._region.get(name) + amount)

    def set(self, name: str, value: float) -> None:
        """Set a value of this process."""
        with self._lock:
            self._region.set(name, value)

    def get(self, name: str) -> float:
        """Return a value of this process."""
        with self._lock:
            return self._region.get(name)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, each value summed over all processes."""
        totals: dict[str, float] = defaultdict(float)
        for key, value in self._file.read():
            totals[key] += value
        families: dict[str, Metric] = {}
        histograms: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for key, total in totals.items():
            kind, family, name, labels, help_text = json.loads(key)
            metric = families.setdefault(family, Metric(family, help_text, kind))
            if kind == "histogram" and "le" in labels:
                bound = float(labels.pop("le"))
                histograms[family, json.dumps(labels)].append((bound, total))
            else:
                metric.add_sample(name, labels, total)
        for (family, labels), buckets in histograms.items():
            _add_buckets(families[family], json.loads(labels), buckets)
        yield from families.values()


def _add_buckets(
    metric: Metric, labels: dict[str, str], buckets: list[tuple[float, float]]
) -> None:
    """Add the cumulative buckets of a histogram and its count."""
    count = 0.0
    for bound, number in sorted(buckets):
        count += number
        le = floatToGoString(bound)  # type: ignore[no-untyped-call]
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": le}, count)
    metric.add_sample(f"{metric.name}_count", labels, count)


class _Value:
    """One value of a metric, as prometheus_client uses it.

    Gauges are summed over the living processes.
    """

    _multiprocess = True

    def __init__(
        self,
        kind: str,
        family: str,
        name: str,
        labelnames: tuple[str, ...],
        labelvalues: tuple[str, ...],
        help_text: str,
        **_: Any,
    ) -> None:
        labels = dict(zip(labelnames, labelvalues, strict=True))
        self._name = json.dumps([kind, family, name, labels, help_text], sort_keys=True)
        share().declare(self._name)

    def inc(self, amount: float) -> None:
        share().add(self._name, amount)

    def set(self, value: float, **_: Any) -> None:
        share().set(self._name, value)

    def get(self) -> float:
        return share().get(self._name)

    def set_exemplar(self, exemplar: object) -> None: ...

    def get_exemplar(self) -> None: ...


_shared: list[SharedMetrics] = []


def share() -> SharedMetrics:
    """Keep all metrics created from now on in shared memory, and return the shared metrics."""
    if not _shared:
        _shared.append(SharedMetrics())
        values.ValueClass = _Value
    return _shared[0]


def shared() -> SharedMetrics | None:
    """Return the shared metrics; None if this process counts for itself."""
    return _shared[0] if _shared else None
