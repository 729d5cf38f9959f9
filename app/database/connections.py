"""The pool of connections: how many there are, and which of them may be used again."""

import os
import select
from typing import Any

from sqlalchemy import Engine, QueuePool, event
from sqlalchemy.exc import DisconnectionError

from app.database.bounded_connection import BoundedConnection, bound_all_waits
from app.database.driver_errors import server_is_unfit
from app.database.failover import Servers
from app.observability.metrics import CONNECTIONS_IN_USE, CONNECTIONS_LIMIT

ENGINE_URL = "postgresql+psycopg2://"
"""The driver alone: `Servers` knows where to connect to."""

POOL_SECONDS = 3


def engine_options(pool_size: int) -> dict[str, Any]:
    """Return SQLAlchemy's engine options for a process that uses `pool_size` connections at a
    time."""
    return {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": POOL_SECONDS,
        "pool_recycle": 1800,
        "hide_parameters": True,
    }


def watch(engine: Engine, servers: Servers) -> None:
    """Make `engine` connect to `servers` and use no connection again that is dead, unfit, or a
    parent process's."""
    bound_all_waits()
    event.listen(engine, "do_connect", lambda *_: servers.connect())
    if isinstance(engine.pool, QueuePool):
        CONNECTIONS_LIMIT.set(engine.pool.size())

    @event.listens_for(engine, "checkout")
    def replace_unfit(connection: BoundedConnection, _record: Any, _proxy: Any) -> None:
        if (
            connection.closed
            or servers.is_retired(connection)
            or _has_something_to_read(connection)
        ):
            raise DisconnectionError

    @event.listens_for(engine, "invalidate")
    def learn(connection: BoundedConnection, _record: Any, error: BaseException | None) -> None:
        if error is not None and server_is_unfit(error):
            servers.distrust(connection)

    event.listen(engine, "checkout", lambda *_: CONNECTIONS_IN_USE.inc())
    event.listen(engine, "checkin", lambda *_: CONNECTIONS_IN_USE.dec())
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))


def _has_something_to_read(connection: BoundedConnection) -> bool:
    """Return whether the server has sent something to an idle connection, which is its goodbye:
    costs no round trip."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
