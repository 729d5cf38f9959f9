"""Idempotency keys: a POST with a key takes effect once."""
