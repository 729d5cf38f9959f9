"""The life of a request: access, parsing, answers, errors, pagination, logs, health and metrics."""
