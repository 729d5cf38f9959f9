"""What the measurements stand on: a PostgreSQL of their own, SQL that fills it, and how figures are
told."""

import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from support.database import migrate, new_database
from support.postgres import Postgres

ID = "(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || right(md5(random()::text), 19))::uuid"
"""SQL for a new id that is ordered by the time `at`, as the service's are."""


def say(text: str) -> None:
    """Show how far it is."""
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def tell(text: str) -> None:
    """Print a figure on a line of its own."""
    say("")
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def told(ratios: Sequence[float]) -> str:
    """Return the ratios of paired rounds as one: the median, and from where to where they reach."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def execute(url: str, *statements: tuple[str, Sequence[object] | Mapping[str, Any]]) -> None:
    """Run statements in one transaction."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        for sql, values in statements:
            cursor.execute(sql, values)
    connection.close()


def vacuum(url: str) -> None:
    """Let PostgreSQL tidy up and count, as it does by itself in time."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    connection.close()


@contextmanager
def databases(count: int) -> Iterator[list[str]]:
    """Start a PostgreSQL that does not wait for the disk (fsync is off), with empty databases that
    have the schema."""
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
