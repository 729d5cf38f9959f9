"""The append-only log of job changes, the source of history, webhooks, streams and statistics."""
