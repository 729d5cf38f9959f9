"""The connection pool of a process: its size, and the checks before a connection is reused."""

import os
from typing import Any

from sqlalchemy import Engine, QueuePool, event
from sqlalchemy.exc import DisconnectionError

from app.database.bounded_connection import BoundedConnection, bound_all_waits
from app.database.driver_errors import server_is_unfit
from app.database.failover import Servers
from app.observability.metrics import CONNECTIONS_IN_USE, CONNECTIONS_LIMIT

ENGINE_URL = "postgresql+psycopg2://"
"""The driver only; `Servers` knows the addresses."""

POOL_SECONDS = 3
"""How long a thread waits for a connection of the pool."""


def engine_options(pool_size: int) -> dict[str, Any]:
    """Return the options of SQLAlchemy's engine for a pool of `pool_size` connections."""
    return {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": POOL_SECONDS,
        "pool_recycle": 1800,
        "hide_parameters": True,
    }


def watch(engine: Engine, servers: Servers) -> None:
    """Connect `engine` to `servers`, and reuse only connections that work.

    A connection is replaced if it is closed, if its server was found unfit, or if it belongs to the
    parent process of a fork.
    """
    bound_all_waits()
    event.listen(engine, "do_connect", lambda *_: servers.connect())
    if isinstance(engine.pool, QueuePool):
        CONNECTIONS_LIMIT.set(engine.pool.size())

    @event.listens_for(engine, "checkout")
    def replace_unusable(connection: BoundedConnection, _record: Any, _proxy: Any) -> None:
        # A server sends nothing on an idle connection except the message that ends it. To ask for
        # that needs no round trip.
        if connection.closed or servers.is_retired(connection) or connection.has_input():
            raise DisconnectionError

    @event.listens_for(engine, "invalidate")
    def distrust_unfit_server(
        connection: BoundedConnection, _record: Any, error: BaseException | None
    ) -> None:
        if error is not None and server_is_unfit(error):
            servers.distrust(connection)

    event.listen(engine, "checkout", lambda *_: CONNECTIONS_IN_USE.inc())
    event.listen(engine, "checkin", lambda *_: CONNECTIONS_IN_USE.dec())
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
