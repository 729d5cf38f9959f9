"""Harness of the tests and the benchmarks: databases, servers and receivers that they start."""
