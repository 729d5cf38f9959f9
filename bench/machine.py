"""The description of the machine that figures were measured on."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg2


def describe(database_url: str) -> dict[str, str]:
    """Return processor, cores, memory, versions and date, by name."""
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        ((postgres,),) = cursor.fetchall()
    connection.close()
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "PostgreSQL": postgres,
        "Python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def in_words(machine: dict[str, str]) -> str:
    """Return the description in one line."""
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']};"
        f" PostgreSQL {machine['PostgreSQL']}, Python {machine['Python']}; {machine['date']}"
    )
