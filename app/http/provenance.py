"""The provenance of the current request: actor, request id and client address."""

from app.events.provenance import Provenance
from app.http.access import current_caller
from app.http.context import current_context


def provenance() -> Provenance:
    """Return the provenance of the current request."""
    context = current_context()
    return Provenance(current_caller().actor, context.id, context.address)
