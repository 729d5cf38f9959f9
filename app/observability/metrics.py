"""What this process measures of itself, for Prometheus; `app.http.metrics` shows it, with what the
database knows.

Under gunicorn `app.server.shared_metrics` keeps the values, and any process shows those of all.
"""

from prometheus_client import Counter, Gauge, Histogram

REQUEST_SECONDS = Histogram(
    "scrape_jobs_http_request_seconds",
    "Time from a request's first line to its answer",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

TRANSITIONS = Counter(
    "scrape_jobs_transitions",
    "Status changes of jobs; a new job comes from the old status none",
    ["old", "new"],
)

LEASE_EXPIRIES = Counter(
    "scrape_jobs_lease_expiries", "Jobs taken back from workers that gave no sign of life"
)

WEBHOOK_TRIES = Counter(
    "scrape_jobs_webhook_tries",
    "Tries to deliver a webhook: delivered, to be tried again (retry), or given up (failed)",
    ["outcome"],
)

WEBHOOK_DELAY_SECONDS = Histogram(
    "scrape_jobs_webhook_delay_seconds",
    "Time from when a webhook became owed until a receiver took it",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200),
)

RATE_LIMIT_FALLBACKS = Counter(
    "scrape_jobs_rate_limit_fallbacks",
    "Times that a process found Redis away and went on to limit by itself",
)

CONNECTIONS_IN_USE = Gauge(
    "scrape_jobs_database_connections_in_use",
    "Connections to the database that are being used",
    multiprocess_mode="livesum",
)

CONNECTIONS_LIMIT = Gauge(
    "scrape_jobs_database_connections_limit",
    "Connections to the database that the running processes may have",
    multiprocess_mode="livesum",
)
