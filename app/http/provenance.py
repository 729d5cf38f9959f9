"""Who asks, by which request, from where."""

from app.events.provenance import Provenance
from app.http.access import caller
from app.http.address import address
from app.http.request_id import request_id


def provenance() -> Provenance:
    """Return where the current request comes from."""
    return Provenance(caller().actor, request_id(), address())
