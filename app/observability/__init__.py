"""Metrics and logs that every layer may write."""
