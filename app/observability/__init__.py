"""Metrics and logs that all layers may write."""
