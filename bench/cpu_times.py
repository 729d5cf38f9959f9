"""The CPU time that the processes of the service and of PostgreSQL use."""

from collections.abc import Iterable

import psutil
import psycopg2

from support.service import Service

BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'scrape-jobs'"""

CpuTimes = dict[int, float]
"""CPU seconds so far, by the id of the process."""


def server_cpu(service: Service) -> CpuTimes:
    """Return the CPU times of the service's processes."""
    return _cpu_times(service.pids())


def postgres_cpu(database_url: str) -> CpuTimes:
    """Return the CPU times of the PostgreSQL backends that work for the service."""
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(BACKENDS)
        backends = [pid for (pid,) in cursor.fetchall()]
    connection.close()
    return _cpu_times(backends)


def _cpu_times(pids: Iterable[int]) -> CpuTimes:
    times = {}
    for pid in pids:
        try:
            used = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:  # it has just ended
            continue
        times[pid] = used.user + used.system
    return times


def seconds_used(before: CpuTimes, after: CpuTimes) -> float:
    """Return the CPU seconds between two moments; a new process counts from its start."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
