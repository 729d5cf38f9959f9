"""The settings of PostgreSQL that each session of the service has.

They go along as connection options, so they cost no round trip and override what the server, the
database and the role have as defaults. PgBouncer may drop the options. `preamble` then returns SQL
for those that the statements rely on.
"""

from collections.abc import Mapping
from typing import Any

STATEMENT_SECONDS = 5
LOCK_SECONDS = 2

DEFAULTS = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "10s",
    # Our statements are prepared, and planned to be good for any values: once, without being
    # compiled to machine code, and for disks on which following an index costs little more than
    # reading on.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "random_page_cost": "1.1",
}
"""Limits and planning, which DATABASE_URL may change with `options`."""

REQUIRED = {
    "default_transaction_isolation": "read committed",
    "row_security": "on",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "gin_fuzzy_search_limit": "0",
}
"""What the statements rely on, and nothing may change.

The driver itself sees to the datestyle and the encoding. Durability and search_path are left to the
operator.
"""

_FOR_ONE_TRANSACTION = {"default_transaction_isolation": "transaction_isolation"}


def options(own: str) -> str:
    """Return libpq's `options`: the defaults, changed by the operator's `own` options, and what is
    required."""
    return " ".join(filter(None, (_as_options(DEFAULTS), own.strip(), _as_options(REQUIRED))))


def preamble(connection: Any) -> str:
    """Return SQL that sets for one transaction what the server did not take of the required
    settings; else nothing.

    Asks the server, in one round trip.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(name) FROM unnest(%s) AS name", [list(REQUIRED)])
        found = dict(zip(REQUIRED, (value for (value,) in cursor), strict=True))
    wrong = {name: value for name, value in REQUIRED.items() if found[name] != value}
    return "".join(
        f"SET LOCAL {_FOR_ONE_TRANSACTION.get(name, name)} = '{value}'; "
        for name, value in wrong.items()
    )


def _as_options(settings: Mapping[str, str]) -> str:
    return " ".join(
        "-c " + f"{name}={value}".replace(" ", "\\ ") for name, value in settings.items()
    )
