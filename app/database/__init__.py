"""PostgreSQL: connections, statements, transactions, and the tenant scope of every statement.

The names below are the interface of the package. Other packages also import the modules
`tenant_scope`, `row_limiter`, `page_size`, `batch_size` and `schema`.
"""

from app.database.batches import Batches
from app.database.execution import Parameters, Row, fetch, run
from app.database.orm import Model, db
from app.database.statements import Statement, array, rows_of, timestamp
from app.database.transactions import after_commit, after_end, reconnect, transaction

__all__ = [
    "Batches",
    "Model",
    "Parameters",
    "Row",
    "Statement",
    "after_commit",
    "after_end",
    "array",
    "db",
    "fetch",
    "reconnect",
    "rows_of",
    "run",
    "timestamp",
    "transaction",
]
