"""The metrics of a process, for Prometheus.

`app.http.metrics` serves them together with the figures of the database. Under gunicorn,
`app.server.shared_metrics` stores the values, so that each process serves the sums of all.
"""

from prometheus_client import Counter, Gauge, Histogram

REQUEST_SECONDS = Histogram(
    "scrape_jobs_http_request_seconds",
    "Time from the first line of a request to the response",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

TRANSITIONS = Counter(
    "scrape_jobs_transitions",
    "Status changes of jobs; the old status of a new job is none",
    ["old", "new"],
)

LEASE_EXPIRIES = Counter(
    "scrape_jobs_lease_expiries", "Jobs rescued from workers whose lease expired"
)

WEBHOOK_ATTEMPTS = Counter(
    "scrape_jobs_webhook_tries",
    "Attempts to deliver a webhook, by outcome: delivered, retry or failed",
    ["outcome"],
)

WEBHOOK_DELAY_SECONDS = Histogram(
    "scrape_jobs_webhook_delay_seconds",
    "Time from the status change until the receiver accepted the webhook",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200),
)

RATE_LIMIT_FALLBACKS = Counter(
    "scrape_jobs_rate_limit_fallbacks",
    "Times that a process lost Redis and continued with limits of its own",
)

CONNECTIONS_IN_USE = Gauge(
    "scrape_jobs_database_connections_in_use",
    "Connections to the database in use",
    multiprocess_mode="livesum",
)

CONNECTIONS_LIMIT = Gauge(
    "scrape_jobs_database_connections_limit",
    "Maximum number of connections of the running processes",
    multiprocess_mode="livesum",
)

STREAMS_OPEN = Gauge(
    "scrape_jobs_streams_open",
    "Event streams that are open",
    multiprocess_mode="livesum",
)

STREAMS_LIMIT = Gauge(
    "scrape_jobs_streams_limit",
    "Maximum number of event streams of the running processes",
    multiprocess_mode="livesum",
)
