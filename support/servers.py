"""The HTTP servers that the service runs under, for tests that hold for each of them."""

import importlib.util
import os

import pytest

IS_MISSING = importlib.util.find_spec("granian") is None and "CI" not in os.environ
"""In CI the package must be there: the tests fail without it."""

SERVERS = [
    "gunicorn",
    pytest.param(
        "granian", marks=pytest.mark.skipif(IS_MISSING, reason="needs the package granian")
    ),
]
"""Values of the setting SERVER."""
