"""PostgreSQL's settings for each session of the service.

They are sent as connection options: without a round trip, and with priority over the defaults of
the server, the database and the role. PgBouncer may drop the options; for that case `preamble`
returns SQL that makes the required settings.
"""

from collections.abc import Mapping
from typing import Any

STATEMENT_SECONDS = 5
LOCK_SECONDS = 2

DEFAULTS = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "10s",
    # The statements are prepared. One generic plan serves all values; it is not compiled to machine
    # code, and it assumes disks on which random reads cost little more than sequential ones.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "random_page_cost": "1.1",
}
"""Timeouts and planner settings, which `options` in DATABASE_URL may change."""

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
"""Settings that the statements require; DATABASE_URL cannot change them.

The driver sets the datestyle and the encoding. Durability and search_path are up to the operator.
"""

_FOR_ONE_TRANSACTION = {"default_transaction_isolation": "transaction_isolation"}


def options(operators: str) -> str:
    """Return libpq's `options`: the defaults, the options of the operator, the required settings.

    Later options override earlier ones.
    """
    parts = (_as_options(DEFAULTS), operators.strip(), _as_options(REQUIRED))
    return " ".join(filter(None, parts))


def preamble(connection: Any) -> str:
    """Return SQL that makes, for one transaction, the required settings that are not in effect.

    The text is empty if all are in effect. Reading the settings takes one round trip.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(name) FROM unnest(%s) AS name", [list(REQUIRED)])
        actual = dict(zip(REQUIRED, (value for (value,) in cursor), strict=True))
    missing = {name: value for name, value in REQUIRED.items() if actual[name] != value}
    return "".join(
        f"SET LOCAL {_FOR_ONE_TRANSACTION.get(name, name)} = '{value}'; "
        for name, value in missing.items()
    )


def _as_options(settings: Mapping[str, str]) -> str:
    return " ".join(
        "-c " + f"{name}={value}".replace(" ", "\\ ") for name, value in settings.items()
    )
