"""The provenance of the current request: actor, request id and client address."""

from app.events.provenance import Provenance
from app.http.access import caller
from app.http.address import client_address
from app.http.request_id import request_id


def provenance() -> Provenance:
    """Return the provenance of the current request."""
    return Provenance(caller().actor, request_id(), client_address())
