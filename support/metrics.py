"""The samples that a running service shows at /metrics."""

import requests
from prometheus_client.parser import text_string_to_metric_families

from support.service import Service

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by name and sorted labels."""


def metrics(service: Service) -> Samples:
    """Return the current samples of the service."""
    answer = requests.get(f"{service.url}/metrics", timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return the value of a sample; 0 if it does not exist."""
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)
