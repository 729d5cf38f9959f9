"""Opening event streams."""

from collections.abc import Sequence
from datetime import datetime

from app.http.connection import ClientConnection
from app.jobs import list_queries
from app.live import positions, queries
from app.live.change_log import BATCH_JOBS, OVERLAP
from app.live.changes import RESUMED, JobChange, signal_frame, with_id
from app.live.reader import LogReader
from app.live.selection import Selection
from app.live.streams import Stream

MAX_MISSED_JOBS = 1000
MAX_MISSED_BYTES = 4 * 1024 * 1024
"""A client that has missed more jobs, or bytes of JSON, gets ``resync`` instead. To read the list
again is cheaper."""


def open_stream(
    reader: LogReader, selection: Selection, last_event_id: str, connection: ClientConnection
) -> tuple[Stream, bytes]:
    """Open a stream, which `reader` offers changes to until it is removed there.

    Args:
        reader: The reader of this process.
        selection: The jobs and fields that the stream shows.
        last_event_id: The position to resume at; empty: now.
        connection: The connection to the client.

    Returns:
        The stream, which begins with the changes that the client missed, and its first bytes.

    Raises:
        DatabaseFailure: If the database fails.
    """
    settled = list_queries.settled_before()
    since = positions.decode(last_event_id, settled) if last_event_id else settled
    stream = Stream(selection, since or settled)
    # Before the changes are read: the reader offers the changes that are committed later.
    reader.add(stream, connection, settled)
    try:
        missed = None if since is None else _changes_since(since, selection)
    except BaseException:
        reader.remove(stream)
        raise
    stream.begin(missed or (), settled)
    if missed is not None and last_event_id:
        return stream, RESUMED
    signal = "resync" if missed is None else "ready"
    return stream, with_id(positions.encode(settled), signal_frame(signal))


def _changes_since(since: datetime, selection: Selection) -> Sequence[JobChange] | None:
    """Return the changes in the tenant scope, or None if they are too many."""
    since -= OVERLAP
    ids = queries.matching_ids(selection.filters, selection.job_id, since, MAX_MISSED_JOBS + 1)
    if len(ids) > MAX_MISSED_JOBS:
        return None
    changes: list[JobChange] = []
    size = 0
    for start in range(0, len(ids), BATCH_JOBS):
        known = dict.fromkeys(ids[start : start + BATCH_JOBS], 0)
        found = queries.job_changes(known, since, with_documents=selection.shows_documents)
        shown = [change for change in found if selection.includes(change)]
        size += sum(len(change.frame(selection.fields)) for change in shown)
        if size > MAX_MISSED_BYTES:
            return None
        changes += shown
    return changes
