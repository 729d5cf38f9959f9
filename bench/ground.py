"""The basis of all benchmarks: a PostgreSQL server with databases, and the output of results."""

import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from support.database import migrate, new_database
from support.postgres import Postgres

TIME_ORDERED_ID = (
    "(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'"
    " || right(md5(random()::text), 19))::uuid"
)
"""SQL for a new id in the order of the time `at`, as in the service's UUIDs (version 7)."""


def show_progress(text: str) -> None:
    """Show the current step on standard error, in place of the last one."""
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def print_result(text: str) -> None:
    """Print a line of results on standard output."""
    show_progress("")
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def summarize(ratios: Sequence[float]) -> str:
    """Return the median and the range of the ratios of paired rounds."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def execute(url: str, *statements: tuple[str, Sequence[object] | Mapping[str, Any]]) -> None:
    """Run statements, each with its parameters, in one transaction."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        for sql, values in statements:
            cursor.execute(sql, values)
        connection.commit()


def vacuum(url: str) -> None:
    """Vacuum and analyze the database, as autovacuum would do in time."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    connection.close()


SECONDARY_INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = ANY (%s::regclass[]) AND NOT indisunique"""


@contextmanager
def without_indexes(url: str, *tables: str) -> Iterator[None]:
    """Drop the indexes of the tables that are not unique, and build them again after the block.

    Rows are inserted several times as fast in between.
    """
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(SECONDARY_INDEXES, (list(tables),))
        indexes = cursor.fetchall()
    connection.close()
    execute(url, *((f"DROP INDEX {name}", ()) for name, _ in indexes))
    yield
    more_memory = ("SET LOCAL maintenance_work_mem = '512MB'", ())
    execute(url, more_memory, *((definition, ()) for _, definition in indexes))


@contextmanager
def databases(count: int) -> Iterator[list[str]]:
    """Start a PostgreSQL server and yield the URLs of empty databases that have the schema.

    The server does not wait for the disk: fsync is off. It is deleted at the end, also if the
    benchmark is interrupted or terminated.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    postgres = Postgres(Path(tempfile.mkdtemp(prefix="sj-bench-")))
    try:
        server = postgres.start()
        with ExitStack() as stack:
            urls = [stack.enter_context(contextmanager(new_database)(server)) for _ in range(count)]
            for url in urls:
                migrate(url)
            yield urls
    finally:
        postgres.delete()
