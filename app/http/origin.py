"""Who asks, by which request, from where."""

from app.events.origin import Origin
from app.http.address import address
from app.http.guard import caller
from app.http.request_id import request_id


def origin() -> Origin:
    """Return where the current request comes from."""
    return Origin(caller().actor, request_id(), address())
