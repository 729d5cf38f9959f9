"""Idempotency keys: a POST that carries one has effect once."""
