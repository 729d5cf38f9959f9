"""Measurements, each a module to run: ``python -m bench.queue`` (by path they would hide modules of
Python's own)."""
